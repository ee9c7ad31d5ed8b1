"""Views of a photo, as a finder and a segmenter take them: shrunk, cut out, and what is seen there put back."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torchvision.ops import nms

from handgap.core.conventions import MaskLabel
from handgap.segment.boxes import prior_from_landmarks
from handgap.segment.detect import HAND, Finder, Sighting, sighting_of

FINDER_EDGE = 1280  # px; photos are shrunk to it for the finder, which shrinks them further
SAME = 0.3  # IoU of two hand boxes that are one hand
RANK = (MaskLabel.BACKGROUND, MaskLabel.ARM, MaskLabel.HAND, MaskLabel.OBJECT)  # the last lies on top
Place = tuple[int, int, int, int]  # left, top, right, bottom px


def shrunk(rgb: np.ndarray, edge: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) with its longer edge at most `edge` px, and its scale (2,) along x and y."""
    height, width = rgb.shape[:2]
    factor = edge / max(height, width)
    if factor >= 1.0:
        return np.ascontiguousarray(rgb), np.ones(2)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.array(size) / (width, height)


def enlarged(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels grown to `size` (H, W): at each pixel the class with the greatest share around it."""
    shares = [cv2.resize(255 * (labels == label).astype(np.uint8), size[::-1]) for label in RANK]
    return np.array(RANK, np.uint8)[np.argmax(shares, axis=0)]


def distinct(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Sightings with a hand in the picture, the most certain first, none of the same hand twice."""
    seen = [sighting for sighting in sightings if not np.isnan(sighting.boxes[HAND]).any()]
    if not seen:
        return []
    boxes, scores = (np.stack([getattr(s, name)[HAND] for s in seen]) for name in ("boxes", "scores"))
    return [seen[index] for index in nms(torch.from_numpy(boxes), torch.from_numpy(scores), SAME)]


def hands_of(finder: Finder, rgb: np.ndarray) -> tuple[list[Sighting], np.ndarray]:
    """Hands of a photo (H, W, 3) uint8 of any size, see `distinct`, in a shrunk picture of it whose scale is (2,)."""
    small, scale = shrunk(rgb, FINDER_EDGE)
    return distinct(finder(0, small)), scale


def window(boxes: np.ndarray, size: tuple[int, int], around: float) -> Place:
    """A square around boxes (3, 4) px and `around` of their longer edge more, as far as the image (H, W) reaches."""
    low, high = np.nanmin(boxes[:, :2], 0), np.nanmax(boxes[:, 2:], 0)
    half = (0.5 + around) * (high - low).max()
    centre = (low + high) / 2.0
    limit = np.array(size[::-1])
    left, top = np.clip(np.floor(centre - half), 0, limit - 1).astype(int)
    right, bottom = np.clip(np.ceil(centre + half), (left + 1, top + 1), limit).astype(int)
    return int(left), int(top), int(right), int(bottom)


def seen_in(
    sighting: Sighting, factor: np.ndarray, shift: np.ndarray, size: tuple[int, int], margin: float
) -> Sighting:
    """A sighting in another view of its image, in which a point p lies at `factor * p - shift`, both (2,) px.

    Args:
        sighting: from landmarks or from boxes alone.
        factor, shift: of the view.
        size: (H, W) of the view.
        margin: see `sighting_of`.
    """
    if sighting.prior:
        prior = prior_from_landmarks(sighting.prior.joints * factor - shift, *size)
        return sighting_of(prior, margin, float(sighting.scores[HAND]), sighting.side)
    limit = np.tile(size[::-1], 2)
    return replace(sighting, boxes=np.clip(sighting.boxes * np.tile(factor, 2) - np.tile(shift, 2), 0, limit))


def cut_off(mask: np.ndarray, place: Place, size: tuple[int, int]) -> bool:
    """Whether a mask of a window reaches an edge of it that is not the image's, where it may go on.

    Args:
        mask: (h, w) bool, the window's pixels.
        place: the window.
        size: (H, W) of the image.
    """
    left, top, right, bottom = place
    inner = left > 0, top > 0, right < size[1], bottom < size[0]
    edges = mask[:, 0], mask[0], mask[:, -1], mask[-1]
    return any(inside and edge.any() for inside, edge in zip(inner, edges, strict=True))
