"""NIMBLE's licensed asset folder (Li et al. 2022) -> the study's render-hand file and its texture file.

What every key means, and the forward pass that the result must reproduce, is in the model's published layer; here
normalisations are folded in once, so that coefficients of zero mean the same as upstream, millimetres become metres,
and the skin comes first: tissue below it is at the end of every per-vertex array.
"""

from pathlib import Path

import numpy as np

from handgap.core.conventions import MM, N_ANNOTATION_VERTICES, NIMBLE_BONES, NIMBLE_PARENTS
from handgap.core.errors import CorruptFileError
from handgap.core.files import write_npz
from handgap.core.pickles import read_pickle
from handgap.core.provenance import file_sha256
from handgap.hands.convert.checked import AtLeast, CheckedValues
from handgap.hands.correspondence import average_maps

GEOMETRY, TEXTURES = "NIMBLE_DICT_9137.pkl", "NIMBLE_TEX_DICT.pkl"
TEXTURE_UV, ANNOTATION_MAPS = "NIMBLE_TEX_FUV.pkl", "NIMBLE_MANO_VREG.pkl"
LICENCE = "NIMBLE model assets: terms of their authors (Li et al. 2022), not for redistribution"
N_VERTICES, N_SKIN, N_SKIN_FACES, N_UV = 14970, 5990, 9984, 5330
# how many components upstream's layer uses
SHAPE_COMPONENTS, POSE_COMPONENTS, TEXTURE_COMPONENTS = 20, 30, 10
# the collision step gives skin farther away than this along the surface no share in a correction
GEODESIC_REACH = 0.030
_CURE = "take the file from NIMBLE's release again"
_MAPS = {"diffuse": "diffuse", "normal": "normal", "specular": "spec"}


def convert_nimble(folder: Path, out: Path) -> None:
    """Write `out` (the hand, right side, metres) and beside it `<stem>_textures.npz`.

    The textures hold, for `diffuse`, `normal` and `specular`: `_mean` (H, W, 3), `_basis` (10, H, W, 3), `_std` (10,),
    float32 in 0..1, RGB, row 0 on top. Mean + sum of coefficient * std * basis, clipped, is a map.

    Args:
        folder: with the four pickles of NIMBLE's release.
        out: the `.npz` to write.

    Raises:
        MissingAssetError: a pickle is not there.
        CorruptFileError: a pickle is not a plain one, or a key is missing or has another shape than NIMBLE's.
        DiskFullError: no room for the output.
    """
    folder, out = Path(folder), Path(out)
    names = (GEOMETRY, TEXTURE_UV, ANNOTATION_MAPS, TEXTURES)
    origin = {"licence": np.array(LICENCE)}
    # textures first: a folder that lacks one of the files leaves no hand without its skin
    _write_textures(folder / TEXTURES, out.with_name(f"{out.stem}_textures.npz"), origin)
    write_npz(out, read_hand(folder) | origin | {"source": np.array(_source(folder, names))})


