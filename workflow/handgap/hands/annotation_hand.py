"""The annotation hand as a batched differentiable layer: MANO's model (Romero et al. 2017)."""

from copy import deepcopy
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import nn

from handgap.core.conventions import MANO_TO_SIMPLE, TIP_VERTICES, Side
from handgap.core.errors import HandgapError
from handgap.hands.kinematics import linear_blend_skinning, rotation_matrices
from handgap.hands.layer import HandLayer

MODEL_TIPS = "model"
# a reflection in x keeps an axis-angle's x and negates its y and z; a matrix changes sign where one index is x
_MIRRORED_TURN = (1.0, -1.0, -1.0)
_MIRRORED_MATRIX = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0)


class HandOutput(NamedTuple):
    """Annotation hand: vertices (B, 778, 3) and joints (B, 21, 3) in simple order, metres."""

    vertices: torch.Tensor
    joints: torch.Tensor


class AnnotationHand(HandLayer):
    """MANO-like hand: 778 vertices, 16 joints, 48 pose and 10 shape parameters (Romero et al. 2017).

    Args:
        arrays: arrays of the model file by name; `posedirs`, `keypoint_regressor`, `side` (right) and `topology`
            (whose vertex ids the mesh has, "mano" or "open"; open) are optional.

    Attributes:
        faces: (1538, 3).
        side: which hand it is.
        topology: "mano" or "open".

    Raises:
        HandgapError: an unknown side or topology.
    """

    _buffers_of = (*HandLayer._buffers_of, "J_regressor", "hands_mean", "hands_components", "pose_std")
    _others_of = (*HandLayer._others_of, "faces", "tip_vertices")

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__(arrays)
        self.register_buffer("J_template", self.J_regressor @ self.v_template)
        self.register_buffer("J_shapedirs", torch.einsum("jv,vcs->jcs", self.J_regressor, self.shapedirs))
        self.faces = np.asarray(arrays["faces"], np.int64)
        # a model of its own may see joints elsewhere than it turns; MANO's annotations use J_regressor for both
        seen = arrays["keypoint_regressor"] if "keypoint_regressor" in arrays else arrays["J_regressor"]
        self.register_buffer("keypoint_regressor", torch.as_tensor(seen, dtype=torch.float32))
        self.side = Side[_choice(arrays, "side", "right", "left").upper()]
        self.topology = _choice(arrays, "topology", "open", "mano")
        self._model_tips = tuple(int(v) for v in arrays["tip_vertices"])

    def forward(
        self, pose: torch.Tensor, shape: torch.Tensor, trans: torch.Tensor, tips: str = MODEL_TIPS
    ) -> HandOutput:
        """Pose the hand.

        Args:
            pose: (B, 48) axis-angle, global rotation first, then MANO's joint order, mean pose included (`full_pose`).
            shape: (B, 10).
            trans: (B, 3) metres.
            tips: table of the fingertips, see `tip_vertices`.

        Returns:
            Vertices and the 16 kinematic joints with the 5 tip vertices, in simple order.

        Raises:
            HandgapError: see `tip_vertices`.
        """
        shaped, joints = self._shaped(shape)
        rotations = rotation_matrices(pose.unflatten(-1, (16, 3)))
        shaped = shaped + self._correctives(rotations[:, 1:])
        vertices, places = linear_blend_skinning(shaped, joints, rotations, self.weights, self.parents)
        vertices, places = vertices + trans[:, None], places + trans[:, None]
        return HandOutput(vertices, self._simple(places, vertices, tips))

    def regress_joints(self, vertices: torch.Tensor, tips: str = MODEL_TIPS) -> torch.Tensor:
        """Joints (B, 21, 3), simple order, of posed vertices (B, 778, 3): regressor and tip vertices, as FreiHAND's.

        They are not the kinematic joints of `forward`: some lie millimetres off once fingers bend.

        Raises:
            HandgapError: see `tip_vertices`.
        """
        joints = nn.functional.linear(vertices.transpose(1, 2), self.keypoint_regressor).transpose(1, 2)
        return self._simple(joints, vertices, tips)

    def full_pose(
        self, global_orient: torch.Tensor, hand_pose: torch.Tensor, *, use_pca: bool, flat_hand_mean: bool
    ) -> torch.Tensor:
        """Pose (B, 48) for `forward` from a dataset's parameters, by the two switches that other MANO layers have.

        FreiHAND: neither; HO3D: `flat_hand_mean`; DexYCB: `use_pca` with 45 coefficients.

        Args:
            global_orient: (B, 3) axis-angle.
            hand_pose: (B, n) coefficients of the first n pose components, not normalised, or (B, 45) axis-angle.
            use_pca: which of the two.
            flat_hand_mean: zero is the flat hand; otherwise it is the mean pose.
        """
        fingers = hand_pose @ self.hands_components[: hand_pose.shape[1]] if use_pca else hand_pose
        return torch.cat([global_orient, fingers if flat_hand_mean else fingers + self.hands_mean], 1)

    def pose_from_components(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, n) coefficients in standard deviations -> finger pose (B, 45), mean pose added."""
        n = coefficients.shape[1]
        return self.hands_mean + (coefficients * self.pose_std[:n]) @ self.hands_components[:n]

    def tip_vertices(self, table: str = MODEL_TIPS) -> tuple[int, ...]:
        """Vertex ids (5,) of the fingertips, thumb first.

        A table is what its name says on either side: manopth's other ids for left hands are "manopth_left".

        Args:
            table: "model" for those of the model file, or a key of `conventions.TIP_VERTICES`.

        Raises:
            HandgapError: there is no such table, or its ids are MANO's and this mesh is not.
        """
        if table == MODEL_TIPS:
            return self._model_tips
        if table not in TIP_VERTICES:
            raise HandgapError(f"fingertips '{table}'", "no such table", f"one of {[MODEL_TIPS, *TIP_VERTICES]}")
        if self.topology != "mano":
            problem = "ids of MANO's vertices, and this hand has a mesh of its own"
            raise HandgapError(f"fingertips '{table}'", problem, f"'{MODEL_TIPS}', or a model converted from MANO's")
        return TIP_VERTICES[table]

    def mirrored(self) -> Self:
        """The other hand: x -> -x, faces wound the other way round.

        It takes the mirrored pose, axis-angle (x, y, z) -> (x, -y, -z); pose components, shape and joints mean the
        same in both hands.
        """
        other = deepcopy(self)
        other.side = Side.LEFT if self.side is Side.RIGHT else Side.RIGHT
        other.faces = np.ascontiguousarray(self.faces[:, ::-1])
        for points in (other.v_template, other.shapedirs, other.J_template, other.J_shapedirs):
            points[:, 0].neg_()
        turn = self.v_template.new_tensor(_MIRRORED_TURN).repeat(15)
        other.hands_mean, other.hands_components = self.hands_mean * turn, self.hands_components * turn
        if self.posedirs is not None:
            other.posedirs = self.posedirs * self.v_template.new_tensor(_MIRRORED_MATRIX).repeat(15)
            other.posedirs[:, 0].neg_()
        return other

    def _simple(self, joints: torch.Tensor, vertices: torch.Tensor, tips: str) -> torch.Tensor:
        return torch.cat([joints, vertices[:, self.tip_vertices(tips)]], 1)[:, MANO_TO_SIMPLE]


def _choice(arrays: dict[str, np.ndarray], name: str, *choices: str) -> str:
    """A text entry of a model file; the first choice where there is none."""
    value = str(arrays.get(name, choices[0]))
    if value not in choices:
        raise HandgapError(f"{name} of the hand model", f"is '{value}'", f"one of {choices}: convert the model again")
    return value
