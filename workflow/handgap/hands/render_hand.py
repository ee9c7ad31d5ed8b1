"""The render hand as a batched differentiable layer: NIMBLE's model (Li et al. 2022) or its open twin.

Both are read from one file format; what differs is told by the arrays that are there: the open hand has a forearm,
NIMBLE has muscles and bones below the skin.

Rest frame of the open hand (metres): origin at the wrist joint, x towards the little finger, y along the middle
metacarpal, z out of the back of the hand; the palm looks along -z. NIMBLE's: x towards the thumb, y out of the back,
z along the fingers, origin above the knuckles.
"""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch

from handgap.core.conventions import NIMBLE_BONES, NIMBLE_TO_SIMPLE
from handgap.core.errors import HandgapError
from handgap.hands.kinematics import axis_angles, linear_blend_skinning, rotation_matrices
from handgap.hands.layer import HandLayer

# the render hand's joint behind each annotation joint (MANO order)
ANNOTATION_BONES = np.array([0, 6, 7, 8, 11, 12, 13, 21, 22, 23, 16, 17, 18, 1, 2, 3])
# knuckle -> metacarpal
_METACARPALS = {6: 5, 11: 10, 21: 20, 16: 15}
_FOREARM = 25

# the layers of NIMBLE's tissue in the order of the file's vertices, and the name of their faces there
PART_FACES = {"skin": "faces_stump", "muscle": "faces_muscle", "bone": "faces_bone"}
_PER_VERTEX = ("v_template", "shapedirs", "posedirs", "weights")


class RenderOutput(NamedTuple):
    """Render hand: vertices (B, V, 3) and joints25 (B, 25, 3) in NIMBLE order, metres."""

    vertices: torch.Tensor
    joints25: torch.Tensor

    @property
    def joints21(self) -> torch.Tensor:
        """The anatomical joints (B, 21, 3) that match the simple order; MANO's lie elsewhere in the same finger."""
        return self.joints25[:, NIMBLE_TO_SIMPLE]


class RenderHand(HandLayer):
    """NIMBLE-like hand: 25 joints, 20 rotating bones; the open one with a forearm.

    Args:
        arrays: arrays of the model file by name.
        part: whose vertices the layer poses: "skin", or NIMBLE's "muscle" or "bone".

    Attributes:
        faces: (F, 3) of the part, closed; the open hand's without the forearm.
        surface: ids of the vertices that `faces` uses. NIMBLE's skin has 996 others, up to 70 mm off the surface:
            bounding boxes and the like belong to these alone.
    """

    _buffers_of = (
        *HandLayer._buffers_of,
        *("J_template", "J_shapedirs", "pose_mean", "pose_components", "pose_std", "mano_weights"),
    )
    _others_of = (*HandLayer._others_of, "mano_vertices", PART_FACES["skin"])

    def __init__(self, arrays: dict[str, np.ndarray], part: str = "skin"):
        if "part_sizes" in arrays:
            ends = np.cumsum(arrays["part_sizes"])
            index = list(PART_FACES).index(part)
            rows = slice(ends[index] - arrays["part_sizes"][index], ends[index])
            arrays = arrays | {name: arrays[name][rows] for name in _PER_VERTEX if name in arrays}
        super().__init__(arrays)
        self.register_buffer("mano_vertices", torch.as_tensor(arrays["mano_vertices"], dtype=torch.long))
        self.n_pose, self.n_shape = 3 * len(NIMBLE_BONES), self.shapedirs.shape[2]
        self.faces = np.asarray(arrays[PART_FACES[part]], np.int64)
        self.surface = np.unique(self.faces)

    @classmethod
    def load(cls, path: Path | str, part: str = "skin") -> Self:
        """Read a model file (`.npz`).

        Raises:
            MissingAssetError: there is no such file.
            CorruptFileError: it is truncated, or lacks an array of this model.
            HandgapError: it has no such part.
        """
        arrays = cls._read(path)
        if PART_FACES[part] not in arrays:
            raise HandgapError(path, f"the model has no {part}", "take a file made by `handgap convert nimble`")
        return cls(arrays, part)

    def forward(
        self,
        pose: torch.Tensor,
        shape: torch.Tensor,
        trans: torch.Tensor,
        forearm: torch.Tensor | None = None,
        scale: torch.Tensor | None = None,
    ) -> RenderOutput:
        """Pose the hand.

        NIMBLE's own forward pass is the one with a zero global rotation, translation and no scale.

        Args:
            pose: (B, 60) axis-angle of NIMBLE's 20 bones, the global rotation first.
            shape: (B, S) in standard deviations.
            trans: (B, 3) metres.
            forearm: (B, 3) axis-angle of the open hand's forearm, about the wrist; straight when None.
            scale: (B,) factor on the whole hand about its root joint; 1 when None.

        Raises:
            HandgapError: a forearm's rotation for a hand without one.
        """
        n_joints = len(self.parents)
        if forearm is not None and n_joints == _FOREARM:
            raise HandgapError("forearm", "NIMBLE's hand ends at the wrist", "turn OpenNimble's, or leave it out")
        shaped, joints = self._shaped(shape)
        # a model with a forearm turns it about the wrist
        joints = torch.cat([joints, joints[:, : n_joints - joints.shape[1]]], 1)
        turns = rotation_matrices(pose.unflatten(-1, (len(NIMBLE_BONES), 3)))
        shaped = shaped + self._correctives(turns[:, 1:])
        eye = torch.eye(3, dtype=pose.dtype, device=pose.device).expand(len(pose), 1, 3, 3)
        rotations = list(eye.expand(-1, n_joints, 3, 3).unbind(1))
        for bone, joint in enumerate(NIMBLE_BONES):
            rotations[joint] = turns[:, bone]
        if forearm is not None:
            rotations[_FOREARM] = rotation_matrices(forearm)
        vertices, places = linear_blend_skinning(shaped, joints, torch.stack(rotations, 1), self.weights, self.parents)
        places = places[:, :25]
        if scale is not None:
            root = joints[:, :1]
            vertices, places = (root + scale[:, None, None] * (points - root) for points in (vertices, places))
        return RenderOutput(vertices + trans[:, None], places + trans[:, None])

    def pose_from_components(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, n) coefficients in standard deviations -> pose (B, 57) of the bones below the root, mean pose added."""
        n = coefficients.shape[1]
        return self.pose_mean + (coefficients * self.pose_std[:n]) @ self.pose_components[:n]

    def to_annotation(self, vertices: torch.Tensor) -> torch.Tensor:
        """Annotation-hand vertices (B, 778, 3) on the render hand's skin (B, V, 3)."""
        return (vertices[:, self.mano_vertices] * self.mano_weights[..., None]).sum(2)

    @staticmethod
    def annotation_pose(pose: torch.Tensor) -> torch.Tensor:
        """Annotation-hand pose (B, 48) of a render pose (B, 60): a metacarpal's rotation goes into its finger's."""
        turns = dict(zip(NIMBLE_BONES.tolist(), rotation_matrices(pose.unflatten(-1, (-1, 3))).unbind(1), strict=True))
        parts = [
            turns[_METACARPALS[joint]] @ turns[joint] if joint in _METACARPALS else turns[joint]
            for joint in ANNOTATION_BONES[1:].tolist()
        ]
        fingers = axis_angles(torch.stack(parts, 1)).flatten(1)
        return torch.cat([pose[:, :3], fingers], 1)
