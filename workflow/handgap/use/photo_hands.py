"""Hands of any photo: found, cut out, predicted, and put back into the camera frame of the photo."""

from dataclasses import dataclass

import numpy as np
import torch

from handgap.core.conventions import Side
from handgap.core.geometry import project
from handgap.data.crop import Crop, hand_crop
from handgap.segment.detect import HAND, Finder, Sighting
from handgap.segment.views import hands_of
from handgap.use.checkpoint import Checkpoint
from handgap.use.placement import place


@dataclass(frozen=True)
class PhotoHand:
    """One hand of a photo.

    Attributes:
        side: which hand.
        score: the finder's confidence, 0..1.
        box: (4,) left, top, right, bottom px.
        joints, vertices: (21, 3), (778, 3) metres, camera frame.
        uv: (21, 2) px, the network's own 2D joints.
        faces: (1538, 3), wound as the side asks for.
    """

    side: Side
    score: float
    box: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray
    uv: np.ndarray
    faces: np.ndarray


def intrinsics(height: int, width: int, focal: float | None) -> np.ndarray:
    """(3, 3) px of a photo taken through its middle.

    Args:
        height, width: px.
        focal: focal length, px; if None, the photo's diagonal (a diagonal field of view of 53 degrees, what CLIFF takes
            for photos of unknown cameras; Li et al., ECCV 2022).
    """
    focal = float(np.hypot(height, width)) if focal is None else focal
    return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


class PhotoHands:
    """Hands of photos of any size.

    Args:
        finder: of hands, with joints and side.
        checkpoint: the network; it has seen right hands only, left ones are mirrored for it.
        focal: see `intrinsics`.
    """

    def __init__(self, finder: Finder, checkpoint: Checkpoint, focal: float | None):
        self._finder, self._checkpoint, self._focal = finder, checkpoint, focal
        self._faces = checkpoint.network.annotation_hand.faces

    def __call__(self, rgb: np.ndarray) -> tuple[np.ndarray, list[PhotoHand]]:
        """Intrinsics (3, 3) of a photo (H, W, 3) uint8, and its hands, the most certain first."""
        K = intrinsics(*rgb.shape[:2], self._focal)
        sightings, scale = hands_of(self._finder, rgb)
        if not sightings:
            return K, []
        crops = [self._crop(sighting.prior.joints / scale, sighting.side, K) for sighting in sightings]
        images = np.stack([crop.image(rgb, K) for crop in crops]).transpose(0, 3, 1, 2) / np.float32(255)
        with torch.inference_mode():
            found = self._checkpoint.network(
                torch.from_numpy(images), torch.from_numpy(np.stack([crop.K for crop in crops])).float()
            )
        parts = (part.double().numpy() for part in (found.joints, found.vertices, found.uv))
        hands = [
            self._hand(sighting, sighting.boxes[HAND] / np.tile(scale, 2), crop, K, *part)
            for sighting, crop, *part in zip(sightings, crops, *parts, strict=True)
        ]
        return K, hands

    def _crop(self, joints: np.ndarray, side: Side, K: np.ndarray) -> Crop:
        """The crop around joints (21, 2) px, as points on the rays through them."""
        rays = np.c_[joints, np.ones(len(joints))] @ np.linalg.inv(K).T
        return hand_crop(rays, side, self._checkpoint.image_size, self._checkpoint.expansion)

    def _hand(
        self,
        sighting: Sighting,
        box: np.ndarray,
        crop: Crop,
        K: np.ndarray,
        joints: np.ndarray,
        vertices: np.ndarray,
        uv: np.ndarray,
    ) -> PhotoHand:
        translation = place(joints, uv * crop.size, crop.K, crop.size)
        rays = np.c_[uv * crop.size, np.ones(len(uv))] @ np.linalg.inv(crop.K).T
        return PhotoHand(
            side=sighting.side,
            score=float(sighting.scores[HAND]),
            box=box,
            joints=(joints + translation) @ crop.rotation,
            vertices=(vertices + translation) @ crop.rotation,
            uv=project(rays @ crop.rotation, K),
            faces=self._faces[:, ::-1] if sighting.side == Side.LEFT else self._faces,
        )
