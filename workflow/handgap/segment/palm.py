"""Hands from MediaPipe's palm detector and landmark network (Zhang et al. 2020), trained on real people."""

import os
from types import TracebackType
from typing import Self

import numpy as np

from handgap.core.conventions import Side
from handgap.segment.boxes import prior_from_landmarks
from handgap.segment.detect import Sighting, sighting_of

os.environ.setdefault("GLOG_minloglevel", "2")  # its C++ side logs each start

from mediapipe.python.solutions.hands import Hands

MIN_CONFIDENCE = 0.5
SIDES = {"Left": Side.RIGHT, "Right": Side.LEFT}  # MediaPipe names hands as a mirror shows them


class PalmFinder:
    """Hands of an image by their 21 landmarks; use it as a context manager.

    Args:
        max_hands: of one image; two hands of one person are told apart, of many people only so many are found.
        margin: see `detect.sighting_of`.
    """

    def __init__(self, max_hands: int, margin: float) -> None:
        self._hands = Hands(static_image_mode=True, max_num_hands=max_hands, min_detection_confidence=MIN_CONFIDENCE)
        self._margin = margin

    def __call__(self, row: int, rgb: np.ndarray) -> list[Sighting]:
        """See `detect.Finder`; the score is that of the side, the only one the network gives."""
        height, width = rgb.shape[:2]
        found = self._hands.process(np.ascontiguousarray(rgb))
        sightings = []
        for hand, named in zip(found.multi_hand_landmarks or (), found.multi_handedness or (), strict=True):
            side = named.classification[0]
            joints = np.array([[point.x * width, point.y * height] for point in hand.landmark])
            prior = prior_from_landmarks(joints, height, width)
            sightings.append(sighting_of(prior, self._margin, side.score, SIDES[side.label]))
        return sorted(sightings, key=lambda sighting: -np.nan_to_num(sighting.scores[0]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._hands.close()
