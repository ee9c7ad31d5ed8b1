"""Hand landmarks from MediaPipe's palm detector and landmark network (Zhang et al. 2020), trained on real people."""

import os
from types import TracebackType
from typing import Self

import numpy as np

os.environ.setdefault("GLOG_minloglevel", "2")  # its C++ side logs each start

from mediapipe.python.solutions.hands import Hands

MIN_CONFIDENCE = 0.5


class PalmDetector:
    """21 landmarks of the most certain hand of a picture."""

    def __init__(self) -> None:
        self._hands = Hands(static_image_mode=True, max_num_hands=1, min_detection_confidence=MIN_CONFIDENCE)

    def __call__(self, rgb: np.ndarray) -> np.ndarray | None:
        """Landmarks (21, 2) px in simple order of an image (H, W, 3) uint8; None when there is no hand."""
        found = self._hands.process(rgb).multi_hand_landmarks
        if not found:
            return None
        height, width = rgb.shape[:2]
        return np.array([[point.x * width, point.y * height] for point in found[0].landmark])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._hands.close()
