"""People's own photos: masks of every hand of a photo of any size."""

import numpy as np

from handgap.core.config.segment import Segment
from handgap.core.conventions import MaskLabel
from handgap.segment.detect import HAND, HELD, WHOLE, Finder, Sighting
from handgap.segment.hand_table import HandRow
from handgap.segment.masks import HandSegmenter, Segmented
from handgap.segment.sam import Segmenter
from handgap.segment.views import RANK, Place, cut_off, enlarged, hands_of, seen_in, shrunk, window

WINDOW_EDGE = 448  # px; a hand's window is shrunk to it for the segmenter, and its masks grow back
AROUND, WIDER = 0.15, 0.5  # of the window's edge, left around hand and arm at first, and where that cuts them off
ORDER = np.argsort(RANK).astype(np.uint8)  # place of each label in it


class PhotoSegmenter:
    """Labels of photos of any size, whose hands are looked for.

    A hand is segmented in a window around it and its forearm, so that its size in the photo does not matter; once more
    in a wider one if hand, arm or object reach the window's edge.

    Args:
        finder: of hands.
        segmenter: answers the prompts.
        settings: the segment stage's.
    """

    def __init__(self, finder: Finder, segmenter: Segmenter, settings: Segment):
        self._finder, self._segmenter, self._margin = finder, segmenter, settings.box_margin
        self._hands = HandSegmenter(segmenter, settings)

    def __call__(self, rgb: np.ndarray, file: str) -> tuple[np.ndarray, list[HandRow]]:
        """Labels (H, W) uint8 `MaskLabel` of all valid hands of a photo (H, W, 3) uint8, and the rows of its hands."""
        labels, rows = np.zeros(rgb.shape[:2], np.uint8), []
        sightings, scale = hands_of(self._finder, rgb)
        for sighting in sightings:
            boxes = sighting.boxes / np.tile(scale, 2)
            for around in (AROUND, WIDER):
                place = window(boxes, rgb.shape[:2], around)
                found, grown = self._through(rgb, place, sighting, scale)
                if not cut_off(grown > 0, place, rgb.shape[:2]):
                    break
            rows.append(_row(file, len(rows) + 1, sighting, boxes[HAND], found, grown))
            if not found.flag:
                left, top, right, bottom = place
                part = labels[top:bottom, left:right]
                part[:] = np.where(np.take(ORDER, grown) > np.take(ORDER, part), grown, part)
        return labels, rows or [HandRow(file, reason="no hand found")]

    def _through(
        self, rgb: np.ndarray, place: Place, sighting: Sighting, scale: np.ndarray
    ) -> tuple[Segmented, np.ndarray]:
        """What is segmented in a window of a photo, and its labels (h, w) at the window's own size.

        Args:
            rgb: (H, W, 3) uint8, the photo.
            place: the window.
            sighting: of a hand, in the picture that the finder saw.
            scale: (2,) of that picture.
        """
        left, top, right, bottom = place
        view, zoom = shrunk(rgb[top:bottom, left:right], WINDOW_EDGE)
        seen = seen_in(sighting, zoom / scale, zoom * np.array([left, top]), view.shape[:2], self._margin)
        found = self._hands(self._segmenter.embed(view[None])[0], view.shape[:2], seen)
        return found, enlarged(found.labels, (bottom - top, right - left))


def _rounded(values: np.ndarray, digits: int) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), digits) for value in values]


def _row(file: str, number: int, sighting: Sighting, box: np.ndarray, found: Segmented, labels: np.ndarray) -> HandRow:
    side = sighting.side.name.lower() if sighting.side is not None else ""
    areas = [int((labels == label).sum()) for label in (MaskLabel.HAND, MaskLabel.ARM, MaskLabel.OBJECT)]
    scores = _rounded(np.array([sighting.scores[HAND], *found.scores]), 4)
    reasons = found.flag, found.reasons[WHOLE], found.reasons[HELD]
    return HandRow(file, number, side, *_rounded(box, 1), *scores, *areas, not found.flag, *reasons)
