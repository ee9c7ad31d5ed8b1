"""The annotation hand as a batched differentiable layer: MANO's model (Romero et al. 2017)."""

from typing import NamedTuple

import numpy as np
import torch

from handgap.core.conventions import MANO_TO_SIMPLE
from handgap.hands.kinematics import linear_blend_skinning, rotation_matrices
from handgap.hands.layer import HandLayer


class HandOutput(NamedTuple):
    """Annotation hand: vertices (B, 778, 3) and joints (B, 21, 3) in simple order, metres."""

    vertices: torch.Tensor
    joints: torch.Tensor


class AnnotationHand(HandLayer):
    """MANO-like hand: 778 vertices, 16 joints, 48 pose and 10 shape parameters (Romero et al. 2017)."""

    _buffers_of = (*HandLayer._buffers_of, "J_regressor", "hands_mean", "hands_components", "pose_std")

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__(arrays)
        self.register_buffer("J_template", self.J_regressor @ self.v_template)
        self.register_buffer("J_shapedirs", torch.einsum("jv,vcs->jcs", self.J_regressor, self.shapedirs))
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
        shaped = shaped + self._correctives(rotations[:, 1:])
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