def read_hand(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of the render-hand file, without licence and source.

    Beside what every render hand has: `part_sizes` (3,) vertices of skin, muscle and bone; `faces_muscle`,
    `faces_bone` in each part's own numbers; `surface_mask` (5990,) of the skin; `geodesic_indptr`,
    `geodesic_indices`, `geodesic_distances` (compressed rows, metres, up to 30 mm, the diagonal left out); and
    `jreg_mano` (21, 5990), NIMBLE's own regressor of MANO-like joints.
    """
    file = CheckedValues.read(folder / GEOMETRY, _CURE)
    # either may count from the end
    bones, skin_start = (file.integer(f"{part}_v_sep") % N_VERTICES for part in ("bone", "skin"))
    if skin_start != N_VERTICES - N_SKIN or not 0 < bones < skin_start:
        file.refuse("bone_v_sep, skin_v_sep", f"0 < n < {N_VERTICES - N_SKIN}, {-N_SKIN}", f"{bones}, {skin_start}")
    skin, muscle, bone = (slice(skin_start, None), slice(bones, skin_start), slice(bones))
    order = np.concatenate([np.arange(N_VERTICES)[part] for part in (skin, muscle, bone)])
    sizes = np.array([N_SKIN, skin_start - bones, bones])

    n_shape, n_pose = SHAPE_COMPONENTS, POSE_COMPONENTS
    # the root's rotation has no correctives and is no part of the pose space
    n_joints, n_turns = len(NIMBLE_PARENTS), len(NIMBLE_BONES) - 1
    shape_mean, shape_std = (file.array(f"shape_pm_{name}", AtLeast(n_shape))[:n_shape] for name in ("mean", "std"))
    basis = file.array("shape_basis", AtLeast(n_shape), 3 * N_VERTICES)[:n_shape].reshape(n_shape, N_VERTICES, 3)
    template = MM * (file.array("vert", N_VERTICES, 3) + np.tensordot(shape_mean, basis, 1))
    shapedirs = MM * np.moveaxis(basis * shape_std[:, None, None], 0, 2)
    regressor = file.array("jreg_bone", n_joints, bones)
    pose_offset, pose_std = (file.array(f"pose_pm_{name}", AtLeast(n_pose))[:n_pose] for name in ("mean", "std"))
    components = file.array("pose_basis", AtLeast(n_pose), 3 * n_turns)[:n_pose]
    hand = {
        "v_template": template[order],
        "shapedirs": shapedirs[order],
        "shape_std": np.ones(n_shape),
        "J_template": regressor @ template[bone],
        "J_shapedirs": np.einsum("jv,vcs->jcs", regressor, shapedirs[bone]),
        "weights": file.array("all_sw", N_VERTICES, n_joints)[order],
        "parents": NIMBLE_PARENTS,
        "posedirs": MM * file.array("all_pbs", N_VERTICES, 3, 9 * n_turns)[order],
        "pose_mean": file.array("pose_mean", 3 * n_turns) + pose_offset @ components,
        "pose_components": components,
        "pose_std": pose_std,
        "part_sizes": sizes,
        "faces_muscle": file.indices("muscle_f", sizes[1], AtLeast(1), 3),
        "faces_bone": file.indices("bone_f", sizes[2], AtLeast(1), 3),
        "surface_mask": file.array("skin_v_surface_mask", N_SKIN) != 0,
        "jreg_mano": file.array("jreg_mano", 21, N_SKIN),
        "side": np.array("right"),
    }
    faces = file.indices("skin_f", N_SKIN, N_SKIN_FACES, 3)
    hand |= _near_geodesics(file)
    return hand | _texture_coordinates(folder / TEXTURE_UV) | _annotation_map(folder / ANNOTATION_MAPS, faces)


def _near_geodesics(file: CheckedValues) -> dict[str, np.ndarray]:
    """Compressed rows of the entries in (0, 30] mm of the dense matrix in mm; vertices apart may be infinitely far."""
    distances = file.numbers("skin_v_gd", N_SKIN, N_SKIN)
    near = (distances > 0) & (distances <= GEODESIC_REACH / MM)
    return {
        "geodesic_indptr": np.append(0, np.cumsum(near.sum(1))),
        "geodesic_indices": np.nonzero(near)[1],
        "geodesic_distances": MM * distances[near].astype(np.float64),
    }


def _texture_coordinates(path: Path) -> dict[str, np.ndarray]:
    """`uv` (5330, 2), `uv_faces_stump` and, corner by corner beside it, `faces_stump`, from OBJ's text lines."""
    lines = read_pickle(path)
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise CorruptFileError(path, "expected a list of text lines", _CURE)
    words = [line.split() for line in lines if line.strip()]
    try:
        uv = np.array([word[1:3] for word in words if word[0] == "vt"], np.float64)
        corners = np.array([[c.split("/")[:2] for c in word[1:4]] for word in words if word[0] == "f"], np.int64) - 1
    except ValueError as error:
        raise CorruptFileError(path, f"a vt or f line is not OBJ's ({error})", _CURE) from error
    if uv.shape != (N_UV, 2) or corners.shape != (N_SKIN_FACES, 3, 2):
        found = f"{len(uv)} vt and {len(corners)} f lines"
        raise CorruptFileError(path, f"expected {N_UV} vt and {N_SKIN_FACES} f v/vt/v lines, found {found}", _CURE)
    if corners.min() < 0 or (corners.max((0, 1)) >= (N_SKIN, N_UV)).any():
        problem = f"a face uses a vertex outside 1..{N_SKIN} or a texture coordinate outside 1..{N_UV}"
        raise CorruptFileError(path, problem, _CURE)
    return {"uv": uv, "faces_stump": corners[..., 0], "uv_faces_stump": corners[..., 1]}


def _annotation_map(path: Path, faces: np.ndarray) -> dict[str, np.ndarray]:
    """`mano_vertices` and `mano_weights` (778, K): the mean of the barycentric maps."""
    file = CheckedValues.read(path, _CURE)
    face_ids = file.indices("lmk_faces_idx", len(faces), AtLeast(1), N_ANNOTATION_VERTICES)
    bary = file.array("lmk_bary_coords", len(face_ids), N_ANNOTATION_VERTICES, 3)
    ids, weights = average_maps(face_ids, bary, faces)
    return {"mano_vertices": ids, "mano_weights": weights}


def _write_textures(path: Path, out: Path, origin: dict[str, np.ndarray]) -> None:
    """Bring NIMBLE's texture model into RGB images, one map after the other, as each is 126 MB."""
    textures = CheckedValues.read(path, _CURE)
    n, arrays = TEXTURE_COMPONENTS, {}
    for name, key in _MAPS.items():
        model = textures.nested(key)
        mean = model.array("mean", AtLeast(3), dtype=np.float32)
        size = round((len(mean) / 3) ** 0.5)
        if 3 * size * size != len(mean):
            model.refuse("mean", "a square image of three channels", f"{len(mean)} numbers")
        basis = model.array("basis", len(mean), AtLeast(n), dtype=np.float32)[:, :n]
        # upstream keeps OpenCV's order: blue, green, red
        arrays[f"{name}_mean"] = mean.reshape(size, size, 3)[..., ::-1]
        arrays[f"{name}_basis"] = np.moveaxis(basis.reshape(size, size, 3, n)[:, :, ::-1], 3, 0)
        arrays[f"{name}_std"] = model.array("std", AtLeast(n), dtype=np.float32)[:n]
    arrays |= origin | {"source": np.array(_source(path.parent, (path.name,)))}
    # not compressed: noise-like bases would not shrink, and a renderer reads them often
    write_npz(out, arrays, compress=False)


def _source(folder: Path, names: tuple[str, ...]) -> str:
    return "; ".join(f"{name} sha256 {file_sha256(folder / name)}" for name in names)
