"""Writes a stand-in for a hand in HandSynthesis' layout: an egg with joints inside and annotation vertices on it."""

import json
from pathlib import Path

import numpy as np
import trimesh
from handgap.core.conventions import TIP_VERTICES
from PIL import Image

RADII = np.array([45.0, 20.0, 80.0])  # mm: x, depth, along the fingers
# simple order -> wrist, index, middle, pinky, ring, thumb (the published order)
PUBLISHED = [0, 5, 6, 7, 8, 9, 10, 11, 12, 17, 18, 19, 20, 13, 14, 15, 16, 1, 2, 3, 4]


def egg() -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) mm and faces (F, 3)."""
    mesh = trimesh.creation.icosphere(subdivisions=3)
    return mesh.vertices * RADII, mesh.faces


def labels() -> tuple[np.ndarray, np.ndarray]:
    """Joints (21, 3) in simple order and annotation vertices (778, 3), mm."""
    k = np.arange(778)
    z, angle = 1 - 2 * (k + 0.5) / 778, k * np.pi * (3 - np.sqrt(5))
    vertices = np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], 1) * RADII
    wrist, tips = np.array([[0.0, 0.0, -60.0]]), vertices[list(TIP_VERTICES["freihand"])]
    bones = [wrist + (tip - wrist) * t for tip in tips for t in (0.4, 0.6, 0.8, 1.0)]
    return np.concatenate([wrist, *bones]), vertices


def write_hand(folder: Path, *, scale: float = 1.0) -> Path:
    """Write the files of one hand; `scale` 0.001 writes metres."""
    folder.mkdir(parents=True)
    points, faces = egg()
    uv = 0.5 + 0.45 * points[:, [0, 2]] / RADII[[0, 2]]
    stray = np.array([[300.0, 0.0, 0.0], [0.0, 400.0, 200.0]])  # NIMBLE's OBJ has vertices that no face uses
    lines = ["mtllib skin.mtl", *("v {:.5f} {:.5f} {:.5f}".format(*p) for p in np.concatenate([points, stray]) * scale)]
    lines += ["vt {:.6f} {:.6f}".format(*p) for p in uv]
    lines += ["usemtl material_0", *("f " + " ".join(f"{i}/{i}/{i}" for i in face) for face in faces + 1)]
    (folder / "skin.obj").write_text("\n".join(lines) + "\n")
    joints, vertices = labels()
    (folder / "joints.json").write_text(json.dumps((joints[PUBLISHED] * scale).tolist()))
    (folder / "manov.json").write_text(json.dumps((vertices * scale).tolist()))
    (folder / "pose_params.json").write_text(json.dumps([0.0] * 30))
    for name, value in {"diffuse": (200, 150, 120), "normal": (128, 128, 255), "spec": (90, 90, 90)}.items():
        Image.new("RGB", (16, 16), value).save(folder / f"{name}.png")
    return folder
