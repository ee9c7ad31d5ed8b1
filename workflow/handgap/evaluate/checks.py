"""What a pair of truth and predictions must not look like: other units, the other side, another order of joints."""

from pathlib import Path

import numpy as np

from handgap.core.conventions import MANO_TO_SIMPLE
from handgap.core.errors import CorruptFileError
from handgap.data.adapters.checks import PALM
from handgap.evaluate.alignments import palm_lengths

UNIT_RATIO = 30.0  # between palms of prediction and truth: no network is that wrong, centimetres for metres are
MOST = 0.9  # of samples that fit better another way
GAIN = 1.5  # median ratio of residuals; of true hands mirrored it is over 2, of poor predictions close to 1
FEW = 8  # samples that say nothing
OTHER_ORDERS = {
    "MANO's order": MANO_TO_SIMPLE,
    "fingers from tip to base": np.array([0, *(4 * finger + 5 - k for finger in range(5) for k in range(1, 5))]),
    "the thumb behind the other fingers": np.array([0, *range(17, 21), *range(1, 17)]),
}


def finite_rows(values: np.ndarray) -> np.ndarray:
    """Which samples (N,) have a value that is not finite."""
    return ~np.isfinite(values).reshape(len(values), -1).all(1)


def check_hands(pred_path: Path, truth_path: Path, truth: np.ndarray, pred: np.ndarray) -> None:
    """See whether joints can be hands in metres, of the same side, in the same order.

    A predictor whose palms have no length (all zeros, say) is let through: it has no unit.

    Args:
        pred_path, truth_path: for messages.
        truth, pred: (N, 21, 3), simple order, finite.

    Raises:
        CorruptFileError: the truth is not in metres; predictions are in another unit, mirrored, or in another order.
    """
    palm, found = (float(np.median(palm_lengths(joints))) for joints in (truth, pred))
    if not PALM[0] <= palm <= PALM[1]:
        problem = f"the median distance from wrist to middle knuckle is {palm:.3g} m, which no hand's is"
        raise CorruptFileError(truth_path, problem, "give labels in metres, joints in the dataset's own order")
    if found > 0 and not 1 / UNIT_RATIO < found / palm < UNIT_RATIO:
        problem = f"palms are {found / palm:.3g} times as long as the true ones: another unit"
        raise CorruptFileError(pred_path, problem, "write lengths in the unit of the dataset's format")
    if len(truth) < FEW:
        return
    turned, mirrored = residuals(truth, pred)
    if _better(mirrored, turned):
        problem = "most predictions fit better as mirror images: left hands for right ones, or a flipped axis"
        cure = "mirror them back: the official alignment would hide it in every aligned metric"
        raise CorruptFileError(pred_path, problem, cure)
    for name, order in OTHER_ORDERS.items():
        if _better(np.minimum(*residuals(truth, pred[:, order])), np.minimum(turned, mirrored)):
            problem = f"most predictions fit better with their joints taken for {name}"
            raise CorruptFileError(pred_path, problem, "write joints in the order of the dataset's format")


def _better(other: np.ndarray, given: np.ndarray) -> bool:
    """Whether samples fit better another way: nearly all, and by far."""
    return bool((other < given).mean() > MOST and np.median(given / other) > GAIN)


def residuals(truth: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the best similarity leaves of each prediction (N,): turned only, and mirrored and turned.

    With both clouds centred and of norm 1, and singular values s1 >= s2 >= s3 of their product, it is
    sqrt(1 - (s1 + s2 + s3)^2) for one handedness, and (s1 + s2 - s3) in it for the other.
    """
    truth, pred = (np.asarray(points, np.float64) for points in (truth, pred))
    truth, pred = truth - truth.mean(1, keepdims=True), pred - pred.mean(1, keepdims=True)
    truth = truth / (np.linalg.norm(truth, axis=(1, 2), keepdims=True) + 1e-8)
    pred = pred / (np.linalg.norm(pred, axis=(1, 2), keepdims=True) + 1e-8)
    u, s, vt = np.linalg.svd(np.swapaxes(truth, 1, 2) @ pred)
    sign = np.sign(np.linalg.det(u @ vt))
    turned, mirrored = s[:, 0] + s[:, 1] + sign * s[:, 2], s[:, 0] + s[:, 1] - sign * s[:, 2]
    return tuple(np.sqrt(np.maximum(1.0 - overlap**2, 1e-12)) for overlap in (turned, mirrored))
