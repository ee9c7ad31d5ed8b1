"""Images with the 2D joints that a detector found: what is learned from without labels.

No 3D label is read. The crop is cut around the detected joints: it depends on the directions in which joints are seen,
and those are the rays K^-1 (u, v, 1).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from handgap.core.errors import CorruptFileError
from handgap.core.images import decode_rgb
from handgap.core.store import ShardedStore
from handgap.data.augment import Augmentation, view
from handgap.data.samples import Samples


class Detected(NamedTuple):
    """One image and what a detector saw in it."""

    id: int
    image: np.ndarray  # (H, W, 3) uint8 RGB
    K: np.ndarray  # (3, 3) px
    side: int  # conventions.Side: which hand is asked for is known, as in every dataset of right hands
    keypoints: np.ndarray  # (21, 2) px
    confidence: np.ndarray  # (21,) in [0, 1]


class DetectedSamples(Samples):
    """Samples of several shards with detected 2D joints; those without a detection are not valid.

    Args:
        shards: files with the columns id, image, K, side, valid.
        keypoints: files with the columns id, keypoints, confidence, valid, for the same samples in the same order.

    Raises:
        MissingAssetError, CorruptFileError: see `core.store.Store`.
        CorruptFileError: the two sides have different samples.
    """

    columns = ("image", "K", "side")

    def __init__(self, shards: Sequence[Path | str], keypoints: Sequence[Path | str]):
        super().__init__(shards)
        with ShardedStore(keypoints) as store:
            if not np.array_equal(store.column("id"), self.ids):
                cure = "give the keypoints of exactly these shards, in their order"
                raise CorruptFileError(Path(keypoints[0]), f"its samples are not those of {shards[0]}", cure)
            self.valid = self.valid & store.column("valid").astype(bool)
            self._keypoints, self._confidence = store.column("keypoints"), store.column("confidence")
            self.digests = [*self.digests, *store.digests]

    def _read(self, row: int) -> Detected:
        image = decode_rgb(self._rows.read("image", row), self._rows.origin(row))
        K, side = (self._rows.read(name, row) for name in ("K", "side"))
        return Detected(int(self.ids[row]), image, K, int(side), self._keypoints[row], self._confidence[row])


def rays(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Directions (P, 3) at depth 1 in which pixels (P, 2) of a camera K (3, 3) look."""
    return np.concatenate([points, np.ones((len(points), 1))], 1) @ np.linalg.inv(K.astype(np.float64)).T


def detected_sample(
    sample: Detected, size: int, expansion: float, augmentation: Augmentation = Augmentation()
) -> dict[str, np.ndarray]:
    """Crop and augment a sample, see `augment.training_sample` for the arguments.

    Returns:
        ``image`` (3, size, size) float32 RGB in [0, 1]; ``keypoints`` (21, 2) share of the crop's edge; ``confidence``
        (21,); ``K`` (3, 3) px of the crop; ``id``.
    """
    seen = rays(sample.keypoints, sample.K)
    crop, image = view(sample.image, sample.K, seen, sample.side, size, expansion, augmentation)
    arrays = {"image": image, "keypoints": crop.uv(seen), "confidence": sample.confidence, "K": crop.K}
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()} | {"id": sample.id}
