"""Synthetic hands that are judged, and plain per-sample transcriptions of the published protocols to judge them by."""

import json
from pathlib import Path

import numpy as np
from handgap.core.conventions import FINGERS, JOINT_PARENTS, MANO_TO_SIMPLE
from scipy.integrate import trapezoid
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import KDTree
from toys import _rest_joints

OPENGL = np.array([1.0, -1.0, -1.0])
SIMPLE_TO_MANO = [int(np.flatnonzero(k == MANO_TO_SIMPLE)[0]) for k in range(21)]


def true_hands(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, 21, 3) and vertices (N, 778, 3) of bent hands in front of an OpenCV camera, metres."""
    generator = np.random.default_rng(seed)
    rest = _rest_joints()
    joints = np.empty((count, 21, 3))
    for hand in joints:
        hand[:] = rest
        for finger in range(len(FINGERS)):
            for k in range(2, 5):
                hand[4 * finger + k, 2] += 0.008 * k * k * generator.uniform(0.2, 1) / 4
    share, jitter = generator.uniform(size=(778, 1)), generator.normal(0, 0.004, (778, 3))
    child = 1 + np.arange(778) % 20
    vertices = (1 - share) * joints[:, JOINT_PARENTS[child]] + share * joints[:, child] + jitter
    turn = np.linalg.qr(generator.normal(size=(count, 3, 3)))[0]
    turn *= np.linalg.det(turn)[:, None, None]
    size, place = generator.uniform(0.85, 1.15, (count, 1, 1)), generator.normal((0, 0, 0.7), 0.05, (count, 1, 3))
    return joints @ turn * size + place, vertices @ turn * size + place


def predicted(points: tuple[np.ndarray, ...], noise: float = 0.004, seed: int = 1) -> tuple[np.ndarray, ...]:
    """The same points moved, turned, scaled a little, and with noise."""
    generator = np.random.default_rng(seed)
    count = len(points[0])
    scale, shift = generator.uniform(0.9, 1.1, (count, 1, 1)), generator.normal(0, 0.006, (count, 1, 3))
    centre = points[0].mean(1, keepdims=True)
    moved = []
    for part in points:
        drift = generator.normal(0, noise, (count, 1, 3)) * np.linspace(-1, 1, part.shape[1])[:, None]
        moved.append((part - centre) * scale + centre + shift + drift + generator.normal(0, noise, part.shape))
    return tuple(moved)


def align(truth, pred, reflection=True):
    truth_mean, pred_mean = truth.mean(0), pred.mean(0)
    truth_norm, pred_norm = np.linalg.norm(truth - truth_mean) + 1e-8, np.linalg.norm(pred - pred_mean) + 1e-8
    a, b = (truth - truth_mean) / truth_norm, (pred - pred_mean) / pred_norm
    if reflection:
        rotation, scale = orthogonal_procrustes(a, b)
    else:
        u, s, vt = np.linalg.svd(a.T @ b)
        sign = np.diag([1, 1, np.linalg.det(u) * np.linalg.det(vt)])
        rotation, scale = u @ sign @ vt, np.trace(np.diag(s) @ sign)
    return b @ rotation.T * scale * truth_norm + truth_mean


def scale_and_wrist(truth, pred):
    length = np.sqrt(((pred[9] - pred[0]) ** 2).sum())
    pred = (pred / length if length > 0 else pred) * np.sqrt(((truth[9] - truth[0]) ** 2).sum())
    return pred - pred[0] + truth[0]


def area(errors):
    """(N, P) metres: mean over points of the area under each one's curve."""
    thresholds = np.linspace(0.0, 0.05, 100)
    curves = np.array([(errors <= threshold).mean(0) for threshold in thresholds])
    return np.mean(trapezoid(curves, thresholds, axis=0) / trapezoid(np.ones(100), thresholds))


def f_score(truth, pred, threshold):
    near_pred, near_truth = KDTree(pred).query(truth)[0], KDTree(truth).query(pred)[0]
    recall, precision = np.mean(near_pred < threshold), np.mean(near_truth < threshold)
    return 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0


