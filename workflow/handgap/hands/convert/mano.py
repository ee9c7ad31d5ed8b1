"""MANO's licensed pickle (Romero et al. 2017) -> the study's annotation-hand file."""

from pathlib import Path

import numpy as np

from handgap.core.conventions import MANO_PARENTS, N_ANNOTATION_FACES, N_ANNOTATION_VERTICES, TIP_VERTICES
from handgap.core.files import write_npz
from handgap.core.provenance import file_sha256
from handgap.hands.convert.checked import AtLeast, CheckedValues

LICENCE = "MANO licence (mano.is.tue.mpg.de/license): non-commercial research, do not redistribute"
N_SHAPE, N_POSE = 10, 45
_CURE = "take MANO_RIGHT.pkl or MANO_LEFT.pkl from mano.is.tue.mpg.de (models, v1.2)"
# the root's parent is -1, which the file keeps as an unsigned integer
_NO_PARENT = 2**32 - 1
_LENGTH = (0.15, 0.25)  # m, from behind the wrist to the longest fingertip
# joints in MANO's order
_INDEX, _MIDDLE, _PINKY, _THUMB_END = 1, 4, 7, 15


def convert_mano(path: Path, out: Path) -> None:
    """Write an annotation-hand file from MANO_RIGHT.pkl or MANO_LEFT.pkl.

    The side is read off the geometry, not the name (`side_of`). Faces are turned so that they look outwards. The x
    components of `shapedirs` are negated where the file has them wrong, as the released left hand has
    (`growth_agreement`). Whatever was changed is said in the file's `source`.

    Args:
        path: the pickle.
        out: the `.npz` to write, metres.

    Raises:
        MissingAssetError: there is no such pickle.
        CorruptFileError: it is not a plain pickle, or a key is missing or is not what MANO's is: the error says which.
        DiskFullError: no room for the output.
    """
    path, out = Path(path), Path(out)
    file = CheckedValues.read(path, _CURE)
    n = N_ANNOTATION_VERTICES
    vertices, shapedirs = file.array("v_template", n, 3), file.array("shapedirs", n, 3, AtLeast(N_SHAPE))[..., :N_SHAPE]
    length = np.ptp(vertices, axis=0).max()
    if not _LENGTH[0] <= length <= _LENGTH[1]:
        unit = "millimetres, it seems" if _LENGTH[0] <= length / 1000 <= _LENGTH[1] else "not a hand in metres"
        file.refuse("v_template", f"a hand of {_LENGTH[0]} to {_LENGTH[1]} m", f"one of {length:.4g} ({unit})")
    arrays = {
        "v_template": vertices,
        "posedirs": file.array("posedirs", n, 3, 9 * (len(MANO_PARENTS) - 1)),
        "J_regressor": file.array("J_regressor", len(MANO_PARENTS), n),
        "weights": file.array("weights", n, len(MANO_PARENTS)),
        "parents": _parents(file),
        "hands_mean": file.array("hands_mean", N_POSE),
        "hands_components": file.array("hands_components", N_POSE, N_POSE),
        "pose_std": file.array("hands_coeffs", AtLeast(2), N_POSE).std(0),
        "tip_vertices": np.array(TIP_VERTICES["freihand"]),
        "topology": np.array("mano"),
        "licence": np.array(LICENCE),
    }
    if (worst := np.abs(arrays["weights"].sum(1) - 1).max()) > 0.01:
        file.refuse("weights", "rows that sum to 1", f"one that is off by {worst:.3g}")
    side = side_of(arrays["J_regressor"] @ vertices)
    if side is None:
        file.refuse("v_template", "a thumb on one side of the palm", "joints that lie in one plane")
    changes = []
    faces = file.indices("f", n, N_ANNOTATION_FACES, 3)
    volume = _signed_volume(faces, vertices)
    if volume is None:
        file.refuse("f", "faces wound alike", "an edge that two faces run along in one direction")
    if volume < 0:
        faces, changes = faces[:, [0, 2, 1]], [*changes, "faces turned outwards"]
    if side == "left" and growth_agreement(vertices, shapedirs) < 0:
        shapedirs = shapedirs * [[-1.0], [1.0], [1.0]]
        changes.append("x of shapedirs negated (sign defect of the released left hand)")
    source = "; ".join([f"{path.name} sha256 {file_sha256(path)}", *changes])
    arrays |= {"faces": faces, "shapedirs": shapedirs, "side": np.array(side), "source": np.array(source)}
    write_npz(out, arrays)


def side_of(joints: np.ndarray) -> str | None:
    """Which hand the rest joints belong to: "right", "left", or None if it cannot be told.

    Seen from the wrist along the fingers, with the index finger's side known, the thumb hangs below the palm's plane,
    on the palmar side: wrist to middle, pinky to index, and plane to thumb make a left-handed triple of directions in a
    right hand, a right-handed one in a left hand, in whatever frame the model is.

    Args:
        joints: (16, 3), MANO's order, metres.
    """
    along, across = joints[_MIDDLE] - joints[0], joints[_INDEX] - joints[_PINKY]
    height = np.cross(along, across) @ (joints[_THUMB_END] - joints[0])
    # in units of the palm: below a twentieth of its length there is no side to speak of
    height /= np.linalg.norm(along) ** 2 * np.linalg.norm(across)
    if not abs(height) > 0.05:
        return None
    return "right" if height < 0 else "left"


def growth_agreement(vertices: np.ndarray, shapedirs: np.ndarray) -> float:
    """Correlation, over the population of shapes, of a hand's growth along x with its growth along y and z.

    Large hands are larger in all directions, so it is positive. MANO's released left hand has the right hand's x
    components in `shapedirs` instead of their negatives: with them a hand that gets wider gets shorter, and the
    correlation is negative. No right hand is needed to see it.

    Args:
        vertices: (V, 3) template.
        shapedirs: (V, 3, S) directions of one standard deviation each.
    """
    centred = vertices - vertices.mean(0)
    # least-squares growth rate of each direction, along each axis
    moment, spread = np.einsum("vc,vcs->cs", centred, shapedirs), (centred**2).sum(0)
    along, beside = moment[0] / spread[0], moment[1:].sum(0) / spread[1:].sum()
    return float(along @ beside / (np.linalg.norm(along) * np.linalg.norm(beside)))


def _parents(file: CheckedValues) -> np.ndarray:
    """Parents (16,) from the kinematic table (2, 16) of parent and joint."""
    table = file.array("kintree_table", 2, len(MANO_PARENTS), dtype=np.int64)
    parents = np.where(table[0] == _NO_PARENT, -1, table[0])
    if not np.array_equal(parents, MANO_PARENTS) or not np.array_equal(table[1], np.arange(len(MANO_PARENTS))):
        file.refuse("kintree_table", f"parents {MANO_PARENTS.tolist()} of joints 0 to 15", table.tolist())
    return parents


def _signed_volume(faces: np.ndarray, vertices: np.ndarray) -> float | None:
    """Volume inside a mesh closed by a fan over its opening, positive if faces look outwards; None if wound unalike."""
    edges = np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2)
    forward, backward = edges @ [len(vertices), 1], edges @ [1, len(vertices)]
    if len(np.unique(forward)) < len(forward):
        return None
    opening = edges[~np.isin(forward, backward)]
    # faces of a fan meet in the origin chosen here, so that they add nothing
    a, b, c = np.moveaxis(vertices[faces] - vertices[opening].reshape(-1, 3).mean(0), 1, 0)
    return float((a * np.cross(b, c)).sum() / 6)
