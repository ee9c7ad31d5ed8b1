"""Which joints a test image hides: behind an object, behind the hand itself, or out of the picture.

A joint is seen when the first surface on its pixel is its own flesh, by the measure of `render.labels`: that surface is
not further in front of the joint than its distance to the skin allows.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from handgap.core.conventions import FINGERTIPS, MaskLabel
from handgap.core.geometry import project
from handgap.core.images import decode_depth, decode_mask
from handgap.core.store import ShardedStore
from handgap.evaluate.scores import Score
from handgap.render.labels import FLESH_FACTOR, FLESH_SLACK

OCCLUDERS = (MaskLabel.OBJECT, MaskLabel.SECOND_HAND)


def hidden_joints(store: ShardedStore) -> tuple[np.ndarray | None, str]:
    """Hidden joints of all samples, from the best that their labels have.

    Args:
        store: labelled images. In this order: ``visibility``; ``K`` with ``mask`` and ``depth``; with ``mask`` alone,
            which does not tell what the hand itself hides; with ``depth`` alone.

    Returns:
        (N, 21) bool, or None where there is nothing to tell it by; what it was told by.

    Raises:
        CorruptFileError: a mask or depth map cannot be decoded.
    """
    names = set.intersection(*(set(shard.names) for shard in store.shards))
    if "visibility" in names:
        return ~store.column("visibility").astype(bool), "visibility"
    maps = [name for name in ("mask", "depth") if name in names]
    if not maps or "K" not in names:
        return None, "nothing"
    columns = [store.column(name) for name in ("joints", "vertices", "K")]
    hidden = np.empty((len(store), len(columns[0][0])), bool)
    for row, (joints, vertices, K) in enumerate(zip(*columns, strict=True)):
        mask = decode_mask(store.row("mask", row), store.origin(row)) if "mask" in maps else None
        depth = decode_depth(store.row("depth", row), store.origin(row)) if "depth" in maps else None
        hidden[row] = hidden_in_image(joints, vertices, K, mask, depth)
    return hidden, " and ".join(maps)


def occlusion_levels(share: np.ndarray, edges: Sequence[float]) -> dict[tuple[float, float], np.ndarray]:
    """Samples by their share of hidden joints.

    Args:
        share: (N,) in 0..1.
        edges: increasing, between the levels.

    Returns:
        (low, high) of each level -> (N,) bool; a sample on an edge is in the level above.
    """
    level = np.digitize(share, edges)
    return {span: level == k for k, span in enumerate(pairwise([0.0, *edges, 1.0]))}


def scores_by_occlusion(scores: Mapping[str, Score], hidden: np.ndarray, edges: Sequence[float]) -> dict[str, Score]:
    """Every metric by level of occlusion, and mean joint errors over visible and over hidden joints.

    Args:
        scores: metric -> score of N samples.
        hidden: (N, 21) bool.
        edges: between levels, shares of hidden joints.

    Returns:
        "<metric> hidden <low>-<high>", "<metric> of visible joints" and "<metric> of hidden joints" -> score; nan where
        a sample is in another level, or has no such joint.
    """
    parts = {}
    levels = occlusion_levels(hidden.mean(1), edges)
    for name, score in scores.items():
        for (low, high), group in levels.items():
            parts[f"{name} hidden {low:g}-{high:g}"] = Score(np.where(group, score.values, np.nan), score.unit)
        if score.joints is not None:
            for what, chosen in (("visible", ~hidden), ("hidden", hidden)):
                total = np.where(chosen, score.joints, 0.0).sum(1)
                mean = np.divide(total, chosen.sum(1), out=np.full(len(hidden), np.nan), where=chosen.any(1))
                parts[f"{name} of {what} joints"] = Score(mean, score.unit)
    return parts


def hidden_in_image(
    joints: np.ndarray, vertices: np.ndarray, K: np.ndarray, mask: np.ndarray | None, depth: np.ndarray | None
) -> np.ndarray:
    """Hidden joints of one image; those that do not lie in it are.

    Args:
        joints: (21, 3) metres, OpenCV camera frame, simple order.
        vertices: (778, 3) metres, of the same hand.
        K: (3, 3) px, pixel centres at integer + 0.5.
        mask: (H, W) `MaskLabel`, or None.
        depth: (H, W) metres, 0 = none; or None.

    Returns:
        (21,) bool.
    """
    height, width = (depth if mask is None else mask).shape
    in_front_of_camera = joints[:, 2] > 0
    flat = np.where(in_front_of_camera[:, None], joints, [0.0, 0.0, 1.0])
    pixel = np.floor(project(flat, np.asarray(K, np.float64))).astype(int)
    inside = in_front_of_camera & ((pixel >= 0) & (pixel < [width, height])).all(1)
    column, row = np.where(inside[:, None], pixel, 0).T
    hidden = ~inside
    in_front = np.full(len(joints), np.inf)  # metres from the surface seen on the joint's pixel to the joint
    if depth is not None:
        surface = depth[row, column]
        in_front = joints[:, 2] - np.where(surface > 0, surface, np.inf)
        hidden |= in_front > FLESH_FACTOR * _flesh(joints, vertices) + FLESH_SLACK
    if mask is not None:
        # an object seen behind a joint on the silhouette does not hide it
        hidden |= np.isin(mask[row, column], OCCLUDERS) & (in_front >= 0)
    return hidden


def _flesh(joints: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Distance (21,) of each joint to the skin; of fingertips, which lie on it, their finger's whole thickness."""
    distance = np.linalg.norm(joints[:, None] - vertices, axis=-1).min(1)
    distance[list(FINGERTIPS)] = 2.0 * distance[[tip - 1 for tip in FINGERTIPS]]
    return distance