def challenge(joints, vertices, pred_joints, pred_vertices, *, ho3d):
    """FreiHAND's and HO3D's eval.py, one sample after the other."""
    errors = {name: [] for name in ("pa", "pav", "st", "rr", "abs", "absv")}
    f = {name: [] for name in ("abs_f5", "abs_f15", "pa_f5", "pa_f15")}
    for j, v, pj, pv in zip(joints, vertices, pred_joints, pred_vertices, strict=True):
        aligned = align(v, pv)
        errors["pa"].append(np.linalg.norm(j - align(j, pj), axis=1))
        errors["pav"].append(np.linalg.norm(v - aligned, axis=1))
        errors["st"].append(np.linalg.norm(j - scale_and_wrist(j, pj), axis=1))
        errors["rr"].append(np.linalg.norm((j - j[9]) - (pj - pj[9]), axis=1))
        errors["abs"].append(np.linalg.norm(j - pj, axis=1))
        errors["absv"].append(np.linalg.norm(v - pv, axis=1))
        for threshold in (0.005, 0.015):
            f[f"abs_f{threshold * 1000:g}"].append(f_score(v, pv, threshold))
            f[f"pa_f{threshold * 1000:g}"].append(f_score(v, aligned, threshold))
    errors = {name: np.array(values) for name, values in errors.items()}
    names = {"pa": ("pa_mpjpe", "pa_auc_joints"), "pav": ("pa_mpvpe", "pa_auc_vertices")}
    names |= {"abs": ("abs_mpjpe", "abs_auc_joints"), "absv": ("abs_mpvpe", "abs_auc_vertices")}
    names |= {"st": ("st_mpjpe", "st_auc_joints")} if ho3d else {"rr": ("mpjpe", "")}
    result = {name: np.mean(values) for name, values in f.items()}
    for key, (error, auc) in names.items():
        result[error] = 1000 * errors[key].mean(0).mean()
        if auc:
            result[auc] = area(errors[key])
    return result


def dexycb(joints, pred_joints):
    """hpe_eval.py, one sample after the other."""
    errors = {"abs_mpjpe": [], "mpjpe": [], "pa_mpjpe": []}
    for j, p in zip(joints, pred_joints, strict=True):
        errors["abs_mpjpe"].append(np.linalg.norm(j - p, axis=1))
        errors["mpjpe"].append(np.linalg.norm((j - j[0]) - (p - p[0]), axis=1))
        errors["pa_mpjpe"].append(np.linalg.norm(j - align(j, p), axis=1))
    areas = {name.replace("mpjpe", "auc_joints"): area(np.array(values)) for name, values in errors.items()}
    return {name: 1000 * np.mean(values) for name, values in errors.items()} | areas


def renderih(joints, vertices, pred_joints, pred_vertices, root):
    """RenderIH's scripts, one picture after the other; hands (N, 2, ...), right first."""
    total = {name: [] for name in ("mpjpe", "smpjpe", "pa_mpjpe", "mrrpe", "mrrpe_per_axis", "cdev")}
    for j, v, pj, pv in zip(joints, vertices, pred_joints, pred_vertices, strict=True):
        per_hand = []
        for t, p in zip(j, pj, strict=True):
            ratio = np.linalg.norm(t[9] - t[0]) / np.linalg.norm(p[9] - p[0])
            plain = np.linalg.norm((t - t[root]) - (p - p[root]), axis=1).mean()
            scaled = np.linalg.norm((t - t[root]) - ratio * (p - p[root]), axis=1).mean()
            per_hand.append((plain, scaled, np.linalg.norm(t - align(t, p, reflection=False), axis=1).mean()))
        for name, value in zip(("mpjpe", "smpjpe", "pa_mpjpe"), np.mean(per_hand, 0), strict=True):
            total[name].append(value)
        between = (pj[1, root] - pj[0, root]) - (j[1, root] - j[0, root])
        total["mrrpe"].append(np.sqrt((between**2).sum()))
        total["mrrpe_per_axis"].append(np.abs(between).mean())
        pairs = []
        for number, point in enumerate(v[0]):
            distance = np.linalg.norm(v[1] - point, axis=1)
            if distance.min() <= 0.003:
                pairs.append(np.linalg.norm(pv[1, distance.argmin()] - pv[0, number]))
        total["cdev"].append(np.mean(pairs) if pairs else np.nan)
    return {name: 1000 * np.nanmean(values) for name, values in total.items()}


def to_ho3d(joints, vertices):
    """Joints in MANO's order, both in an OpenGL camera."""
    return joints[:, SIMPLE_TO_MANO] * OPENGL, vertices * OPENGL


def write_truth(folder: Path, joints: np.ndarray, vertices: np.ndarray) -> Path:
    """`evaluation_xyz.json` and `evaluation_verts.json`."""
    folder.mkdir(exist_ok=True)
    (folder / "evaluation_xyz.json").write_text(json.dumps(joints.tolist()))
    (folder / "evaluation_verts.json").write_text(json.dumps(vertices.tolist()))
    return folder
