"""Operations on masks (H, W) bool that prompting, reconciling and scoring share."""

import cv2
import numpy as np


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Grown by a disc of `radius` px."""
    return cv2.dilate(mask.astype(np.uint8), _disc(radius)).astype(bool)


def erode(mask: np.ndarray, radius: int) -> np.ndarray:
    """Shrunk by a disc of `radius` px."""
    return cv2.erode(mask.astype(np.uint8), _disc(radius)).astype(bool)


def tidy(mask: np.ndarray, min_area: int) -> np.ndarray:
    """Without islands and holes below `min_area` px."""
    mask = mask.copy()
    for inside in (True, False):
        _, parts, statistics, _ = cv2.connectedComponentsWithStats((mask == inside).astype(np.uint8), connectivity=4)
        small = statistics[:, cv2.CC_STAT_AREA] < min_area
        small[0] = False
        mask[small[parts]] = not inside
    return mask


def bounds(mask: np.ndarray) -> np.ndarray:
    """(4,) left, top, right, bottom of a mask in px; nan when it is empty."""
    if not mask.any():
        return np.full(4, np.nan)
    ys, xs = np.nonzero(mask)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float64)


def filled(box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Mask of the pixels whose centres lie in a box (4,) px."""
    ys, xs = (np.arange(count) + 0.5 for count in shape)
    return ((ys >= box[1]) & (ys <= box[3]))[:, None] & ((xs >= box[0]) & (xs <= box[2]))


def share(part: np.ndarray, whole: np.ndarray) -> float:
    """Share of `whole` that `part` covers; 0 when there is no whole."""
    return float((part & whole).sum() / max(whole.sum(), 1))


def on(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which of (P, 2) px points lie on the mask; none outside the image."""
    pixels = np.floor(points).astype(int)
    inside = ((pixels >= 0) & (pixels < mask.shape[::-1])).all(1)
    pixels = np.clip(pixels, 0, np.array(mask.shape[::-1]) - 1)
    return inside & mask[pixels[:, 1], pixels[:, 0]]


def deepest(mask: np.ndarray) -> np.ndarray:
    """(2,) px, the point of the mask deepest inside it."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return np.array([x + 0.5, y + 0.5])
