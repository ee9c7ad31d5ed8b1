"""The render hand as a batched differentiable layer: NIMBLE's model (Li et al. 2022) or its open twin.

Rest frame of the open models (metres): origin at the wrist joint, x towards the little finger, y along the middle
metacarpal, z out of the back of the hand; the palm looks along -z.
"""

from typing import NamedTuple

import numpy as np
import torch

from handgap.hands.kinematics import axis_angles, linear_blend_skinning, rotation_matrices
from handgap.hands.layer import HandLayer

# NIMBLE's 20 rotating bones; the five finger ends have no rotation of their own
RENDER_BONES = np.array([0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 18, 20, 21, 22, 23])
# the render hand's joint behind each annotation joint (MANO order)
ANNOTATION_BONES = np.array([0, 6, 7, 8, 11, 12, 13, 21, 22, 23, 16, 17, 18, 1, 2, 3])
_FINGER_BASES = {6: 5, 11: 10, 21: 20, 16: 15}
_FOREARM = 25


class RenderOutput(NamedTuple):
    """Render hand: vertices (B, V, 3) and joints25 (B, 25, 3) in NIMBLE order, metres."""

    vertices: torch.Tensor
    joints25: torch.Tensor


class RenderHand(HandLayer):
    """NIMBLE-like hand: skin with forearm, 25 joints, 20 rotating bones."""

    _buffers_of = (*HandLayer._buffers_of, "J_template", "J_shapedirs", "mano_weights")

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__(arrays)
        self.register_buffer("mano_vertices", torch.as_tensor(arrays["mano_vertices"], dtype=torch.long))
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
        n_joints = len(self.parents)
        # a model with a forearm turns it about the wrist
        joints = torch.cat([joints, joints[:, : n_joints - joints.shape[1]]], 1)
        turns = rotation_matrices(pose.unflatten(-1, (len(RENDER_BONES), 3)))
        shaped = shaped + self._correctives(turns[:, 1:])
        eye = torch.eye(3, dtype=pose.dtype, device=pose.device).expand(len(pose), 1, 3, 3)
        rotations = list(eye.expand(-1, n_joints, 3, 3).unbind(1))
        for bone, joint in enumerate(RENDER_BONES):
            rotations[joint] = turns[:, bone]
        if forearm is not None:
            rotations[_FOREARM] = rotation_matrices(forearm)
        vertices, places = linear_blend_skinning(shaped, joints, torch.stack(rotations, 1), self.weights, self.parents)
        return RenderOutput(vertices + trans[:, None], places[:, :25] + trans[:, None])

    def to_annotation(self, vertices: torch.Tensor) -> torch.Tensor:
        """Annotation-hand vertices (B, 778, 3) on the render hand's surface (B, V, 3)."""
        return (vertices[:, self.mano_vertices] * self.mano_weights[..., None]).sum(2)

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
