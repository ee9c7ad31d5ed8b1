"""The virtual camera a network sees: turned towards the hand, zoomed to it, rolled about its axis.

A crop of an image is a camera turned about its own centre, so image, 3D labels and intrinsics change together and
exactly: pixels by the homography ``K' R K^-1``, points by ``R`` (perspective crop of simpleHand, Zhou et al. 2024).
The principal point is the middle of every crop.
"""

from typing import NamedTuple

import cv2
import numpy as np

from handgap.core.conventions import Side
from handgap.core.geometry import project, rodrigues

_HALF_PIXEL = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])


class Crop(NamedTuple):
    """A crop's camera."""

    rotation: np.ndarray  # (3, 3) camera frame -> frame of the crop; mirrors x (determinant -1) for left hands
    K: np.ndarray  # (3, 3) intrinsics of the crop, px
    size: int  # edge of the crop, px

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points (P, 3) of the camera frame in the frame of the crop."""
        return points @ self.rotation.T

    def uv(self, points: np.ndarray) -> np.ndarray:
        """Points (P, 3) of the camera frame -> (P, 2) in the crop, as a share of its edge."""
        return project(self.points(points), self.K) / self.size

    def image(self, image: np.ndarray, K: np.ndarray) -> np.ndarray:
        """Cut an image (H, W, ...) taken with intrinsics K -> (size, size, ...), same type; black beyond its border."""
        homography = self.K @ self.rotation @ np.linalg.inv(K)
        homography = np.linalg.inv(_HALF_PIXEL) @ homography @ _HALF_PIXEL
        return cv2.warpPerspective(image, homography, (self.size, self.size), flags=cv2.INTER_LINEAR)


def _turn_to_axis(direction: np.ndarray) -> np.ndarray:
    """Smallest rotation (3, 3) that takes a direction (3,) to the optical axis."""
    axis = np.cross(direction, [0.0, 0.0, 1.0])
    sine = np.linalg.norm(axis)
    return rodrigues(axis / max(sine, 1e-12) * np.arctan2(sine, direction[2]))


def hand_crop(
    joints: np.ndarray,
    side: int,
    size: int,
    expansion: float,
    *,
    angle: float = 0.0,
    zoom: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Crop:
    """Square crop around a hand; left hands come out mirrored, as right hands.

    Args:
        joints: (21, 3) metres, in front of the camera.
        side: `conventions.Side`.
        size: edge of the crop, px.
        expansion: edge of the crop over that of the tight square around the joints.
        angle: radians, turns the content clockwise on screen.
        zoom: further factor on the size of the hand in the crop.
        shift: moves the hand right and down, as a share of the crop's edge.
    """
    mirror = np.diag([-1.0 if side == Side.LEFT else 1.0, 1.0, 1.0])
    seen = joints.astype(np.float64) @ mirror
    plane = seen[:, :2] / seen[:, 2:]
    centre = (plane.min(0) + plane.max(0)) / 2
    rotation = rodrigues(np.array([0.0, 0.0, angle])) @ _turn_to_axis(np.array([*centre, 1.0]))
    seen = seen @ rotation.T
    extent = np.abs(seen[:, :2] / seen[:, 2:]).max()
    half = extent * expansion / zoom
    rotation = _turn_to_axis(np.array([-2 * half * shift[0], -2 * half * shift[1], 1.0])) @ rotation @ mirror
    focal = size / 2 / half
    return Crop(rotation, np.array([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]]), size)
