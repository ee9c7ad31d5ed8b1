"""Labels of a composed image: what the pasted object hides."""

import numpy as np

from handgap.core.conventions import MaskLabel
from handgap.core.geometry import project
from handgap.core.images import decode_depth, encode_depth


def hidden_joints(joints: np.ndarray, K: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Joints whose pixel shows the pasted object; the arm lies below the hand and hides none.

    Args:
        joints: (21, 3) metres, OpenCV camera frame.
        K: (3, 3) px.
        labels: (H, W) uint8 `MaskLabel` of the composed image.

    Returns:
        (21,) bool.
    """
    height, width = labels.shape
    column, row = np.floor(project(joints, K)).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return inside & (labels[np.where(inside, row, 0), np.where(inside, column, 0)] == MaskLabel.OBJECT)


def occlusion(before: np.ndarray, after: np.ndarray) -> np.float32:
    """Share of the hand's pixels that the object hides, as `render.labels` defines it.

    Args:
        before: (H, W) `MaskLabel` of the render.
        after: (H, W) `MaskLabel` of the composed image.
    """
    hand = before == MaskLabel.HAND
    return np.float32((hand & (after == MaskLabel.OBJECT)).sum() / max(hand.sum(), 1))


def without_depth(depth: np.ndarray, pasted: np.ndarray, origin: str) -> np.ndarray:
    """Encoded depth map of the render, without the pixels where something else is seen now.

    Args:
        depth: bytes of the 16-bit PNG.
        pasted: (H, W) bool.
        origin: names the map in messages.

    Returns:
        Bytes of a 16-bit PNG, the same ones where the render had no depth there.

    Raises:
        CorruptFileError: the bytes are no image.
    """
    metres = decode_depth(depth, origin)
    hidden = pasted & (metres > 0)
    return encode_depth(np.where(hidden, 0.0, metres)) if hidden.any() else depth
