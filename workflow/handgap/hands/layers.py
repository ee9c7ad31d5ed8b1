"""The two hands as batched differentiable layers: shape blend, forward kinematics, linear blend skinning.

Rest frame of both open models (metres): origin at the wrist joint, x towards the little finger, y along the middle
metacarpal to the fingers, z out of the back of the hand; the palm looks along -z.
"""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import nn

from handgap.core.conventions import MANO_TO_SIMPLE
from handgap.core.files import read_arrays

# NIMBLE's 20 rotating bones; the five finger ends have no rotation of their own
RENDER_BONES = np.array([0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 18, 20, 21, 22, 23])
# the render hand's joint behind each annotation joint (MANO order)
ANNOTATION_BONES = np.array([0, 6, 7, 8, 11, 12, 13, 21, 22, 23, 16, 17, 18, 1, 2, 3])
_FINGER_BASES = {6: 5, 11: 10, 21: 20, 16: 15}
_FOREARM = 25


class HandOutput(NamedTuple):
    """Annotation hand: vertices (B, 778, 3) and joints (B, 21, 3) in simple order, metres."""

    vertices: torch.Tensor
    joints: torch.Tensor


class RenderOutput(NamedTuple):
    """Render hand: vertices (B, V, 3) and joints25 (B, 25, 3) in NIMBLE order, metres."""

    vertices: torch.Tensor
    joints25: torch.Tensor


def rotation_matrices(axis_angle: torch.Tensor) -> torch.Tensor:
    """Axis-angle (..., 3), radians -> rotation matrices (..., 3, 3); smooth at zero (Rodrigues)."""
    squared = (axis_angle * axis_angle).sum(-1)
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)[..., None, None]
    second = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / safe)[..., None, None]
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + first * skew + second * (skew @ skew)


def axis_angles(rotations: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) -> axis-angle (..., 3), angle in [0, pi], by way of the unit quaternion."""
    m = rotations
    diagonal = m.diagonal(dim1=-2, dim2=-1)
    trace = diagonal.sum(-1, keepdim=True)
    # four times the square of each quaternion component; the largest one fixes the others without cancellation
    squares = torch.cat([1 + trace, 1 + 2 * diagonal - trace], -1)
    differences = torch.stack(
        [m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
    )
    sums = torch.stack([m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]], -1)
    d, s = differences.unbind(-1), sums.unbind(-1)
    a = squares.unbind(-1)
    rows = torch.stack(
        [
            torch.stack([a[0], d[0], d[1], d[2]], -1),
            torch.stack([d[0], a[1], s[0], s[1]], -1),
            torch.stack([d[1], s[0], a[2], s[2]], -1),
            torch.stack([d[2], s[1], s[2], a[3]], -1),
        ],
        -2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = nn.functional.normalize(rows.gather(-2, best).squeeze(-2), dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    vector = quaternion[..., 1:]
    length = vector.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(length, quaternion[..., :1])
    return vector * torch.where(length < 1e-6, torch.full_like(length, 2.0), angle / length.clamp_min(1e-12))


def global_transforms(
    rotations: torch.Tensor, joints: torch.Tensor, parents: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forward kinematics.

    Args:
        rotations: (B, J, 3, 3) of each joint against its parent.
        joints: (B, J, 3) rest positions.
        parents: parent of each joint, -1 for the root, always smaller than the joint.

    Returns:
        Global rotations (B, J, 3, 3) and posed joints (B, J, 3); the root keeps its rest position.
    """
    turns, places = [rotations[:, 0]], [joints[:, 0]]
    for joint, parent in enumerate(parents[1:], start=1):
        turns.append(turns[parent] @ rotations[:, joint])
        bone = joints[:, joint] - joints[:, parent]
        places.append(places[parent] + (turns[parent] @ bone[..., None])[..., 0])
    return torch.stack(turns, 1), torch.stack(places, 1)


