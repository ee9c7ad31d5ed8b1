"""An outside judge of renders: whether a hand tracker trained on people finds the hands, and where.

The tracker is MediaPipe Hands (Zhang et al. 2020) with its default thresholds, on single images.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mediapipe
import numpy as np

from handgap.core.geometry import project

MIN_BOX_PX = 60.0
MIN_CONFIDENCE = 0.5


@dataclass(frozen=True)
class Hand:
    """One labelled hand and what the tracker made of it.

    Attributes:
        box: larger edge of the box around the 21 projected joints, px.
        error: mean distance of the 21 landmarks to the projected joints / `box`; None: no hand found.
    """

    box: float
    error: float | None


class Tracker:
    """MediaPipe Hands on independent images; its 21 landmarks are in simple order."""

    def __init__(self, hands: "mediapipe.solutions.hands.Hands"):
        self._hands = hands

    def landmarks(self, rgb: np.ndarray) -> np.ndarray | None:
        """(21, 2) px of the hand found in (H, W, 3) uint8, or None."""
        found = self._hands.process(rgb).multi_hand_landmarks
        if not found:
            return None
        height, width = rgb.shape[:2]
        return np.array([[point.x * width, point.y * height] for point in found[0].landmark])


@contextmanager
def tracker() -> Iterator[Tracker]:
    """A tracker, closed at the end of the block."""
    options = {"static_image_mode": True, "max_num_hands": 1, "min_detection_confidence": MIN_CONFIDENCE}
    with mediapipe.solutions.hands.Hands(**options) as hands:
        yield Tracker(hands)


def judge(judge_tracker: Tracker, rgb: np.ndarray, joints: np.ndarray, K: np.ndarray) -> Hand:
    """Look for the labelled hand.

    A detection counts only if the centre of its landmarks lies in the box of the labels: a face or a pattern taken
    for a hand elsewhere is not this hand.

    Args:
        rgb: (H, W, 3) uint8.
        joints: (21, 3) metres, camera frame, simple order.
        K: (3, 3).
    """
    truth = project(joints, K)
    low, high = truth.min(0), truth.max(0)
    box = float((high - low).max())
    found = judge_tracker.landmarks(np.ascontiguousarray(rgb))
    if found is None or not ((low <= found.mean(0)) & (found.mean(0) <= high)).all():
        return Hand(box, None)
    return Hand(box, float(np.linalg.norm(found - truth, axis=1).mean() / box))


def summarise(hands: Iterable[Hand], min_box: float = MIN_BOX_PX) -> dict[str, float | int]:
    """Share of large hands found, median and 90th percentile of the error of those found, in hand boxes."""
    large = [hand for hand in hands if hand.box > min_box]
    errors = [hand.error for hand in large if hand.error is not None]
    return {
        "hands": len(large),
        "found": len(errors),
        "found_ratio": len(errors) / len(large) if large else np.nan,
        "error_median": float(np.median(errors)) if errors else np.nan,
        "error_p90": float(np.quantile(errors, 0.9)) if errors else np.nan,
        "min_box_px": min_box,
    }
