"""The sample store: one HDF5 file per shard and stage, the sample axis first.

Columns every stage may rely on (a stage writes those it knows):

==============  ====================  ==============================================================================
``id``          (N,) int64            stable sample id, unique in its dataset and split
``image``       (N,) vlen uint8       encoded image (lossless WebP for renders, JPEG bytes for photographs)
``mask``        (N,) vlen uint8       PNG of `conventions.MaskLabel`
``depth``       (N,) vlen uint8       16-bit PNG, millimetres, planar Z, 0 = none
``K``           (N, 3, 3) float32     pinhole intrinsics, px
``joints``      (N, 21, 3) float32    metres, OpenCV camera frame, simple order
``vertices``    (N, 778, 3) float32   metres, annotation-hand topology
``pose``        (N, 48) float32       axis-angle, mean pose added
``shape``       (N, 10) float32       annotation-hand shape coefficients
``trans``       (N, 3) float32        metres
``side``        (N,) uint8            `conventions.Side`
``valid``       (N,) bool             false = kept in place, reason in ``flag``
``flag``        (N,) utf-8            reason, empty when valid
==============  ====================  ==============================================================================

Two hands of one picture are two rows with the same ``image_id``. Encoded columns hold equal bytes once: rows with the
same picture cost one picture.

A file is written to a temporary name, read back, and renamed: it exists whole or not at all. The same columns and
attributes give the same bytes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np

from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.core.files import written_whole

SCHEMA = 1
Column = np.ndarray | Sequence[np.ndarray] | Sequence[str]
_VLEN = h5py.vlen_dtype(np.uint8)
_ROWS = ".rows"  # behind a column's name: which of its entries each row has, where rows share them
_TEXT = h5py.string_dtype()


def _is_encoded(values: Column) -> bool:
    return not isinstance(values, np.ndarray) and len(values) > 0 and isinstance(values[0], np.ndarray)


def _is_text(values: Column) -> bool:
    return not isinstance(values, np.ndarray) and len(values) > 0 and isinstance(values[0], str)


def _content_digest(columns: Mapping[str, Column]) -> str:
    digest = hashlib.sha256()
    for name in sorted(columns):
        digest.update(name.encode())
        values = columns[name]
        if isinstance(values, np.ndarray) and values.dtype != object:
            digest.update(f"{values.dtype.str}{values.shape}".encode() + np.ascontiguousarray(values).tobytes())
        else:
            for item in values:
                data = item.encode() if isinstance(item, str) else item.tobytes()
                digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def write_store(
    path: Path,
    columns: Mapping[str, Column],
    *,
    study: str,
    seed: int,
    code: str,
    config: str,
    parents: Sequence[str] = (),
    extra: Mapping[str, str | int | float] | None = None,
) -> None:
    """Write one shard, whole or not at all.

    Args:
        path: the file; its folder is made.
        columns: name -> array with the sample axis first, list of uint8 arrays (encoded files) or list of str.
        study, seed, code, config: provenance: study's name, root seed, code hash, config hash (`provenance`).
        parents: content digests (`Store.digest`) of the shards this one was made from.
        extra: further attributes, e.g. where boxes came from.

    Raises:
        ValueError: columns differ in length.
        DiskFullError: no room left; nothing of the shard remains.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"columns of different length: {lengths}")
    attributes = {
        "schema": SCHEMA,
        "study": study,
        "seed": seed,
        "code": code,
        "config": config,
        "parents": json.dumps(list(parents)),
        "content": _content_digest(columns),
        **(extra or {}),
    }
    with written_whole(path) as temporary:
        with h5py.File(temporary, "w", libver="latest", track_order=False) as file:
            for name in sorted(columns):
                _write_column(file, name, columns[name])
            for key in sorted(attributes):
                file.attrs[key] = attributes[key]
        with Store(temporary) as written:
            written.verify()


