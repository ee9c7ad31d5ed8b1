"""Segmentation against exact masks: IoU and boundary F per class and occlusion."""

from collections.abc import Iterable

import cv2
import numpy as np
import pandas as pd

from handgap.core.conventions import MaskLabel

CLASSES = {
    "hand": (MaskLabel.HAND,),
    "arm": (MaskLabel.ARM,),
    "object": (MaskLabel.OBJECT,),
    "hand+arm": (MaskLabel.HAND, MaskLabel.ARM),
}
OCCLUSION_BINS = {
    "all": (0.0, 1.01),
    "0": (0.0, 1e-6),
    "0-25 %": (1e-6, 0.25),
    "25-50 %": (0.25, 0.5),
    ">50 %": (0.5, 1.01),
}
TOLERANCE = 0.008  # of the image's diagonal, rounded up to px


def intersection_over_union(truth: np.ndarray, found: np.ndarray) -> float:
    """IoU of two masks (H, W) bool; nan where the truth is empty."""
    return float((truth & found).sum() / (truth | found).sum()) if truth.any() else np.nan


def boundary(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool, pixels that differ from their right, lower or lower right neighbour; the image's edge is none."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    here = padded[:-1, :-1]
    return (here != padded[:-1, 1:]) | (here != padded[1:, :-1]) | (here != padded[1:, 1:])


def boundary_f(truth: np.ndarray, found: np.ndarray) -> float:
    """F measure of the boundaries' precision and recall within a tolerance (Perazzi et al., CVPR 2016).

    A boundary pixel counts when the other mask's boundary passes within 0.8 % of the image's diagonal, in whole px.
    Their bipartite matching is replaced by this dilation, as in the authors' own evaluation code.

    Args:
        truth, found: (H, W) bool.

    Returns:
        0..1; nan where the truth is empty.
    """
    if not truth.any():
        return np.nan
    reach = np.ceil(TOLERANCE * np.hypot(*truth.shape))
    expected, answered = boundary(truth), boundary(found)
    precision, recall = _near(answered, expected, reach), _near(expected, answered, reach)
    return 2.0 * precision * recall / (precision + recall) if precision + recall else 0.0


def _near(lines: np.ndarray, others: np.ndarray, reach: float) -> float:
    """Share of the pixels of `lines` with one of `others` within `reach` px; 1 when there are none to judge."""
    if not lines.any():
        return 1.0
    if not others.any():
        return 0.0
    distance = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distance[lines] <= reach).mean())


def image_scores(truth: np.ndarray, found: np.ndarray) -> dict[str, tuple[float, float, bool]]:
    """Class -> IoU, boundary F (nan where the truth lacks the class), whether the class was given.

    Args:
        truth, found: (H, W) uint8 `MaskLabel`.
    """
    result = {}
    for name, labels in CLASSES.items():
        expected, answered = np.isin(truth, labels), np.isin(found, labels)
        scores = intersection_over_union(expected, answered), boundary_f(expected, answered)
        result[name] = (*scores, bool(answered.any()))
    return result


def quality_table(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], occlusion: np.ndarray, valid: np.ndarray
) -> pd.DataFrame:
    """Tidy table of IoU and boundary F.

    Args:
        pairs: truth and found labels (H, W) of N images.
        occlusion: (N,) share of the hand's pixels that objects hide.
        valid: (N,) whether the segmentation takes responsibility for the image; scores count all images all the same.

    Returns:
        Columns class, bin (of occlusion), n (images whose truth has the class), median_iou, mean_iou, p10_iou,
        median_f, mean_f, valid (share of these images), false_positive (share of the bin's images without the class
        that were given it).
    """
    scores = [image_scores(truth, found) for truth, found in pairs]
    rows = []
    for name in CLASSES:
        iou, contour, given = (np.array(values) for values in zip(*(score[name] for score in scores), strict=True))
        for label, (low, high) in OCCLUSION_BINS.items():
            inside = (occlusion >= low) & (occlusion < high)
            present, absent = inside & ~np.isnan(iou), inside & np.isnan(iou)
            if not present.any():
                continue
            rows.append(
                {
                    "class": name,
                    "bin": label,
                    "n": int(present.sum()),
                    "median_iou": float(np.median(iou[present])),
                    "mean_iou": float(iou[present].mean()),
                    "p10_iou": float(np.percentile(iou[present], 10)),
                    "median_f": float(np.median(contour[present])),
                    "mean_f": float(contour[present].mean()),
                    "valid": float(valid[present].mean()),
                    "false_positive": float(given[absent].mean()) if absent.any() else np.nan,
                }
            )
    return pd.DataFrame(rows)
