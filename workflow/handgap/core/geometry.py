"""Rigid and similarity geometry, projection and crops, on NumPy arrays with a batch axis first."""

import numpy as np

from handgap.core.conventions import Side


def rodrigues(axis_angle: np.ndarray) -> np.ndarray:
    """Axis-angle (..., 3) in radians -> rotation matrices (..., 3, 3)."""
    axis_angle = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)
    axis = axis_angle / np.maximum(angle, 1e-12)
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    sin, cos = np.sin(angle)[..., None], np.cos(angle)[..., None]
    return np.eye(3) + sin * skew + (1.0 - cos) * skew @ skew


def random_rotation(generator: np.random.Generator) -> np.ndarray:
    """Uniform rotation matrix (3, 3) from a normalised Gaussian quaternion (Shoemake 1992)."""
    w, x, y, z = (q := generator.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def mirrored_left(points: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Points (N, P, 3), or (P, 3) for all N, with left hands as right ones, or back: x -> -x where `side` (N,) is left.

    Returns:
        (N, P, 3).
    """
    return np.where((side == Side.LEFT)[:, None, None], points * np.float32([-1, 1, 1]), points)


def project(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Pinhole projection.

    Args:
        points: (..., P, 3) in the OpenCV camera frame, metres.
        K: (..., 3, 3) intrinsics, px.

    Returns:
        (..., P, 2) pixel coordinates; a pixel's centre is at integer + 0.5.
    """
    homogeneous = points @ np.swapaxes(K, -1, -2)
    return homogeneous[..., :2] / homogeneous[..., 2:]


def align_rigid(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares rotation (B, 3, 3) and translation (B, 3) with target ~ R source + t (Kabsch 1976).

    Args:
        source, target: (B, P, 3).
    """
    mean_s, mean_t = source.mean(1, keepdims=True), target.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(np.swapaxes(source - mean_s, 1, 2) @ (target - mean_t))
    flip = np.linalg.det(np.swapaxes(vt, 1, 2) @ np.swapaxes(u, 1, 2))
    vt[:, 2] *= flip[:, None]
    rotation = np.swapaxes(vt, 1, 2) @ np.swapaxes(u, 1, 2)
    return rotation, (mean_t - mean_s @ np.swapaxes(rotation, 1, 2))[:, 0]


def procrustes_align(truth: np.ndarray, pred: np.ndarray, *, reflection: bool = True) -> np.ndarray:
    """Predictions after FreiHAND's per-sample similarity alignment (`align_w_scale` of the official eval.py).

    Centre, divide by the Frobenius norm, orthogonal Procrustes. As published, the determinant is **not**
    corrected: a reflection is allowed.

    Args:
        truth, pred: (B, P, 3), any one unit.
        reflection: False excludes reflections (Umeyama 1991), as others' Procrustes errors do.

    Returns:
        (B, P, 3) float64, in the frame and unit of `truth`.
    """
    truth, pred = np.asarray(truth, np.float64), np.asarray(pred, np.float64)
    mean = truth.mean(1, keepdims=True)
    truth, pred = truth - mean, pred - pred.mean(1, keepdims=True)
    norm = np.linalg.norm(truth, axis=(1, 2), keepdims=True) + 1e-8
    truth = truth / norm
    pred = pred / (np.linalg.norm(pred, axis=(1, 2), keepdims=True) + 1e-8)
    # orthogonal_procrustes(truth, pred): u s vt = svd((pred^T truth)^T), R = u vt, scale = sum(s)
    u, s, vt = np.linalg.svd(np.swapaxes(truth, 1, 2) @ pred)
    if not reflection:
        turned = np.sign(np.linalg.det(u @ vt))
        u[:, :, 2] *= turned[:, None]
        s[:, 2] *= turned
    rotation = u @ vt
    return pred @ np.swapaxes(rotation, 1, 2) * s.sum(1)[:, None, None] * norm + mean


def crop_affine(centre: np.ndarray, side: float, size: int, angle: float = 0.0) -> np.ndarray:
    """Affine (2, 3) from image pixels to a square crop, pixel centres at integer + 0.5.

    Args:
        centre: (2,) px, centre of the crop in the image.
        side: px, edge of the square cut from the image.
        size: px, edge of the crop that comes out.
        angle: radians, turns the content clockwise on screen (x right, y down).
    """
    scale = size / side
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    offset = np.array([size / 2, size / 2]) - linear @ np.asarray(centre, np.float64)
    return np.concatenate([linear, offset[:, None]], 1)


def cv2_affine(affine: np.ndarray) -> np.ndarray:
    """The same affine for `cv2.warpAffine`, whose pixel centres are at integers."""
    shift = affine[:, :2] @ np.array([0.5, 0.5]) + affine[:, 2] - 0.5
    return np.concatenate([affine[:, :2], shift[:, None]], 1)
