"""Drawing at sub-pixel positions, with pixel centres at integer + 0.5."""

import cv2
import numpy as np

SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def fixed_point(points: np.ndarray) -> np.ndarray:
    """Pixel positions (..., 2) as OpenCV's drawing functions take them with `shift=SHIFT`."""
    return np.rint((points - 0.5) * (1 << SHIFT)).astype(np.int32)


def silhouette(points: np.ndarray, faces: np.ndarray, height: int, width: int) -> np.ndarray:
    """Region (H, W) bool that a projected mesh covers.

    Args:
        points: (V, 2) px.
        faces: (F, 3).
        height, width: px.
    """
    canvas = np.zeros((height, width), np.uint8)
    for triangle in fixed_point(points)[faces]:
        cv2.fillConvexPoly(canvas, triangle, 1, shift=SHIFT)
    return canvas.astype(bool)
