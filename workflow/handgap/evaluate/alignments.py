"""What is taken out of a prediction before its errors are measured: each way with its name in a metrics file."""

from typing import Literal

import numpy as np

from handgap.core.conventions import MIDDLE_MCP, WRIST
from handgap.core.geometry import procrustes_align

Alignment = Literal[
    "none",
    "root",
    "scale and root",
    "scale and wrist",
    "similarity, reflection allowed",
    "similarity, reflection excluded",
]


def align(
    alignment: Alignment, truth: np.ndarray, pred: np.ndarray, root: int = WRIST
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction as they are compared.

    - "none": as they are, in the camera frame.
    - "root": each seen from its own root joint.
    - "scale and root": the prediction times the ratio of the lengths of wrist - middle knuckle, then as "root"
      (SMPJPE of RenderIH).
    - "scale and wrist": the same with the wrist as root (HO3D's `align_sc_tr`: the prediction's wrist is put on the
      true one).
    - "similarity": per-sample Procrustes with scale; FreiHAND's allows reflections, RenderIH's does not.

    Args:
        alignment: one of the above; those with a root or scale are for joints only.
        truth, pred: (N, P, 3), same unit; joints in simple order.
        root: joint of "root" and "scale and root".

    Returns:
        (N, P, 3) truth and prediction, float64.
    """
    truth, pred = np.asarray(truth, np.float64), np.asarray(pred, np.float64)
    match alignment:
        case "none":
            return truth, pred
        case "root":
            return truth - truth[:, root : root + 1], pred - pred[:, root : root + 1]
        case "scale and root":
            return align("root", truth, rescaled(truth, pred), root)
        case "scale and wrist":
            return align("scale and root", truth, pred, WRIST)
        case "similarity, reflection allowed":
            return truth, procrustes_align(truth, pred)
        case "similarity, reflection excluded":
            return truth, procrustes_align(truth, pred, reflection=False)


def rescaled(truth: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Joints (N, 21, 3) times the ratio that makes wrist - middle knuckle as long as in truth.

    A prediction where the two coincide keeps its scale, as in HO3D's script.
    """
    length, wanted = palm_lengths(pred), palm_lengths(truth)
    ratio = np.divide(wanted, length, out=wanted.copy(), where=length > 0)
    return pred * ratio[:, None, None]


def palm_lengths(joints: np.ndarray) -> np.ndarray:
    """Distance (N,) from the wrist to the middle knuckle."""
    return np.linalg.norm(np.asarray(joints[:, MIDDLE_MCP] - joints[:, WRIST], np.float64), axis=1)
