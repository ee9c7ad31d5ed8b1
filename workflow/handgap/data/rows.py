"""Single rows out of very many shards, read where they lie in the file.

HDF5's own reader takes 0.2 ms for a row, a thousand open files take its memory, and its handles do not survive a fork.
The store writes contiguous columns, so a row of fixed size is one `pread`; an encoded file is found by its row (length,
address and index) in a collection of HDF5's global heap (HDF5 File Format Specification 3.0, III.E and IV.A.2.d).
"""

import os
import struct
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from handgap.core.errors import CorruptFileError
from handgap.core.store import Store

OPEN_FILES = 128
_POINTER = struct.Struct("<IQI")  # bytes of the encoded file, address of its collection, index therein
_COLLECTION = struct.Struct("<4sIQ")  # signature, version and reserved, bytes of the collection with this header
_OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, bytes; 0 is the index of the free space at the end
_CURE = "delete it and run snakemake again: only it is made anew"


class Place(NamedTuple):
    """Where a column lies in a file."""

    start: int  # of its first row, bytes
    dtype: np.dtype
    shape: tuple[int, ...]  # of a row

    @property
    def row_bytes(self) -> int:
        """Size of a row in the column itself."""
        return _POINTER.size if self.dtype == object else self.dtype.itemsize * int(np.prod(self.shape))


class MappedStore(Store):
    """A shard that knows where its columns lie."""

    def place(self, name: str) -> Place:
        """Where a column's rows are.

        Raises:
            CorruptFileError: there is no such column, or it is not contiguous.
        """
        if name not in self:
            raise CorruptFileError(self.path, f"no column '{name}' (it has {', '.join(self.names)})", _CURE)
        dataset = self._file[name]
        start = dataset.id.get_offset()
        if start is None or (h5py.check_vlen_dtype(dataset.dtype) or np.uint8) != np.uint8:
            raise CorruptFileError(self.path, f"column '{name}' is not laid out as the store writes it", _CURE)
        return Place(start, dataset.dtype, dataset.shape[1:])


class Rows:
    """Rows of some columns of many shards, by their number over all shards; usable on both sides of a fork.

    Args:
        paths: the shards.
        names: columns to read: of fixed size, or encoded files.

    Attributes:
        ids: (N,) of all rows.
        valid: (N,) bool.
        digests: content digest of each shard.

    Raises:
        MissingAssetError, CorruptFileError: see `core.store.Store` and `MappedStore`.
    """

    def __init__(self, paths: Sequence[Path | str], names: Sequence[str]):
        self._paths = [Path(path) for path in paths]
        ids, valid, self.digests, self._places = [], [], [], []
        for path in self._paths:
            with MappedStore(path) as store:
                ids.append(store.column("id"))
                valid.append(store.column("valid").astype(bool))
                self.digests.append(store.digest)
                self._places.append({name: store.place(name) for name in names})
        self._starts = np.cumsum([0, *map(len, ids)])
        self.ids, self.valid = np.concatenate(ids), np.concatenate(valid)
        self._files: OrderedDict[int, int] = OrderedDict()
        weakref.finalize(self, _close, self._files)

    def read(self, name: str, row: int) -> np.ndarray:
        """One row of a column: an array, or the bytes (B,) uint8 of an encoded file.

        Raises:
            CorruptFileError: the file ends early, or holds no encoded file where it should.
        """
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        file, place = self._file(shard), self._places[shard][name]
        content = self._bytes(file, shard, place.row_bytes, place.start + (row - self._starts[shard]) * place.row_bytes)
        if place.dtype == object:
            return np.frombuffer(self._encoded(file, shard, *_POINTER.unpack(content)), np.uint8)
        return np.frombuffer(content, place.dtype).reshape(place.shape).copy()

    def origin(self, row: int) -> str:
        """Where a row comes from, for messages: file and row."""
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"{self._paths[shard]}[{row - self._starts[shard]}]"

    def _file(self, shard: int) -> int:
        """Descriptor of an open shard; the one used longest ago is closed when there are too many."""
        if shard in self._files:
            self._files.move_to_end(shard)
        else:
            if len(self._files) >= OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            self._files[shard] = os.open(self._paths[shard], os.O_RDONLY | os.O_CLOEXEC)
        return self._files[shard]

    def _bytes(self, file: int, shard: int, count: int, start: int) -> bytes:
        content = os.pread(file, count, start)
        if len(content) != count:
            raise CorruptFileError(self._paths[shard], f"it ends before byte {start + count}", _CURE)
        return content

    def _encoded(self, file: int, shard: int, length: int, address: int, index: int) -> bytes:
        """An object of a collection of the global heap. Objects of a page and more are alone in theirs."""
        head = self._bytes(file, shard, _COLLECTION.size + _OBJECT.size, address)
        signature, _, size = _COLLECTION.unpack_from(head)
        end, start = address + size, address + _COLLECTION.size
        found, _, _, bytes_ = _OBJECT.unpack_from(head, _COLLECTION.size)
        while signature == b"GCOL" and found not in (index, 0):
            start += _OBJECT.size + -(-bytes_ // 8) * 8
            if start + _OBJECT.size > end:
                break
            found, _, _, bytes_ = _OBJECT.unpack(self._bytes(file, shard, _OBJECT.size, start))
        if signature != b"GCOL" or found != index or bytes_ != length:
            raise CorruptFileError(self._paths[shard], f"no encoded file at byte {address}", _CURE)
        return self._bytes(file, shard, length, start + _OBJECT.size)


def _close(files: OrderedDict[int, int]) -> None:
    while files:
        os.close(files.popitem()[1])
