"""The index of a split: what its many or huge label files say, as one file that opens at once and is read by rows.

It is made once, streaming, and holds what would be slow to find again for each shard: the list of samples, and labels
that come as one file for all of them. What lies in a small file beside each picture stays there.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np

from handgap.core.errors import CorruptFileError, MissingAssetError

NAME = "name"  # column of what the dataset calls a sample; no two are alike
_TEXT = h5py.string_dtype()
_CHUNK = 256  # rows
_TABLES = "tables"


class IndexWriter:
    """Columns of a split, appended piece by piece.

    Args:
        file: an HDF5 file open for writing.
        source: file that the names come from, for messages.
    """

    def __init__(self, file: h5py.File, source: Path):
        self._file, self._source, self._hashes = file, source, []
        file.create_group(_TABLES)

    def append(self, **columns: np.ndarray | Sequence[str]) -> None:
        """Add rows: arrays with the sample axis first, or lists of text; the same columns each time.

        Raises:
            ValueError: columns differ in length.
        """
        if len({len(values) for values in columns.values()}) != 1:
            raise ValueError(f"columns of different length: { {name: len(v) for name, v in columns.items()} }")
        if NAME in columns:
            self._hashes.append(np.array([hash(name) for name in columns[NAME]], np.int64))
        for name, values in columns.items():
            text = not isinstance(values, np.ndarray)
            array = np.array(list(values), object) if text else values
            if name not in self._file:
                kind, shape = (_TEXT if text else array.dtype), array.shape[1:]
                self._file.create_dataset(
                    name, (0, *shape), dtype=kind, maxshape=(None, *shape), chunks=(_CHUNK, *shape)
                )
            dataset = self._file[name]
            dataset.resize(len(dataset) + len(array), 0)
            dataset[len(dataset) - len(array) :] = array

    def table(self, name: str, values: np.ndarray | Sequence[str]) -> None:
        """Add something that is not one per row: cameras, sequences."""
        if not isinstance(values, np.ndarray):
            values = np.array(list(values), object)
        kind = _TEXT if values.dtype == object else values.dtype
        self._file[_TABLES].create_dataset(name, data=values, dtype=kind)

    def finish(self) -> None:
        """Check that no name is there twice.

        Raises:
            CorruptFileError: one is; names it.
        """
        if not self._hashes:
            return
        hashes = np.concatenate(self._hashes)
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        for at in first[counts > 1]:
            names = self._file[NAME].asstr()[np.flatnonzero(hashes == hashes[at])]
            if len(set(names)) < len(names):
                problem = f"'{names[0]}' is there {len(names)} times"
                raise CorruptFileError(self._source, problem, "fetch it again, or take the double ones out")


class Index:
    """Read access to an index; nothing is loaded before it is asked for.

    Raises:
        MissingAssetError: there is no such file.
        CorruptFileError: it is truncated or no index.
    """

    def __init__(self, path: Path | str):
        self.path, self._tables = Path(path), {}
        if not self.path.is_file():
            raise MissingAssetError(self.path, "no such index", f"make it: snakemake {self.path}")
        try:
            self._file = h5py.File(self.path, "r")
            self.attrs = {key: self._file.attrs[key] for key in sorted(self._file.attrs)}
            self._file[_TABLES]
        except (OSError, KeyError) as error:
            problem = f"not a readable index ({error})"
            raise CorruptFileError(self.path, problem, "delete it and start again: it is made anew") from error

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def column(self, name: str, rows: int | slice = slice(None)) -> np.ndarray:
        """Rows of a column; text as str."""
        dataset = self._file[name]
        return dataset.asstr()[rows] if h5py.check_string_dtype(dataset.dtype) else dataset[rows]

    def table(self, name: str) -> np.ndarray:
        """A table, read once; text as str."""
        if name not in self._tables:
            dataset = self._file[_TABLES][name]
            self._tables[name] = dataset.asstr()[:] if h5py.check_string_dtype(dataset.dtype) else dataset[:]
        return self._tables[name]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
