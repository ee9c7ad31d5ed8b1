"""An outside judge of renders: whether a hand tracker trained on people finds the hands, and where.

The tracker is MediaPipe Hands (Zhang et al. 2020) with its default thresholds, on single images.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from handgap.core.geometry import project
from handgap.segment.landmarks import LandmarkTracker

MIN_BOX_PX = 60.0


@dataclass(frozen=True)
class Hand:
    """One labelled hand and what the tracker made of it.

    Attributes:
        box: larger edge of the box around the 21 projected joints, px.
        error: mean distance of the 21 landmarks to the projected joints / `box`; None: no hand found.
    """

    box: float
    error: float | None


def judge(find: LandmarkTracker, rgb: np.ndarray, joints: np.ndarray, K: np.ndarray) -> Hand:
    """Look for the labelled hand.

    A detection counts only if the centre of its landmarks lies in the box of the labels: a face or a pattern taken
    for a hand elsewhere is not this hand.

    Args:
        find: of one hand an image.
        rgb: (H, W, 3) uint8.
        joints: (21, 3) metres, camera frame, simple order.
        K: (3, 3).
    """
    truth = project(joints, K)
    low, high = truth.min(0), truth.max(0)
    box = float((high - low).max())
    found = [hand.joints for hand in find(rgb)]
    if not found or not ((low <= found[0].mean(0)) & (found[0].mean(0) <= high)).all():
        return Hand(box, None)
    return Hand(box, float(np.linalg.norm(found[0] - truth, axis=1).mean() / box))


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
