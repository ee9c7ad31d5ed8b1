"""Where the hands of an image are: one answer, `Sighting`, from labels, a palm detector or a text-prompted detector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from handgap.core.conventions import Side
from handgap.core.store import Store
from handgap.segment.boxes import HandPrior, prior_from_labels

HAND, WHOLE, HELD = range(3)  # rows of a sighting, and prompts of a text detector: hand, hand + arm, held object
SAME = 0.7  # IoU of two boxes around one thing
CONTAINED = 0.8  # share of the hand's box inside the box of hand + arm


@dataclass(frozen=True)
class Sighting:
    """One hand of an image, as its source sees it before anything is segmented.

    Attributes:
        boxes: (3, 4) float64 left, top, right, bottom px of hand, hand + arm and held object; nan where not known.
        scores: (3,) the source's confidence in each, 0..1; nan where there is no box.
        prior: what is known beyond boxes; None from a text detector.
        side: which hand; None where the source does not tell.
    """

    boxes: np.ndarray
    scores: np.ndarray
    prior: HandPrior | None = None
    side: Side | None = None


class Finder(Protocol):
    """A source of sightings: `LabelFinder`, `palm.PalmFinder` or `TextFinder`."""

    def __call__(self, row: int, rgb: np.ndarray) -> list[Sighting]:
        """Hands of one image, the most certain first; empty when there is none.

        Args:
            row: of the image in its shard; only labels look at it.
            rgb: (H, W, 3) uint8.
        """


def sighting_of(prior: HandPrior, margin: float, score: float, side: Side | None) -> Sighting:
    """Sighting of a hand whose joints are known; its boxes are nan when it lies outside the picture.

    Args:
        prior: the hand.
        margin: widens the boxes, as a share of the hand's longer edge.
        score: confidence in it, 0..1.
        side: which hand.
    """
    boxes, scores = np.full((3, 4), np.nan), np.full(3, np.nan)
    if prior.outline.any():
        boxes[HAND], boxes[WHOLE] = prior.hand_box(margin), prior.arm_box(margin)
        scores[[HAND, WHOLE]] = score
    return Sighting(boxes, scores, prior, side)


class LabelFinder:
    """The annotated hand of each image of a shard.

    Args:
        store: with joints, vertices, K and side.
        faces: (1538, 3) of the annotation hand.
        margin: see `sighting_of`.
    """

    def __init__(self, store: Store, faces: np.ndarray, margin: float):
        self._labels = {name: store.column(name) for name in ("joints", "vertices", "K", "side")}
        self._faces, self._margin = faces, margin

    def __call__(self, row: int, rgb: np.ndarray) -> list[Sighting]:
        """See `Finder`; always one hand, of confidence 1."""
        joints, vertices, K, side = (column[row] for column in self._labels.values())
        prior = prior_from_labels(joints, vertices, self._faces, K, *rgb.shape[:2])
        return [sighting_of(prior, self._margin, 1.0, Side(side))]


@dataclass(frozen=True)
class Detections:
    """What a text-prompted detector finds in one image, the most certain first.

    Attributes:
        boxes: (D, 4) float64 left, top, right, bottom px, inside the image.
        scores: (D,) float64 confidence, 0..1.
        prompts: (D,) int64, which of the detector's prompts each answers; one box may answer several.
    """

    boxes: np.ndarray
    scores: np.ndarray
    prompts: np.ndarray


class Detector(Protocol):
    """Text-prompted detection; prompts and thresholds belong to the detector."""

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detections of each image, (H, W, 3) uint8; the images may differ in size."""


def _areas(boxes: np.ndarray) -> np.ndarray:
    """(D,) px of boxes (D, 4); 0 where the right edge lies left of the left one."""
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)


def overlaps(box: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of a box (4,) inside each of the others (D, 4), and their IoU, (D,) each."""
    common = _areas(np.concatenate([np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])], axis=1))
    own = _areas(box[None])
    return common / np.maximum(own, 1e-9), common / np.maximum(own + _areas(others) - common, 1e-9)


def sightings(found: Detections) -> list[Sighting]:
    """Hands of an image from boxes: each hand, with the best box of hand + arm around it and the best object at it.

    Args:
        found: answers to the prompts `HAND`, `WHOLE` and `HELD`.

    Returns:
        One sighting a hand, the most certain first; none where the hand itself has no box.
    """
    result = []
    for index in np.flatnonzero(found.prompts == HAND):
        inside, same = overlaps(found.boxes[index], found.boxes)
        fits = {
            HAND: np.arange(len(found.boxes)) == index,
            WHOLE: (found.prompts == WHOLE) & (inside >= CONTAINED),
            # a prompt as wide as "object" is also answered with the hand itself
            HELD: (found.prompts == HELD) & (inside > 0) & (same < SAME),
        }
        boxes, scores = np.full((3, 4), np.nan), np.full(3, np.nan)
        for row, suitable in fits.items():
            if suitable.any():
                best = suitable.argmax()  # the most certain, as they are sorted
                boxes[row], scores[row] = found.boxes[best], found.scores[best]
        result.append(Sighting(boxes, scores))
    return result


class TextFinder:
    """Hands by text prompts; it knows boxes alone, neither joints nor side.

    Args:
        detector: asked for `HAND`, `WHOLE` and `HELD`, in this order.
    """

    def __init__(self, detector: Detector):
        self._detector = detector

    def __call__(self, row: int, rgb: np.ndarray) -> list[Sighting]:
        """See `Finder`."""
        return sightings(self._detector([rgb])[0])
