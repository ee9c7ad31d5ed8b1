"""The real side by sample id: pixels and masks to paste, read where they lie, one sample at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from handgap.core.errors import CorruptFileError
from handgap.core.images import decode_mask, decode_rgb
from handgap.core.store import ShardedStore


class RealSide:
    """Random access to real images and their masks; nothing is kept in memory but ids and flags.

    Args:
        real: shards with `image`.
        masks: shards with the `mask` of the same ids, in the same order.

    Attributes:
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
        self._valid = self._real.column("valid") & self._masks.column("valid")
        self.digests = [*self._real.digests, *self._masks.digests]

    def _row(self, sample: int) -> int:
        if sample not in self._rows:
            cure = "pass the shard of the real side that holds it"
            raise CorruptFileError(self._real.shards[0].path, f"no sample {sample} in it or the other shards", cure)
        return self._rows[sample]

    def is_valid(self, sample: int) -> bool:
        """Whether the sample's image and mask may be used.

        Raises:
            CorruptFileError: the sample is in none of the shards.
        """
        return bool(self._valid[self._row(sample)])

    def image(self, sample: int) -> np.ndarray:
        """Pixels (H, W, 3) uint8 of a sample, decoded now."""
        row = self._row(sample)
        return decode_rgb(self._real.row("image", row), self._real.origin(row))

    def labels(self, sample: int) -> np.ndarray:
        """`MaskLabel` (H, W) uint8 of a sample, decoded now."""
        row = self._row(sample)
        return decode_mask(self._masks.row("mask", row), self._masks.origin(row))

    def close(self) -> None:
        """Close all shards."""
        self._real.close()
        self._masks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
