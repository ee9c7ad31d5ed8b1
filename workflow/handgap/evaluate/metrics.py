"""Hand-pose metrics, float64, all samples at once. Every metric comes per sample: its mean is the published number.

Formulas follow the official evaluation script of FreiHAND (Zimmermann et al., ICCV 2019); lengths are metres.
"""

import numpy as np

BLOCK = 96  # rows of a block of distances: 96 x a few hundred float32 stay in the cache
SCREENING = 5e-8  # m^2, above the rounding of float32 squared distances between points within 0.2 m


def keypoint_errors(truth: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Euclidean error of each point: (N, P, 3), (N, P, 3) -> (N, P) float64."""
    return np.linalg.norm(np.asarray(truth, np.float64) - np.asarray(pred, np.float64), axis=-1)


def root_relative(points: np.ndarray, root: int) -> np.ndarray:
    """Points (N, P, 3) seen from their own root point, float64."""
    points = np.asarray(points, np.float64)
    return points - points[:, root : root + 1]


def pck(errors: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of each sample's points with error <= threshold: (N, P), (T,) -> (N, T)."""
    return np.stack([(errors <= threshold).mean(1) for threshold in thresholds], 1)


def auc(errors: np.ndarray, limit: float, steps: int) -> np.ndarray:
    """Area under the PCK curve over `steps` even thresholds from 0 to `limit`, divided by `limit`.

    The trapezoidal rule on one point's 0/1 curve depends only on the first threshold it passes, so the area of every
    point is known without drawing the curve; the mean over points and samples is the official mean of areas.

    Args:
        errors: (N, P).
        limit: largest threshold, unit of `errors`.
        steps: number of thresholds.

    Returns:
        (N,) areas in 0..1.
    """
    first = np.searchsorted(np.linspace(0.0, limit, steps), errors, side="left")
    area = steps - first - 0.5 * (first == 0) - 0.5 * (first < steps)
    return (area / (steps - 1)).mean(1)


def nearest_distances(
    truth: np.ndarray, pred: np.ndarray, thresholds: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each point to the nearest one of the other cloud, on the right side of every threshold.

    Two points further apart than the largest threshold along any one direction need no distance. So both clouds are
    sorted along the longest direction of the truth, and a block of neighbours meets only the slice of the other cloud
    in its reach. Distances are screened in float32; those close to a threshold are computed again in float64.

    Args:
        truth: (N, P, 3) metres, within 0.2 m of their mean.
        pred: (N, Q, 3).
        thresholds: metres; a distance beyond the largest is only known to be larger (it may come as inf).

    Returns:
        (N, P) truth -> pred, (N, Q) pred -> truth.
    """
    centre = truth.mean(1, keepdims=True)
    truth, pred = np.asarray(truth - centre, np.float64), np.asarray(pred - centre, np.float64)
    axis = np.linalg.eigh(np.swapaxes(truth, 1, 2) @ truth)[1][:, :, -1:]
    to_pred = np.empty(truth.shape[:2])
    to_truth = np.empty(pred.shape[:2])
    for sample, (t, p, a) in enumerate(zip(truth, pred, axis, strict=True)):
        to_pred[sample], to_truth[sample] = _screen(t, p, a[:, 0], max(thresholds))
    return _decide(to_pred, truth, pred, thresholds), _decide(to_truth, pred, truth, thresholds)


def _screen(truth: np.ndarray, pred: np.ndarray, axis: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Squared nearest distances of one sample's clouds up to `reach`, with float32's rounding."""
    along_truth, along_pred = truth @ axis, pred @ axis
    order_truth, order_pred = np.argsort(along_truth), np.argsort(along_pred)
    along_truth, along_pred = along_truth[order_truth], along_pred[order_pred]
    # |t - p|^2 = [-2 t, |t|^2, 1] . [p, 1, |p|^2]
    left = np.ones((len(truth), 5), np.float32)
    left[:, :3], left[:, 3] = -2.0 * truth[order_truth], (truth * truth).sum(1)[order_truth]
    right = np.ones((5, len(pred)), np.float32)
    right[:3], right[4] = pred[order_pred].T, (pred * pred).sum(1)[order_pred]
    squared_truth, squared_pred = np.full(len(truth), np.inf, np.float32), np.full(len(pred), np.inf, np.float32)
    starts = np.arange(0, len(truth), BLOCK)
    ends = np.minimum(starts + BLOCK, len(truth))
    lows = np.searchsorted(along_pred, along_truth[starts] - reach)
    highs = np.searchsorted(along_pred, along_truth[ends - 1] + reach, side="right")
    for start, end, low, high in zip(starts.tolist(), ends.tolist(), lows.tolist(), highs.tolist(), strict=True):
        if low < high:
            squared = left[start:end] @ right[:, low:high]
            squared_truth[start:end] = squared.min(1)
            np.minimum(squared_pred[low:high], squared.min(0), out=squared_pred[low:high])
    to_pred, to_truth = np.empty_like(squared_truth), np.empty_like(squared_pred)
    to_pred[order_truth], to_truth[order_pred] = squared_truth, squared_pred
    return to_pred, to_truth


def _decide(squared: np.ndarray, points: np.ndarray, others: np.ndarray, thresholds: tuple[float, ...]) -> np.ndarray:
    """Distances (N, P) of screened squared ones, computed again where the screening cannot tell the side."""
    doubtful = np.zeros(squared.shape, bool)
    for threshold in thresholds:
        doubtful |= np.abs(squared - threshold**2) < SCREENING
    samples, rows = np.nonzero(doubtful)
    offsets = points[samples, rows][:, None] - others[samples]
    squared[samples, rows] = np.einsum("pqc,pqc->pq", offsets, offsets).min(1)
    # rounding may leave a distance of zero slightly negative
    return np.sqrt(np.maximum(squared, 0.0))


def f_scores(to_pred: np.ndarray, to_truth: np.ndarray, threshold: float) -> np.ndarray:
    """F-score of each sample: harmonic mean of the shares of points closer than `threshold` (strictly).

    Args:
        to_pred: (N, P) distance of each true point to the prediction.
        to_truth: (N, Q) distance of each predicted point to the truth.
        threshold: same unit.

    Returns:
        (N,) in 0..1; 0 where no point is close.
    """
    recall, precision = (to_pred < threshold).mean(1), (to_truth < threshold).mean(1)
    total = recall + precision
    return np.divide(2.0 * recall * precision, total, out=np.zeros_like(total), where=total > 0)
