"""Random access to labelled images of a store, each decoded once while they fit into memory."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from handgap.core.conventions import MaskLabel
from handgap.core.images import decode_mask, decode_rgb
from handgap.core.store import Store
from handgap.data.rows import Rows

LABELS = ("K", "joints", "vertices", "side")
CACHE_BYTES = 2 << 30


class Sample(NamedTuple):
    """One labelled image."""

    id: int
    image: np.ndarray  # (H, W, 3) uint8 RGB
    K: np.ndarray  # (3, 3) px
    joints: np.ndarray  # (21, 3) metres, camera frame
    vertices: np.ndarray  # (778, 3) metres, camera frame
    side: int  # conventions.Side
    mask: np.ndarray | None = None  # (H, W) float32, 1 where the hand is seen


class Samples:
    """Samples of several shards by row; safe to use in workers forked from the process that made it.

    Args:
        shards: files with the columns id, image, K, joints, vertices, side, valid.
        masks: read the column mask too.

    Raises:
        MissingAssetError, CorruptFileError: see `core.store.Store`.
    """

    columns: tuple[str, ...] = ("image", *LABELS)  # that are read of each row

    def __init__(self, shards: Sequence[Path | str], masks: bool = False):
        self.shards, self._masks = [Path(path) for path in shards], masks
        self._rows = Rows(self.shards, [*self.columns, *(["mask"] if masks else [])])
        self.ids, self.valid, self.digests = self._rows.ids, self._rows.valid, self._rows.digests
        self._joints: np.ndarray | None = None
        self._cache: dict[int, Sample] = {}
        # a worker lives for an epoch and sees each image once: what it kept would be memory for nothing
        self._owner, self._free = os.getpid(), CACHE_BYTES

    def __len__(self) -> int:
        return len(self.ids)

    def labels(self, name: str) -> np.ndarray:
        """A column of all samples, the sample axis first: of fixed size, or text."""
        parts = []
        for path in self.shards:
            with Store(path) as store:
                parts.append(store.column(name))
        return np.concatenate(parts)

    def relabel(self, joints: np.ndarray) -> None:
        """Take joints (N, 21, 3), metres in the camera frame, in the place of the column's."""
        self._joints = joints
        self._cache.clear()
        self._free = CACHE_BYTES

    def __getitem__(self, row: int) -> Sample:
        if row in self._cache:
            return self._cache[row]
        sample = self._read(row)
        size = sum(value.nbytes for value in sample if isinstance(value, np.ndarray))
        if self._free >= size and self._owner == os.getpid():
            self._cache[row] = sample
            self._free -= size
        return sample

    def _read(self, row: int) -> Sample:
        rows = self._rows
        image, mask = decode_rgb(rows.read("image", row), rows.origin(row)), None
        if self._masks:
            mask = np.float32(decode_mask(rows.read("mask", row), rows.origin(row)) == MaskLabel.HAND)
        K, joints, vertices, side = (rows.read(name, row) for name in LABELS)
        if self._joints is not None:
            joints = self._joints[row]
        return Sample(int(self.ids[row]), image, K, joints, vertices, int(side), mask)
