"""The hand models on one page: poses down, shapes across."""

from pathlib import Path

import cv2
import numpy as np
import torch

from handgap.core.seeds import rng
from handgap.hands.prior import PosePrior
from handgap.hands.render_hand import RenderHand
from handgap.report.draw import SHIFT
from handgap.report.sheets import Tile

SKIN = np.array([224.0, 172.0, 140.0])
LIGHT = np.array([-0.4, 0.5, 0.77])
AMBIENT = 0.35
SUPERSAMPLING = 3


def shade(vertices: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """Orthographic picture of a mesh (V, 3) under one lamp, (size, size, 3) uint8 on white.

    x right, y up, seen from +z; the vertices that `faces` uses fill the frame. Faces are painted from back to front: a
    hand's small, evenly sized triangles leave no order in doubt that could be seen.
    """
    edge = size * SUPERSAMPLING
    drawn = vertices[np.unique(faces)]
    centre = (drawn.max(0) + drawn.min(0)) / 2
    points = (vertices - centre) * [1.0, -1.0, 1.0] * (0.92 * edge / np.ptp(drawn[:, :2], axis=0).max())
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    brightness = AMBIENT + (1.0 - AMBIENT) * np.maximum(normals @ (LIGHT / np.linalg.norm(LIGHT)), 0.0)
    triangles = np.rint((points[faces][..., :2] + edge / 2) * (1 << SHIFT)).astype(np.int32)
    front = np.flatnonzero(normals[:, 2] > 0)
    canvas = np.full((edge, edge, 3), 255, np.uint8)
    for face in front[np.argsort(corners[front, :, 2].mean(1))]:
        cv2.fillConvexPoly(canvas, triangles[face], (SKIN * brightness[face]).tolist(), cv2.LINE_8, SHIFT)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def hand_tiles(render_hand: Path, poses: int, shapes: int, seed: int, size: int = 224) -> list[Tile]:
    """Sampled poses (rows) by the shape space's first components at -2 and +2 standard deviations (columns)."""
    layer, prior = RenderHand.load(render_hand), PosePrior.load(render_hand)
    with np.load(render_hand, allow_pickle=False) as file:
        faces = file["faces_stump"]
    tiles = []
    for row in range(poses):
        pose = prior.sample_pose(rng(seed, "report/hands", row))
        for column in range(shapes):
            shape = np.zeros(layer.n_shape)
            caption = f"pose {row}, mean shape"
            if column:
                component, sign = (column - 1) // 2, 2.0 if column % 2 else -2.0
                shape[component] = sign * prior.shape_std[component]
                caption = f"pose {row}, shape {component + 1} {sign:+.0f} sd"
            parameters = (torch.as_tensor(value, dtype=torch.float32)[None] for value in (pose, shape, np.zeros(3)))
            with torch.no_grad():
                vertices = layer(*parameters).vertices[0].numpy()
            tiles.append(Tile(shade(vertices, faces, size), caption))
    return tiles
