"""MediaPipe Hands (Zhang et al. 2020): palm detector and landmark network, trained on real people; single images."""

import os
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from handgap.core.conventions import Side

os.environ.setdefault("GLOG_minloglevel", "2")  # its C++ side logs each start

from mediapipe.python.solutions.hands import Hands

MIN_CONFIDENCE = 0.5
SIDES = {"Left": Side.RIGHT, "Right": Side.LEFT}  # MediaPipe names hands as a mirror shows them


class Landmarks(NamedTuple):
    """One hand found."""

    joints: np.ndarray  # (21, 2) px, simple order; not all in the image
    score: float  # of the side, in [0, 1]: the only confidence the network gives of a hand
    side: Side


class LandmarkTracker:
    """Hands of independent images; use it as a context manager.

    Args:
        max_hands: of one image; of more hands only so many are found.
    """

    def __init__(self, max_hands: int) -> None:
        self._hands = Hands(static_image_mode=True, max_num_hands=max_hands, min_detection_confidence=MIN_CONFIDENCE)

    def __call__(self, rgb: np.ndarray) -> list[Landmarks]:
        """Hands of an image (H, W, 3) uint8 in MediaPipe's order; empty when there is none."""
        height, width = rgb.shape[:2]
        found = self._hands.process(np.ascontiguousarray(rgb))
        hands = []
        for hand, named in zip(found.multi_hand_landmarks or (), found.multi_handedness or (), strict=True):
            side = named.classification[0]
            joints = np.array([[point.x * width, point.y * height] for point in hand.landmark])
            hands.append(Landmarks(joints, side.score, SIDES[side.label]))
        return hands

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._hands.close()
