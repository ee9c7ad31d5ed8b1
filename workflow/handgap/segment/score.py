"""Segmentation against exact masks: IoU per class and occlusion."""

from collections.abc import Iterable, Sequence

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


def intersection_over_union(truth: np.ndarray, found: np.ndarray, classes: Sequence[int]) -> float:
    """IoU of (H, W) labels over the union of some classes; nan where the truth has none of them."""
    expected, answered = np.isin(truth, classes), np.isin(found, classes)
    return float((expected & answered).sum() / (expected | answered).sum()) if expected.any() else np.nan


def quality_table(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], occlusion: np.ndarray, valid: np.ndarray
) -> pd.DataFrame:
    """Tidy table of IoUs.

    Args:
        pairs: truth and found labels (H, W) of N images.
        occlusion: (N,) share of the hand's pixels that objects hide.
        valid: (N,) whether the segmentation takes responsibility for the image; IoUs count all images all the same.

    Returns:
        Columns class, bin (of occlusion), n (images whose truth has the class), median_iou, mean_iou, p10_iou,
        valid (share of these images), false_positive (share of the bin's images without the class that were given it).
    """
    pairs = list(pairs)
    rows = []
    for name, classes in CLASSES.items():
        iou = np.array([intersection_over_union(truth, found, classes) for truth, found in pairs])
        given = np.array([np.isin(found, classes).any() for _, found in pairs])
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
                    "valid": float(valid[present].mean()),
                    "false_positive": float(given[absent].mean()) if absent.any() else np.nan,
                }
            )
    return pd.DataFrame(rows)
