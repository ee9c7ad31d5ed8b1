"""Random access to labelled images of a store, each decoded once while they fit into memory."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from handgap.core.conventions import MaskLabel
from handgap.core.images import decode_mask, decode_rgb
from handgap.core.store import ShardedStore

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

    def __init__(self, shards: Sequence[Path | str], masks: bool = False):
        self._shards, self._masks = list(shards), masks
        with ShardedStore(self._shards) as store:
            self.ids = store.column("id")
            self.valid = store.column("valid").astype(bool)
            self.digests = store.digests
        self._store: ShardedStore | None = None
        self._owner = 0
        self._cache: dict[int, Sample] = {}
        self._free = CACHE_BYTES

    def __len__(self) -> int:
        return len(self.ids)

    def _open(self) -> ShardedStore:
        # an HDF5 handle must not be shared across a fork: every process opens its own
        if self._owner != os.getpid():
            self._store, self._owner = ShardedStore(self._shards), os.getpid()
        return self._store

    def labels(self, name: str) -> np.ndarray:
        """A fixed-size column of all samples, the sample axis first."""
        return self._open().column(name)

    def __getitem__(self, row: int) -> Sample:
        if row in self._cache:
            return self._cache[row]
        store = self._open()
        image, mask = decode_rgb(store.row("image", row), store.origin(row)), None
        if self._masks:
            mask = np.float32(decode_mask(store.row("mask", row), store.origin(row)) == MaskLabel.HAND)
        labels = (store.row(name, row) for name in ("K", "joints", "vertices", "side"))
        sample = Sample(int(self.ids[row]), image, *labels, mask)
        size = image.nbytes + (0 if mask is None else mask.nbytes)
        if self._free >= size:
            self._cache[row] = sample
            self._free -= size
        return sample
