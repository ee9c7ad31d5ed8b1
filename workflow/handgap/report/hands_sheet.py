"""The hand models on one page: poses down, shapes across."""

from pathlib import Path

import numpy as np
import torch
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
from pytorch3d.structures import Meshes

from handgap.core.seeds import rng
from handgap.hands.layers import RenderHand
from handgap.hands.prior import PosePrior
from handgap.report.sheets import Tile

SKIN = np.array([224.0, 172.0, 140.0])
LIGHT = np.array([-0.4, 0.5, -0.77])
AMBIENT = 0.35
SUPERSAMPLING = 2


def shade(vertices: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """Orthographic picture of a mesh (V, 3) under one lamp, (size, size, 3) uint8 on white.

    x right, y up, seen along +z; the mesh fills the frame.
    """
    centre = (vertices.max(0) + vertices.min(0)) / 2
    points = torch.as_tensor((vertices - centre) / (np.ptp(vertices[:, :2], axis=0).max() * 0.54), dtype=torch.float32)
    # PyTorch3D's x points left, and only faces in front of the camera (z > 0) are drawn
    points = points * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([0.0, 0.0, 5.0])
    mesh = Meshes([points], [torch.as_tensor(faces, dtype=torch.int64)])
    face, _, weights, _ = rasterize_meshes(mesh, size * SUPERSAMPLING, blur_radius=0.0, faces_per_pixel=1)
    face, weights = face[0, ..., 0].numpy(), weights[0, ..., 0, :].numpy()
    normals = mesh.verts_normals_packed().numpy() * [-1.0, 1.0, 1.0]
    inside = face >= 0
    normal = (normals[faces[face[inside]]] * weights[inside][..., None]).sum(1)
    facing = np.abs(normal @ (LIGHT / np.linalg.norm(LIGHT))) / np.maximum(np.linalg.norm(normal, axis=1), 1e-9)
    picture = np.full((*face.shape, 3), 255.0)
    picture[inside] = SKIN * (AMBIENT + (1.0 - AMBIENT) * facing[:, None])
    picture = picture.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3).mean((1, 3))
    return np.rint(picture).astype(np.uint8)


def hand_tiles(render_hand: Path, poses: int, shapes: int, seed: int, size: int = 224) -> list[Tile]:
    """Sampled poses (rows) by the shape space's first components at -2 and +2 standard deviations (columns)."""
    layer, prior = RenderHand.load(render_hand), PosePrior.load(render_hand)
    with np.load(render_hand, allow_pickle=False) as file:
        faces = file["faces_stump"]
    tiles = []
    for row in range(poses):
        fingers = prior.sample_pose(rng(seed, "report/hands", row)).reshape(-1)
        pose = np.concatenate([np.zeros(layer.n_pose - len(fingers)), fingers])
        for column in range(shapes):
            shape = np.zeros(layer.n_shape)
            caption = f"pose {row}, mean shape"
            if column:
                component, sign = (column - 1) // 2, 2.0 if column % 2 else -2.0
                shape[component] = sign
                caption = f"pose {row}, shape {component + 1} {sign:+.0f} sd"
            parameters = (torch.as_tensor(value, dtype=torch.float32)[None] for value in (pose, shape, np.zeros(3)))
            with torch.no_grad():
                vertices = layer(*parameters).vertices[0].numpy()
            tiles.append(Tile(shade(vertices, faces, size), caption))
    return tiles