def linear_blend_skinning(
    shaped: torch.Tensor,
    joints: torch.Tensor,
    rotations: torch.Tensor,
    weights: torch.Tensor,
    parents: tuple[int, ...],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pose vertices: v' = sum_j w_j (G_j (v - J_j) + J'_j).

    Args:
        shaped: (B, V, 3) rest vertices.
        joints: (B, J, 3) rest joints.
        rotations: (B, J, 3, 3) against the parent.
        weights: (V, J), rows summing to one.
        parents: see `global_transforms`.

    Returns:
        Vertices (B, V, 3) and joints (B, J, 3).
    """
    turns, places = global_transforms(rotations, joints, parents)
    offsets = places - (turns @ joints[..., None])[..., 0]
    affine = torch.cat([turns, offsets[..., None]], -1).flatten(2)
    blended = (weights @ affine).unflatten(-1, (3, 4))
    vertices = (blended[..., :3] @ shaped[..., None])[..., 0] + blended[..., 3]
    return vertices, places


class _Hand(nn.Module):
    """What the two layers share: arrays of the npz as buffers, and loading."""

    _buffers_of: tuple[str, ...] = ()

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__()
        for name in self._buffers_of:
            self.register_buffer(name, torch.as_tensor(arrays[name], dtype=torch.float32))
        self.parents = tuple(int(p) for p in arrays["parents"])

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a converted model (`.npz`).

        Raises:
            MissingAssetError: there is no such file.
            CorruptFileError: it is truncated, or lacks an array of this model.
        """
        return cls(read_arrays(path, {*cls._buffers_of, "parents"}))

    def _shaped(self, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rest vertices (B, V, 3) and joints (B, J, 3) of shape coefficients (B, S)."""
        vertices = self.v_template + torch.einsum("bs,vcs->bvc", shape, self.shapedirs)
        return vertices, torch.einsum("jv,bvc->bjc", self.J_regressor, vertices)


class AnnotationHand(_Hand):
    """MANO-like hand: 778 vertices, 16 joints, 48 pose and 10 shape parameters (Romero et al. 2017)."""

    _buffers_of = (
        "v_template",
        "shapedirs",
        "posedirs",
        "J_regressor",
        "weights",
        "hands_mean",
        "hands_components",
        "pose_std",
    )

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__(arrays)
        self.faces = np.asarray(arrays["faces"], np.int64)
        # a model of its own may see joints elsewhere than it turns; MANO's annotations use J_regressor for both
        seen = arrays["keypoint_regressor"] if "keypoint_regressor" in arrays else arrays["J_regressor"]
        self.register_buffer("keypoint_regressor", torch.as_tensor(seen, dtype=torch.float32))
        self.tip_vertices = [int(v) for v in arrays["tip_vertices"]]

    def forward(self, pose: torch.Tensor, shape: torch.Tensor, trans: torch.Tensor) -> HandOutput:
        """Pose the hand.

        Args:
            pose: (B, 48) axis-angle, global rotation first, then MANO's joint order; the mean pose is not added.
            shape: (B, 10).
            trans: (B, 3) metres.

        Returns:
            Vertices and the 16 kinematic joints with the 5 tip vertices, in simple order.
        """
        shaped, joints = self._shaped(shape)
        rotations = rotation_matrices(pose.unflatten(-1, (16, 3)))
        eye = torch.eye(3, dtype=pose.dtype, device=pose.device)
        feature = (rotations[:, 1:] - eye).flatten(1)
        shaped = shaped + torch.einsum("bp,vcp->bvc", feature, self.posedirs)
        vertices, places = linear_blend_skinning(shaped, joints, rotations, self.weights, self.parents)
        vertices, places = vertices + trans[:, None], places + trans[:, None]
        return HandOutput(vertices, self._simple(places, vertices))

    def regress_joints(self, vertices: torch.Tensor) -> torch.Tensor:
        """Joints (B, 21, 3), simple order, from posed vertices (B, 778, 3): regressor and tip vertices (FreiHAND)."""
        return self._simple(torch.einsum("jv,bvc->bjc", self.keypoint_regressor, vertices), vertices)

    def pose_from_components(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, n) coefficients in standard deviations -> finger pose (B, 45), mean pose added."""
        n = coefficients.shape[1]
        return self.hands_mean + (coefficients * self.pose_std[:n]) @ self.hands_components[:n]

    def _simple(self, joints: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
        return torch.cat([joints, vertices[:, self.tip_vertices]], 1)[:, MANO_TO_SIMPLE]


class RenderHand(_Hand):
    """NIMBLE-like hand: skin with forearm, 25 joints, 20 rotating bones."""

    _buffers_of = ("v_template", "shapedirs", "J_regressor", "weights", "mano_bary")

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__(arrays)
        self.register_buffer("mano_faces", torch.as_tensor(arrays["mano_faces"], dtype=torch.long))
        self.n_pose, self.n_shape = 3 * len(RENDER_BONES), self.shapedirs.shape[2]

    def forward(
        self, pose: torch.Tensor, shape: torch.Tensor, trans: torch.Tensor, forearm: torch.Tensor | None = None
    ) -> RenderOutput:
        """Pose the hand.

        Args:
            pose: (B, 60) axis-angle of NIMBLE's 20 bones, the global rotation first.
            shape: (B, S) in standard deviations.
            trans: (B, 3) metres.
            forearm: (B, 3) axis-angle of the forearm against the hand, about the wrist; straight when None.
        """
        shaped, joints = self._shaped(shape)
        joints = torch.cat([joints, joints[:, :1]], 1)
        turns = rotation_matrices(pose.unflatten(-1, (len(RENDER_BONES), 3)))
        eye = torch.eye(3, dtype=pose.dtype, device=pose.device).expand(len(pose), 1, 3, 3)
        rotations = list(eye.expand(-1, 26, 3, 3).unbind(1))
        for bone, joint in enumerate(RENDER_BONES):
            rotations[joint] = turns[:, bone]
        if forearm is not None:
            rotations[_FOREARM] = rotation_matrices(forearm)
        vertices, places = linear_blend_skinning(shaped, joints, torch.stack(rotations, 1), self.weights, self.parents)
        return RenderOutput(vertices + trans[:, None], places[:, :25] + trans[:, None])

    def to_annotation(self, vertices: torch.Tensor) -> torch.Tensor:
        """Annotation-hand vertices (B, 778, 3) on the render hand's surface (B, V, 3)."""
        return (vertices[:, self.mano_faces] * self.mano_bary[..., None]).sum(2)

    def annotation_pose(self, pose: torch.Tensor) -> torch.Tensor:
        """Annotation-hand pose (B, 48) of a render pose (B, 60): a metacarpal's rotation goes into its finger's."""
        turns = rotation_matrices(pose.unflatten(-1, (len(RENDER_BONES), 3)))
        bone_of = {int(joint): bone for bone, joint in enumerate(RENDER_BONES)}
        parts = [turns[:, bone_of[int(joint)]] for joint in ANNOTATION_BONES]
        for k, joint in enumerate(ANNOTATION_BONES):
            if int(joint) in _FINGER_BASES:
                parts[k] = turns[:, bone_of[_FINGER_BASES[int(joint)]]] @ parts[k]
        fingers = axis_angles(torch.stack(parts[1:], 1)).flatten(1)
        return torch.cat([pose[:, :3], fingers], 1)
