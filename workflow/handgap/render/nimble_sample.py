"""One hand as HandSynthesis writes it: a folder with skin.obj, three texture maps, joints and annotation vertices.

Files (HandSynthesis release, my_NIMBLE_model/main.py): `skin.obj` with texture coordinates; `diffuse.png` (sRGB),
`normal.png` and `spec.png` (plain numbers); `joints.json` (21, 3) in MANO's joint order with each finger's tip behind
its last joint; `manov.json` (778, 3), if there; `pose_param(s).json` and its like, not needed to draw. Lengths are in
millimetres (or metres: the size of a hand tells), in one frame.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from handgap.core.conventions import (
    FINGERTIPS,
    HANDSYNTHESIS_TO_SIMPLE,
    N_ANNOTATION_VERTICES,
    N_JOINTS,
    TIP_VERTICES,
)
from handgap.core.errors import CorruptFileError
from handgap.core.images import decode_rgb
from handgap.render.spec import GeometryError

SKIN, JOINTS, VERTICES = "skin.obj", "joints.json", "manov.json"
MAPS = {"diffuse": "diffuse.png", "normal": "normal.png", "specular": "spec.png"}
VERTEX_LINE = re.compile(r"^[ \t]*v[ \t].*$", re.MULTILINE)
HAND_SIZE = (0.06, 0.6)  # metres, diagonal of the box around a fist's joints and around a hand with its forearm
OFF_SKIN = 0.04  # metres a label may lie from the nearest vertex: joints lie within the flesh
OFF_TIP = 0.01  # metres from a fingertip's joint to its vertex


@dataclass(frozen=True)
class NimbleSample:
    """A hand in metres, in the frame of its files (x right, y depth, z along the fingers of the rest pose).

    Attributes:
        points: (V, 3) vertices that faces use; the others, inside the hand, are left out.
        faces: (F, 3).
        uv: (T, 2), v upwards.
        uv_faces: (F, 3).
        joints: (21, 3) simple order.
        vertices: (778, 3) annotation-hand topology, or None where the folder has none.
        maps: (H, W, 3) uint8 texture maps, row 0 on top: "diffuse" is sRGB, "normal" and "specular" are plain numbers.
        digest: sha256 of the files read.
    """

    points: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray | None
    maps: dict[str, np.ndarray]
    digest: str


def read_sample(folder: Path, *, textured: bool = True) -> NimbleSample:
    """Geometry, labels and texture maps of a sample; without `textured` the maps may be missing.

    Raises:
        GeometryError: a file is missing, cannot be read, or does not describe one and the same hand; names the file.
    """
    digest = hashlib.sha256()
    points, faces, uv, uv_faces = parse_obj(_read(folder / SKIN, digest).decode("latin-1"))
    points = _metres(points, SKIN)
    tree = cKDTree(points)
    joints = _labels(folder / JOINTS, (N_JOINTS, 3), tree, digest)[HANDSYNTHESIS_TO_SIMPLE]
    vertices = None
    if (folder / VERTICES).exists():
        vertices = _labels(folder / VERTICES, (N_ANNOTATION_VERTICES, 3), tree, digest)
        tips = vertices[list(TIP_VERTICES["freihand"])]
        if np.linalg.norm(joints[list(FINGERTIPS)] - tips, axis=1).max() > OFF_TIP:
            raise GeometryError(f"{JOINTS}: not in MANO's joint order: its fingertips are not those of {VERTICES}")
    maps = {key: _map(folder / name, digest) for key, name in MAPS.items()} if textured else {}
    return NimbleSample(points, faces, uv, uv_faces, joints, vertices, maps, digest.hexdigest())


def parse_obj(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mesh of a Wavefront OBJ: polygons as triangle fans, unused vertices left out, normals ignored.

    Args:
        text: content of the file; indices may be relative (negative).

    Returns:
        vertices (V, 3), faces (F, 3), uv (T, 2), uv_faces (F, 3).

    Raises:
        GeometryError: a line cannot be read, an index points nowhere, or faces have no texture coordinates.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\\\n", " ")
    try:
        points = np.array([line.split()[1:4] for line in VERTEX_LINE.findall(text)], np.float64).reshape(-1, 3)
    except ValueError as error:
        raise GeometryError(f"{SKIN}: vertices that cannot be read ({error})") from error
    if not np.isfinite(points).all():
        raise GeometryError(f"{SKIN}: vertices that are not finite")
    used, faces, uv, uv_faces = _topology(VERTEX_LINE.sub("v", text))
    (a, b), (c, d) = np.diff(uv[uv_faces], axis=1).transpose(1, 2, 0)
    if not (a * d - b * c).any():
        raise GeometryError(f"{SKIN}: texture coordinates that span no area")
    return points[used], faces, uv, uv_faces


@lru_cache(maxsize=2)
def _topology(text: str) -> tuple[np.ndarray, ...]:
    """Vertices used, faces of these, uv and uv_faces; the same for all hands of one model, so read once."""
    n_points, uv, corners = 0, [], []
    for number, line in enumerate(text.split("\n"), 1):
        key, *values = line.partition("#")[0].split() or [""]
        try:
            if key == "v":
                n_points += 1
            elif key == "vt":
                u, v = map(float, values[:2])
                uv.append((u, v))
            elif key == "f":
                first, *others = (_corner(value, (n_points, len(uv))) for value in values)
                if len(others) < 2:
                    raise ValueError("a face of fewer than three corners")
                corners.extend((first, *pair) for pair in pairwise(others))
        except ValueError as error:
            raise GeometryError(f"{SKIN}: line {number} cannot be read ({error})") from error
    if not corners:
        raise GeometryError(f"{SKIN}: no faces")
    coordinates, index = np.array(uv), np.array(corners)
    if index.min() < 0 or (index.max((0, 1)) >= [n_points, len(uv)]).any():
        raise GeometryError(f"{SKIN}: faces of vertices or texture coordinates that are not there")
    if not np.isfinite(coordinates).all():
        raise GeometryError(f"{SKIN}: texture coordinates that are not finite")
    used, faces = np.unique(index[..., 0], return_inverse=True)
    return used, faces.reshape(-1, 3), coordinates, index[..., 1]


def _corner(text: str, counts: tuple[int, int]) -> tuple[int, int]:
    """Indices, from 0, of a corner `vertex/texture[/normal]`: OBJ counts from 1, or back from the last one so far."""
    fields = text.split("/")
    if len(fields) < 2 or not fields[1]:
        raise ValueError("a face without texture coordinates")
    vertex, texture = (int(field) for field in fields[:2])
    return vertex - 1 if vertex >= 0 else vertex + counts[0], texture - 1 if texture >= 0 else texture + counts[1]


def _read(path: Path, digest: "hashlib._Hash") -> bytes:
    if not path.is_file():
        raise GeometryError(f"{path.name}: no such file")
    data = path.read_bytes()
    digest.update(data)
    return data


def _map(path: Path, digest: "hashlib._Hash") -> np.ndarray:
    try:
        return decode_rgb(np.frombuffer(_read(path, digest), np.uint8), path.name)
    except CorruptFileError as error:
        raise GeometryError(f"{path.name}: {error.problem}") from error


def _labels(path: Path, shape: tuple[int, int], tree: cKDTree, digest: "hashlib._Hash") -> np.ndarray:
    """Points of a JSON file in metres, which must lie at the skin."""
    try:
        values = np.array(json.loads(_read(path, digest)), np.float64)
    except (ValueError, TypeError, RecursionError) as error:  # what json and NumPy say to what is no list of numbers
        raise GeometryError(f"{path.name}: not a list of {shape[0]} points ({error})") from error
    if values.shape != shape:
        raise GeometryError(f"{path.name}: {values.shape} numbers, expected {shape}")
    if not np.isfinite(values).all():
        raise GeometryError(f"{path.name}: numbers that are not finite")
    points = _metres(values, path.name)
    off = tree.query(points)[0].max()
    if off > OFF_SKIN:
        raise GeometryError(f"{path.name}: up to {1000 * off:.0f} mm off the skin of {SKIN}")
    return points


def _metres(points: np.ndarray, name: str) -> np.ndarray:
    size = np.linalg.norm(np.ptp(points, axis=0))
    for scale in (0.001, 1.0):
        if HAND_SIZE[0] <= scale * size <= HAND_SIZE[1]:
            return scale * points
    raise GeometryError(f"{name}: {size:.3g} units across is no hand in millimetres or metres")