def _write_column(file: h5py.File, name: str, values: Column) -> None:
    if _is_encoded(values):
        kept: dict[bytes, int] = {}
        rows = [kept.setdefault(item.tobytes(), len(kept)) for item in values]
        dataset = file.create_dataset(name, (len(kept),), dtype=_VLEN)
        for index, item in enumerate(kept):
            dataset[index] = np.frombuffer(item, np.uint8)
        if len(kept) < len(values):
            file.create_dataset(name + _ROWS, data=np.array(rows))
    elif _is_text(values):
        file.create_dataset(name, data=list(values), dtype=_TEXT)
    else:
        file.create_dataset(name, data=np.asarray(values))


class Store:
    """Read access to one shard. Columns come as arrays, encoded files one at a time.

    Raises:
        MissingAssetError: there is no such file.
        CorruptFileError: the file is truncated or no store of this schema.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        if not self.path.exists():
            raise MissingAssetError(self.path, "no such store", "make it: snakemake " + str(self.path))
        try:
            self._file = h5py.File(self.path, "r")
            schema = self._file.attrs.get("schema")
        except OSError as error:
            raise self._corrupt(f"not a readable HDF5 file ({error})") from error
        if schema != SCHEMA:
            self._file.close()
            raise self._corrupt(f"store schema is {schema}, expected {SCHEMA}")

    def _corrupt(self, problem: str) -> CorruptFileError:
        return CorruptFileError(self.path, problem, "delete it and run snakemake again: only it is made anew")

    @property
    def names(self) -> list[str]:
        """Column names, sorted."""
        return sorted(name for name in self._file if not name.endswith(_ROWS))

    @property
    def attrs(self) -> dict[str, object]:
        """Attributes: schema, study, seed, code, config, parents, content and the stage's own."""
        return {key: self._file.attrs[key] for key in sorted(self._file.attrs)}

    @property
    def digest(self) -> str:
        """sha256 over all columns: what `parents` of a later stage refers to."""
        return str(self._file.attrs["content"])

    def __len__(self) -> int:
        return len(self._file["id"])

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def column(self, name: str, index: int | slice | Sequence[int] = slice(None)) -> np.ndarray:
        """Rows of a column; `index` as h5py takes it (increasing if a list). Text comes as str objects.

        Raises:
            CorruptFileError: no such column, or its bytes cannot be read.
        """
        if name not in self._file:
            raise self._corrupt(f"no column '{name}' (it has {', '.join(self.names)})")
        dataset = self._file[name]
        try:
            if name + _ROWS in self._file:
                return self._shared(dataset, self._file[name + _ROWS][index])
            return dataset.asstr()[index] if h5py.check_string_dtype(dataset.dtype) else dataset[index]
        except OSError as error:
            raise self._corrupt(f"column '{name}' cannot be read ({error})") from error

    @staticmethod
    def _shared(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
        """Entries that rows share; each is read once."""
        if rows.ndim == 0:
            return dataset[int(rows)]
        read = {int(row): dataset[int(row)] for row in np.unique(rows)}
        values = np.empty(len(rows), object)
        for place, row in enumerate(rows):
            values[place] = read[int(row)]
        return values

    def verify(self) -> None:
        """Read everything and compare with the digest written.

        Raises:
            CorruptFileError: bytes have changed since the file was written.
        """
        columns = {name: self.column(name) for name in self.names}
        if _content_digest(columns) != self.digest:
            raise self._corrupt("its content does not match its digest")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class ShardedStore:
    """Several shards of one stage, read as one sequence in the order given."""

    def __init__(self, paths: Sequence[Path | str]):
        if not paths:
            raise ValueError("no shards")
        self.shards = [Store(path) for path in paths]
        self._starts = np.cumsum([0, *(len(shard) for shard in self.shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def digests(self) -> list[str]:
        """Content digest of each shard."""
        return [shard.digest for shard in self.shards]

    def column(self, name: str) -> np.ndarray:
        """A fixed-size column of all shards, concatenated."""
        return np.concatenate([shard.column(name) for shard in self.shards])

    def row(self, name: str, index: int) -> np.ndarray:
        """One sample's value, found without reading the others."""
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.shards[shard].column(name, int(index - self._starts[shard]))

    def origin(self, index: int) -> str:
        """Where a sample comes from, for messages: file and row."""
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return f"{self.shards[shard].path}[{int(index - self._starts[shard])}]"

    def close(self) -> None:
        """Close all shards."""
        for shard in self.shards:
            shard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
