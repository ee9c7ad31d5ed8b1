"""Metrics of two hands in one picture, as RenderIH's scripts take them (Li et al., ICCV 2023)."""

import numpy as np
from scipy.spatial import KDTree

from handgap.core.conventions import Side
from handgap.core.errors import CorruptFileError
from handgap.evaluate.protocols import Protocol
from handgap.evaluate.scores import Score, evaluate

CONTACT = 0.003  # metres: true vertices closer than this touch


def evaluate_two_hands(
    protocol: Protocol,
    joints: np.ndarray,
    vertices: np.ndarray | None,
    pred_joints: np.ndarray,
    pred_vertices: np.ndarray | None,
) -> dict[str, Score]:
    """The protocol's metrics of each hand, averaged over the picture's two, and how the hands stand to each other.

    MRRPE has two readings. ``mrrpe`` is the definition: length of the error of the vector between the roots.
    ``mrrpe_per_axis`` is what the released script averages: the absolute error of its three coordinates, which is
    smaller.

    Args:
        protocol: one for two hands.
        joints, pred_joints: (N, 2, 21, 3) metres, right hand first, both in one frame.
        vertices, pred_vertices: (N, 2, 778, 3), the same; None leaves out the contact deviation.

    Returns:
        metric -> score, one value a picture; ``cdev`` is nan where the true hands do not touch.
    """
    count = len(joints)
    flat = evaluate(protocol, joints.reshape(-1, 21, 3), None, pred_joints.reshape(-1, 21, 3), None)
    scores = {}
    for name, score in flat.items():
        single = score.joints.reshape(count, 2, 21).mean(1)
        scores[name] = Score(score.values.reshape(count, 2).mean(1), score.unit, single)
    between = [np.asarray(j[:, 1, protocol.root] - j[:, 0, protocol.root], np.float64) for j in (joints, pred_joints)]
    error = 1000.0 * (between[1] - between[0])
    scores["mrrpe"] = Score(np.linalg.norm(error, axis=1), "mm")
    scores["mrrpe_per_axis"] = Score(np.abs(error).mean(1), "mm")
    if vertices is not None and pred_vertices is not None:
        scores["cdev"] = Score(1000.0 * contact_deviation(vertices, pred_vertices), "mm")
    return scores


def in_pairs(image_id: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures that have a right and a left hand.

    Args:
        image_id: (N,) picture of each hand.
        side: (N,) `conventions.Side`.

    Returns:
        (M,) ids of the pictures, increasing; (M, 2) rows of their right and left hands.

    Raises:
        CorruptFileError: none has both; or one has two hands of a side.
    """
    rows = [np.flatnonzero(side == which) for which in (Side.RIGHT, Side.LEFT)]
    for which in rows:
        pictures, counts = np.unique(image_id[which], return_counts=True)
        if (counts > 1).any():
            problem = "several hands of one side in a picture"
            raise CorruptFileError(f"image_id {pictures[counts > 1][0]}", problem, "give each shard once")
    ids, right, left = np.intersect1d(image_id[rows[0]], image_id[rows[1]], return_indices=True)
    if not len(ids):
        raise CorruptFileError("truth", "no picture has both hands", "two hands are judged where both are labelled")
    return ids, np.stack([rows[0][right], rows[1][left]], 1)


def contact_deviation(vertices: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Mean distance, in the prediction, of the vertices that touch in truth.

    Each true vertex of the right hand is paired with the nearest one of the left hand; pairs within 3 mm count.

    Args:
        vertices, pred: (N, 2, 778, 3) metres, right hand first.

    Returns:
        (N,) metres; nan where no pair counts.
    """
    deviation = np.full(len(vertices), np.nan)
    for sample, (right, left) in enumerate(np.asarray(vertices, np.float64)):
        distance, nearest = KDTree(left).query(right, distance_upper_bound=2 * CONTACT)
        touching = distance <= CONTACT
        if touching.any():
            pairs = pred[sample, 1, nearest[touching]] - pred[sample, 0, touching]
            deviation[sample] = np.linalg.norm(np.asarray(pairs, np.float64), axis=1).mean()
    return deviation
