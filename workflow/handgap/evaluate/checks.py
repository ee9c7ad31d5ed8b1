"""What a pair of truth and predictions must not look like: other units, or hands of the other side."""

from pathlib import Path

import numpy as np

from handgap.core.errors import CorruptFileError
from handgap.data.adapters.checks import PALM
from handgap.evaluate.alignments import palm_lengths

UNIT_RATIO = 30.0  # between palms of prediction and truth: no network is that wrong, centimetres for metres are
MIRRORED_SHARE = 0.9  # of samples that a reflection fits better
MIRRORED_GAIN = 1.5  # median residual without a reflection over that with one; of true hands mirrored it is over 2
FEW = 8  # samples that say nothing about reflections


def finite_rows(values: np.ndarray) -> np.ndarray:
    """Which samples (N,) have a value that is not finite."""
    return ~np.isfinite(values).reshape(len(values), -1).all(1)


def check_hands(pred_path: Path, truth_path: Path, truth: np.ndarray, pred: np.ndarray) -> None:
    """See whether joints can be hands in metres, of the same side.

    A predictor whose palms have no length (all zeros, say) is let through: it has no unit.

    Args:
        pred_path, truth_path: for messages.
        truth, pred: (N, 21, 3), simple order, finite.

    Raises:
        CorruptFileError: the truth is not in metres; predictions are in another unit; they are mirrored.
    """
    palm, found = (float(np.median(palm_lengths(joints))) for joints in (truth, pred))
    if not PALM[0] <= palm <= PALM[1]:
        problem = f"the median distance from wrist to middle knuckle is {palm:.3g} m, which no hand's is"
        raise CorruptFileError(truth_path, problem, "give labels in metres, joints in the dataset's own order")
    if found > 0 and not 1 / UNIT_RATIO < found / palm < UNIT_RATIO:
        problem = f"palms are {found / palm:.3g} times as long as the true ones: another unit"
        raise CorruptFileError(pred_path, problem, "write lengths in the unit of the dataset's format")
    share, gain = reflections(truth, pred)
    if len(truth) >= FEW and share > MIRRORED_SHARE and gain > MIRRORED_GAIN:
        problem = (
            f"{100 * share:.0f} % of the predictions fit better as mirror images ({gain:.1f} times as well): left "
            "hands for right ones, or a flipped axis"
        )
        cure = "mirror them back: the official alignment would hide it in every aligned metric"
        raise CorruptFileError(pred_path, problem, cure)


def reflections(truth: np.ndarray, pred: np.ndarray) -> tuple[float, float]:
    """Share of samples that a reflection fits better, and the median of how many times better it fits.

    With both clouds centred and of norm 1, and singular values s of their product, the residual of the best similarity
    is sqrt(1 - (s1 + s2 + s3)^2), and (s1 + s2 - s3) for the other handedness.
    """
    truth, pred = (np.asarray(points, np.float64) for points in (truth, pred))
    truth, pred = truth - truth.mean(1, keepdims=True), pred - pred.mean(1, keepdims=True)
    truth = truth / (np.linalg.norm(truth, axis=(1, 2), keepdims=True) + 1e-8)
    pred = pred / (np.linalg.norm(pred, axis=(1, 2), keepdims=True) + 1e-8)
    u, s, vt = np.linalg.svd(np.swapaxes(truth, 1, 2) @ pred)
    mirrored = np.linalg.det(u @ vt) < 0
    with_it = np.sqrt(np.maximum(1.0 - s.sum(1) ** 2, 1e-12))
    without = np.where(mirrored, s[:, 0] + s[:, 1] - s[:, 2], s.sum(1))
    return float(mirrored.mean()), float(np.median(np.sqrt(np.maximum(1.0 - without**2, 1e-12)) / with_it))
