"""FreiHAND's and HO3D's files: `pred.json`, the zip of it that CodaLab takes, and the labels of the evaluation split.

Both are `[joints, vertices]`, lists of all samples in the order of the split, in metres. FreiHAND's are in our own
conventions. HO3D's have MANO's joint order and an OpenGL camera (x right, y up, z backward).
"""

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from handgap.core.conventions import MANO_TO_SIMPLE, N_ANNOTATION_VERTICES, N_JOINTS
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.core.files import written_whole
from handgap.evaluate.files.number_lists import parse_points
from handgap.evaluate.inputs import NOT_STATED, Predictions, Truth

INSIDE = "pred.json"
HO3D_SAMPLES = {"ho3d_v2": 11_524, "ho3d_v3": 20_137}
_OPENGL = np.array([1.0, -1.0, -1.0])
_SIMPLE_TO_MANO = MANO_TO_SIMPLE.argsort()
_SIZES = (N_JOINTS, N_ANNOTATION_VERTICES)
_CURE = f"write [joints, vertices]: a list of N x {N_JOINTS} x 3 and one of N x {N_ANNOTATION_VERTICES} x 3 numbers"


def read_challenge(path: Path, protocol: str, crop: str = NOT_STATED) -> Predictions:
    """A `pred.json`, or a zip with one.

    Raises:
        MissingAssetError: no such file.
        CorruptFileError: no such JSON or zip; see `parse_points`; of HO3D, joints in front of the OpenGL camera's back.
    """
    joints, vertices = parse_points(_content(path), _SIZES, path, _CURE)
    if protocol in HO3D_SAMPLES:
        if (wrong := (joints[..., 2] > 0).any(1)).any():
            problem = f"z is positive in {int(wrong.sum())} samples, behind an OpenGL camera"
            raise CorruptFileError(path, problem, "multiply by (1, -1, -1): HO3D's camera looks along -z")
        joints, vertices = _ours(joints, vertices)
    return Predictions(path, None, np.ones(len(joints), bool), {"joints": joints, "vertices": vertices}, crop)


def read_challenge_truth(folder: Path, protocol: str) -> Truth:
    """`evaluation_xyz.json` and `evaluation_verts.json` of a dataset's folder.

    Raises:
        MissingAssetError: a file is absent.
        CorruptFileError: see `parse_points`; the files differ in length; they are those of HO3D's other version.
    """
    cure = "take the labels of the evaluation split as they are published, and give the folder that has them"
    points = []
    for name, size in (("xyz", N_JOINTS), ("verts", N_ANNOTATION_VERTICES)):
        path = folder / f"evaluation_{name}.json"
        if not path.is_file():
            raise MissingAssetError(path, "no such file", cure)
        points += parse_points(path.read_bytes(), [size], path, cure)
    joints, vertices = points
    if len(joints) != len(vertices):
        raise CorruptFileError(folder, f"labels of {len(joints)} joints and of {len(vertices)} meshes", cure)
    if protocol in HO3D_SAMPLES:
        other = {count: name for name, count in HO3D_SAMPLES.items() if name != protocol}
        if len(joints) in other:
            raise CorruptFileError(folder, f"{len(joints)} samples: these are of {other[len(joints)]}", cure)
        joints, vertices = _ours(joints, vertices)
    valid = np.ones(len(joints), bool)
    return Truth(folder, np.arange(len(joints)), valid, {"joints": joints, "vertices": vertices})


def write_challenge(path: Path, protocol: str, joints: np.ndarray, vertices: np.ndarray) -> None:
    """Predictions as the challenge takes them: `pred.json`, or a zip of it if the file's name ends in .zip.

    Args:
        path: the file.
        protocol: "freihand", "ho3d_v2" or "ho3d_v3".
        joints: (N, 21, 3) metres, OpenCV camera, simple order, in the order of the split.
        vertices: (N, 778, 3).

    Raises:
        CorruptFileError: a number is not finite; of HO3D, a joint is behind the camera.
    """
    if not (np.isfinite(joints).all() and np.isfinite(vertices).all()):
        raise CorruptFileError(path, "predictions are not finite", "predict all samples of the split")
    joints, vertices = np.asarray(joints, np.float64), np.asarray(vertices, np.float64)
    if protocol in HO3D_SAMPLES:
        joints, vertices = joints[:, _SIMPLE_TO_MANO] * _OPENGL, vertices * _OPENGL
        if (joints[..., 2] >= 0).any():
            raise CorruptFileError(path, "joints lie behind the camera", "predict in the camera frame, metres")
    text = json.dumps([joints.tolist(), vertices.tolist()])
    with written_whole(path) as temporary:
        if path.suffix != ".zip":
            temporary.write_text(text)
            return
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(INSIDE, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)


def _ours(joints: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return joints[:, MANO_TO_SIMPLE] * _OPENGL, vertices * _OPENGL


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise MissingAssetError(path, "no such file of predictions", "check the path")
    if path.suffix != ".zip":
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".json")]
            if len(names) != 1:
                raise CorruptFileError(path, f"{len(names)} JSON files in it", f"put {INSIDE} in it, and no other")
            return archive.read(names[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise CorruptFileError(path, f"not a readable zip ({error})", f"zip {INSIDE} again") from error
