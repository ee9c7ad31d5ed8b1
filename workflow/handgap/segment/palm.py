"""Hands from MediaPipe's palm detector and landmark network, as sightings."""

from types import TracebackType
from typing import Self

import numpy as np

from handgap.segment.boxes import prior_from_landmarks
from handgap.segment.detect import Sighting, sighting_of
from handgap.segment.landmarks import LandmarkTracker


class PalmFinder:
    """Hands of an image by their 21 landmarks; use it as a context manager.

    Args:
        max_hands: of one image; two hands of one person are told apart, of many people only so many are found.
        margin: see `detect.sighting_of`.
    """

    def __init__(self, max_hands: int, margin: float) -> None:
        self._tracker = LandmarkTracker(max_hands)
        self._margin = margin

    def __call__(self, row: int, rgb: np.ndarray) -> list[Sighting]:
        """See `detect.Finder`; the score is that of the side, the only one the network gives."""
        sightings = [
            sighting_of(prior_from_landmarks(hand.joints, *rgb.shape[:2]), self._margin, hand.score, hand.side)
            for hand in self._tracker(rgb)
        ]
        return sorted(sightings, key=lambda sighting: -np.nan_to_num(sighting.scores[0]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._tracker.__exit__(kind, error, tb)
