"""Hand-pose metrics, float64, all samples at once. Every metric comes per sample: its mean is the published number.

Formulas follow the official evaluation script of FreiHAND (Zimmermann et al., ICCV 2019); lengths are metres.
"""

import numpy as np

GROUP = 4  # samples whose blocks are taken together
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
    thresholds = np.concatenate([[-np.inf], np.linspace(0.0, limit, steps), [np.inf]])
    first = np.minimum(np.ceil(errors * ((steps - 1) / limit)), steps).astype(np.intp)
    # the quotient's rounding may be off by one
    first -= errors <= thresholds[first]
    first += errors > thresholds[first + 1]
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
    # |t - p|^2 = [-2 t, |t|^2, 1] . [p, 1, |p|^2]
    rows, places, order = _sorted_along(truth, axis, (-2.0, 3, 4))
    columns, others, other_order = _sorted_along(pred, axis, (1.0, 4, 3))
    columns = np.ascontiguousarray(np.swapaxes(columns, 1, 2))
    to_pred = np.full(truth.shape[:2], np.inf, np.float32)
    to_truth = np.full(pred.shape[:2], np.inf, np.float32)
    for start in range(0, len(truth), GROUP):
        group = slice(start, start + GROUP)
        _screen(
            rows[group],
            places[group],
            columns[group],
            others[group],
            max(thresholds),
            (to_pred[group], to_truth[group]),
        )
    distances = [np.empty(values.shape) for values in (to_pred, to_truth)]
    for values, screened, ranks in zip(distances, (to_pred, to_truth), (order, other_order), strict=True):
        np.put_along_axis(values, ranks, screened, 1)
    return _decide(distances[0], truth, pred, thresholds), _decide(distances[1], pred, truth, thresholds)


def _sorted_along(
    points: np.ndarray, axis: np.ndarray, factors: tuple[float, int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points sorted along an axis, as factors of a product.

    Args:
        points: (N, P, 3).
        axis: (N, 3, 1) unit vectors.
        factors: what coordinates are multiplied by; where of the last two columns squares and ones go.

    Returns:
        (N, P, 5) float32; (N, P) places on the axis, increasing but for a share of 1 / 65,535 of their range; (N, P)
        order.
    """
    places = (points @ axis)[..., 0]
    low, extent = places.min(1, keepdims=True), np.ptp(places, axis=1)[:, None]
    # 16-bit integers are sorted by radix, five times as fast
    ranks = ((places - low) * (65_535 / (extent + 1e-12))).astype(np.uint16)
    order = np.argsort(ranks, 1, kind="stable")
    flat = (order + len(points[0]) * np.arange(len(points))[:, None]).ravel()
    scale, square, one = factors
    columns = np.empty((*places.shape, 5), np.float32)
    columns[..., :3], columns[..., one] = points, 1.0
    columns[..., square] = np.einsum("npc,npc->np", columns[..., :3], columns[..., :3])
    if scale != 1.0:
        columns[..., :3] *= scale
    return (
        columns.reshape(-1, 5).take(flat, 0).reshape(columns.shape),
        places.ravel().take(flat).reshape(places.shape),
        order,
    )


def _screen(
    rows: np.ndarray,
    places: np.ndarray,
    columns: np.ndarray,
    others: np.ndarray,
    reach: float,
    nearest: tuple[np.ndarray, np.ndarray],
) -> None:
    """Squared nearest distances of a few samples' sorted clouds up to `reach`, with float32's rounding."""
    slack = (np.ptp(places, axis=1).max() + np.ptp(others, axis=1).max()) / 65_535
    for start in range(0, rows.shape[1], BLOCK):
        block = slice(start, min(start + BLOCK, rows.shape[1]))
        low = (others < (places[:, block].min(1) - reach - slack)[:, None]).sum(1).min()
        high = (others <= (places[:, block].max(1) + reach + slack)[:, None]).sum(1).max()
        if low < high:
            squared = rows[:, block] @ columns[:, :, low:high]
            nearest[0][:, block] = squared.min(2)
            np.minimum(nearest[1][:, low:high], squared.min(1), out=nearest[1][:, low:high])


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
