"""Where a hand is before the camera: from its joints relative to one of them, and from where they are seen."""

import numpy as np

from handgap.core.geometry import project

NEAREST = 0.05  # metres; no joint comes nearer to the camera
ROUNDS, TOLERANCE = 100, 1e-9  # steps at most; share of the depth below which one is the last
FACTOR = (
    1.25  # by which the depth may differ from the one that the size in the image tells; true hands: 1.04 beyond 0.3 m
)
SMALLEST = 0.01  # deviation of the seen joints from their mean, share of the crop's edge; a hand is never smaller in it
OUTLIER = 0.02  # share of the crop's edge from which a joint's distance counts linearly


def place(joints: np.ndarray, uv: np.ndarray, K: np.ndarray, edge: float) -> np.ndarray:
    """Translation (3,) metres with which joints project best onto where they are seen.

    Least squares of the distances in the image, linear beyond a few pixels (Huber; by reweighted Gauss-Newton steps),
    so that a joint seen in a wrong place moves the hand little; CMR leaves such joints out instead (Chen et al., CVPR
    2021, adaptive 2D-1D registration, there with the silhouette too). It starts from scaled orthography, whose depth is
    the ratio of spreads, and stays near it: the less joints are seen as they are, the smaller, so the farther away,
    would they fit best.

    Args:
        joints: (P, 3) metres, relative to one of them, camera axes.
        uv: (P, 2) px, where they are seen.
        K: (3, 3) px.
        edge: of the crop, px.
    """
    focal, centre = np.diag(K)[:2], K[:2, 2]
    seen, flat = (uv - centre) / focal, joints[:, :2]
    spread = max(np.linalg.norm(seen - seen.mean(0)), SMALLEST * edge / focal.mean() * np.sqrt(len(joints)))
    nearest = NEAREST - joints[:, 2].min()
    depth = max(np.linalg.norm(flat - flat.mean(0)) / spread - joints[:, 2].mean(), nearest)
    lowest, highest = max(depth / FACTOR, nearest), depth * FACTOR
    translation = np.array([*(seen.mean(0) * (depth + joints[:, 2].mean()) - flat.mean(0)), depth])
    for _ in range(ROUNDS):
        x, y, z = (joints + translation).T
        jacobian = np.zeros((len(joints), 2, 3))
        jacobian[:, 0, 0], jacobian[:, 1, 1] = focal[0] / z, focal[1] / z
        jacobian[:, 0, 2], jacobian[:, 1, 2] = -focal[0] * x / z**2, -focal[1] * y / z**2
        away = uv - project(joints + translation, K)
        weight = OUTLIER * edge / np.maximum(np.linalg.norm(away, axis=1), OUTLIER * edge)
        weighted = jacobian * weight[:, None, None]
        curvature = np.einsum("pki,pkj->ij", weighted, jacobian)
        slope = np.einsum("pki,pk->i", weighted, away)
        step = np.linalg.solve(curvature, slope)
        within = np.clip(translation[2] + step[2], lowest, highest) - translation[2]
        if within != step[2]:  # the best step with this depth
            step = np.array([*np.linalg.solve(curvature[:2, :2], slope[:2] - curvature[:2, 2] * within), within])
        translation = translation + step
        if np.abs(step).max() < TOLERANCE * depth:
            break
    return translation
