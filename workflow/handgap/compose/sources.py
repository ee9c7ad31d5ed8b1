"""The real side by sample id: pixels and masks to paste, each decoded once."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np

from handgap.core.conventions import MaskLabel
from handgap.core.errors import CorruptFileError
from handgap.core.images import decode_mask, decode_rgb
from handgap.core.store import ShardedStore

CACHED_IMAGES = 256


class RealSide:
    """Random access to real images and their masks.

    Args:
        real: shards with `image`.
        masks: shards with the `mask` of the same ids, in the same order.

    Attributes:
        valid_ids: (M,) sorted ids whose image and mask are both valid.
        digests: content digests of all shards.

    Raises:
        CorruptFileError: images and masks are not of the same samples.
    """

    def __init__(self, real: Sequence[Path], masks: Sequence[Path]):
        self._real, self._masks = ShardedStore(real), ShardedStore(masks)
        ids = self._real.column("id")
        if not np.array_equal(ids, self._masks.column("id")):
            cure = "pass the masks of exactly the real shards passed, in the same order"
            raise CorruptFileError(masks[0], f"its ids are not those of {real[0]}", cure)
        self._rows = {int(sample): row for row, sample in enumerate(ids)}
        self.valid_ids = np.sort(ids[self._real.column("valid") & self._masks.column("valid")])
        self._valid = set(self.valid_ids.tolist())
        self.digests = [*self._real.digests, *self._masks.digests]
        # random partners repeat within a shard
        self.load = lru_cache(CACHED_IMAGES)(self._load)

    def is_valid(self, sample: int) -> bool:
        """Whether the sample's image and mask may be used.

        Raises:
            CorruptFileError: the sample is in none of the shards.
        """
        if sample not in self._rows:
            cure = "pass the shard of the real side that holds it"
            raise CorruptFileError(self._real.shards[0].path, f"no sample {sample} in it or the other shards", cure)
        return sample in self._valid

    def _load(self, sample: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels (H, W, 3) uint8, arm and object masks (H, W) bool of one sample."""
        row = self._rows[sample]
        labels = decode_mask(self._masks.row("mask", row), self._masks.origin(row))
        pixels = decode_rgb(self._real.row("image", row), self._real.origin(row))
        return pixels, labels == MaskLabel.ARM, labels == MaskLabel.OBJECT

    def close(self) -> None:
        """Close all shards."""
        self._real.close()
        self._masks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
