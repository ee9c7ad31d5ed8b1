"""A toy hand model in the annotation hand's file format, stores of drawn hands to learn from, and plain meshes."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import trimesh
from handgap.core.conventions import FINGERS, JOINT_PARENTS, MANO_PARENTS, MANO_TO_SIMPLE, TIP_VERTICES
from handgap.core.geometry import project
from handgap.core.images import encode_rgb
from handgap.core.seeds import rng
from handgap.core.store import write_store
from handgap.hands.annotation_hand import AnnotationHand

N_VERTICES = 778


def partition(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Random weights (rows, columns) whose rows sum to one, a few of them large."""
    values = generator.random((rows, columns)) ** 4
    return values / values.sum(1, keepdims=True)


def _rest_joints() -> np.ndarray:
    """(21, 3) metres, simple order: a flat hand, fingers along x, thumb to the side."""
    joints = np.zeros((21, 3))
    for finger in range(len(FINGERS)):
        base = np.array([0.03, 0.045, 0.0]) if finger == 0 else np.array([0.09, 0.045 - 0.02 * finger, 0.0])
        along = np.array([0.7, 0.7, 0.1]) if finger == 0 else np.array([1.0, 0.08 * (2.5 - finger), 0.0])
        for k in range(4):
            joints[4 * finger + 1 + k] = base + along * 0.028 * k
    return joints


def toy_hand(path: Path) -> AnnotationHand:
    """Write a hand of 778 points around 20 bones and read it as the annotation hand."""
    generator = rng(0, "tests/toy_hand")
    simple = _rest_joints()
    mano = np.empty((21, 3))
    mano[MANO_TO_SIMPLE] = simple
    vertices, weights = np.empty((N_VERTICES, 3)), np.zeros((N_VERTICES, 16))
    children = [j for j in range(21) if JOINT_PARENTS[j] >= 0]
    for index in range(N_VERTICES):
        child = children[index % 20]
        parent = JOINT_PARENTS[child]
        share = generator.uniform()
        vertices[index] = (1 - share) * simple[parent] + share * simple[child] + generator.normal(0, 0.004, 3)
        weights[index, MANO_TO_SIMPLE[parent]] = 1.0
    tips = np.array(TIP_VERTICES["freihand"])
    for finger, tip in enumerate(tips):
        vertices[tip] = simple[4 * finger + 4]
        weights[tip] = np.eye(16)[MANO_TO_SIMPLE[4 * finger + 3]]
    regressor = np.zeros((16, N_VERTICES))
    for joint in range(16):
        near = np.argsort(np.linalg.norm(vertices - mano[joint], axis=1))[:8]
        regressor[joint, near] = 1 / 8
    components = np.linalg.qr(generator.normal(size=(45, 45)))[0]
    np.savez(
        path,
        v_template=vertices,
        faces=generator.integers(0, N_VERTICES, (1538, 3)),
        shapedirs=generator.normal(0, 0.001, (N_VERTICES, 3, 10)),
        posedirs=np.zeros((N_VERTICES, 3, 135)),
        J_regressor=regressor,
        weights=weights,
        parents=MANO_PARENTS,
        hands_mean=np.zeros(45),
        hands_components=components,
        pose_std=np.full(45, 0.3),
        tip_vertices=tips,
        licence="test",
        source="test",
    )
    return AnnotationHand.load(path)


def draw_hand(joints: np.ndarray, K: np.ndarray, size: int) -> np.ndarray:
    """Joints (21, 3) -> picture (size, size, 3) uint8: bones as lines, far ones darker, a colour for each finger."""
    colours = np.array([[230, 60, 60], [60, 230, 60], [60, 60, 230], [230, 230, 60], [60, 230, 230]])
    image = np.full((size, size, 3), 40, np.uint8)
    uv = project(joints, K)
    for child in sorted(range(1, 21), key=lambda j: -joints[j, 2]):
        shade = np.clip(1.0 - 4.0 * (joints[child, 2] - joints[9, 2]), 0.3, 1.0)
        ends = [tuple(int(v) for v in uv[j]) for j in (JOINT_PARENTS[child], child)]
        cv2.line(image, *ends, tuple(float(c * shade) for c in colours[(child - 1) // 4]), max(3, size // 30))
    return image


def toy_columns(hand: AnnotationHand, ids: range, size: int = 160, spread: float = 0.8) -> dict[str, object]:
    """Columns of drawn hands in random poses, turned about x to face the camera, within `spread` radians."""
    poses, roots = np.zeros((len(ids), 48), np.float32), np.zeros((len(ids), 3), np.float32)
    shapes = np.zeros((len(ids), 10), np.float32)
    for row, sample in enumerate(ids):
        generator = rng(0, "tests/toy_pose", sample)
        poses[row, :3] = np.array([np.pi, 0, 0]) + generator.uniform(-spread, spread, 3)
        poses[row, 3:] = hand.pose_from_components(torch.from_numpy(generator.normal(0, 0.8, (1, 30))).float())[0]
        roots[row] = [*generator.uniform(-0.03, 0.03, 2), generator.uniform(0.6, 0.8)]
    posed = hand(*map(torch.from_numpy, (poses, shapes, roots)))
    focal = 2.2 * size
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], np.float32)
    joints = posed.joints.numpy()
    joints, vertices = joints - [0.09, 0, 0], posed.vertices.numpy() - [0.09, 0, 0]
    return {
        "id": np.array(ids, np.int64),
        "image": [encode_rgb(draw_hand(hand_joints, K, size)) for hand_joints in joints],
        "K": np.repeat(K[None], len(ids), 0),
        "joints": joints.astype(np.float32),
        "vertices": vertices.astype(np.float32),
        "side": np.zeros(len(ids), np.uint8),
        "valid": np.ones(len(ids), bool),
    }


def toy_store(path: Path, hand: AnnotationHand, ids: range, **options: float) -> Path:
    """One shard of drawn hands."""
    write_store(path, toy_columns(hand, ids, **options), study="test", seed=0, code="-", config="-")
    return path


def sheet(n: int, height: Callable = lambda x, y: 0 * x) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of a square grid over [0, 1]^2, faces up; vertex (row, column) has id row * n + column."""
    rows, columns = np.divmod(np.arange(n * n), n)
    x, y = columns / (n - 1), rows / (n - 1)
    grid = np.arange(n * n).reshape(n, n)
    a, b, c, d = (part.ravel() for part in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    return np.stack([x, y, height(x, y)], 1), np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def ball(subdivisions: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of a sphere of radius 1: 12, 42, 162, 642 vertices."""
    mesh = trimesh.creation.icosphere(subdivisions)
    return np.array(mesh.vertices), np.array(mesh.faces)
