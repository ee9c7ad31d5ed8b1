"""Points on a posed hand as a function of its parameters, with the derivative in closed form."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import nn

from handgap.core.conventions import NIMBLE_BONES
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.kinematics import global_transforms, rotation_matrices
from handgap.hands.layer import HandLayer
from handgap.hands.render_hand import RenderHand


class SkinnedPoints(nn.Module):
    """A linear-blend-skinned hand thinned to what some points of its surface are made of.

    A parameter vector is pose (3 per rotating bone, axis-angle, the global rotation first), shape (S) and translation
    (3, metres). Both hand models are this; `of_render` and `of_annotation` make it from them. Points are (B, 3, P),
    the point last: then all that follows works along contiguous memory.

    Args:
        hand: the model.
        bones: the joints that rotate, in the order of the pose vector.
        vertices: (P, K) vertices of the model that make up each point.
        shares: (P, K) their weights, rows summing to one.
    """

    def __init__(self, hand: HandLayer, bones: Sequence[int], vertices: torch.Tensor, shares: torch.Tensor):
        super().__init__()
        plain = bool((shares == 1).any(1).all())
        # a point that is a vertex is taken as it is
        used, compact = (vertices[shares == 1], None) if plain else torch.unique(vertices, return_inverse=True)
        self.register_buffer("vertices", compact)
        self.register_buffer("shares", None if plain else shares)
        self.register_buffer("template", hand.v_template[used].T.contiguous())
        self.register_buffer("shapedirs", hand.shapedirs[used].permute(2, 1, 0).contiguous())
        posedirs = None if hand.posedirs is None else hand.posedirs[used].permute(2, 1, 0).unflatten(0, (-1, 9))
        self.register_buffer("posedirs", None if posedirs is None else posedirs.contiguous())
        self.register_buffer("weights", hand.weights[used].T.contiguous())
        n_joints = len(hand.parents)
        # a joint without a place of its own, the forearm's, turns about the root
        places = [*range(len(hand.J_template)), *[0] * (n_joints - len(hand.J_template))]
        self.register_buffer("joints", hand.J_template[places])
        self.register_buffer("joint_shapedirs", hand.J_shapedirs[places])
        self.parents, self.bones = hand.parents, [int(bone) for bone in bones]
        below = torch.eye(n_joints)
        for joint in range(n_joints - 1, 0, -1):
            below[self.parents[joint]] += below[joint]
        self.register_buffer("below", below[self.bones])
        self.n_pose, self.n_shape = 3 * len(self.bones), len(self.shapedirs)
        self.n_parameters = self.n_pose + self.n_shape + 3

    @classmethod
    def of_render(cls, hand: RenderHand, points: torch.Tensor) -> Self:
        """The render hand where it is mapped to the annotation vertices `points` (P,)."""
        return cls(hand, NIMBLE_BONES, hand.mano_vertices[points], hand.mano_weights[points])

    @classmethod
    def of_annotation(cls, hand: AnnotationHand, points: torch.Tensor) -> Self:
        """The annotation hand at its own vertices `points` (P,)."""
        return cls(hand, range(len(hand.parents)), points[:, None], torch.ones(len(points), 1))

    def split(self, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pose, shape and translation of parameter vectors (B, n)."""
        return parameters.split([self.n_pose, self.n_shape, 3], 1)

    def rest_joints(self, shape: torch.Tensor) -> torch.Tensor:
        """(B, J, 3), metres."""
        return self.joints + torch.einsum("bs,jcs->bjc", shape, self.joint_shapedirs)

    def point_weights(self) -> torch.Tensor:
        """Skin weights (J, P) of the points."""
        return self._mixed(self.weights)

    def global_rotations(self, pose: torch.Tensor, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotations (B, J, 3, 3) and places (B, J, 3) of all joints."""
        turns = rotation_matrices(pose.unflatten(1, (-1, 3)))
        local = _eye(pose).repeat(len(pose), len(self.parents), 1, 1)
        local[:, self.bones] = turns
        return global_transforms(local, self.rest_joints(shape), self.parents)

    def forward(self, parameters: torch.Tensor) -> torch.Tensor:
        """Points (B, 3, P), metres, of parameters (B, n)."""
        return self._pose(parameters)[0]

    def with_jacobian(self, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Points (B, 3, P) and their derivatives (B, n, 3 P) by each parameter.

        A turn of a joint moves what hangs on it about that joint: each point by the cross product of the turn with
        the point's lever, summed over the joints below by their skin weights.
        """
        pose = self.split(parameters)[0]
        points, shaped, blended, rotations, places, offsets = self._pose(parameters)
        # where each joint takes each vertex, times its weight (B, J, 3, V), then summed over the joints below a bone
        carried = (rotations @ shaped[:, None] + offsets[..., None]) * self.weights[:, None]
        levers = (self.below @ carried.flatten(2)).unflatten(2, carried.shape[2:])
        levers = levers - places[:, self.bones, :, None] * (self.below @ self.weights)[:, None]
        axis_angle = pose.unflatten(1, (-1, 3))
        left = _left_jacobians(axis_angle)
        above = [self.parents[bone] for bone in self.bones[1:]]
        spins = torch.cat([left[:, :1], rotations[:, above] @ left[:, 1:]], 1)
        # row (c, x): what turns a lever into the x component of its cross product with spin c
        by_pose = _skew(spins.mT).flatten(2, 3) @ levers
        by_pose = by_pose.reshape(len(pose), self.n_pose, 3, -1)
        if self.posedirs is not None:
            by_pose[:, 3:] += _turned(blended, self._correctives_by_pose(rotation_matrices(axis_angle), left))
        by_trans = _eye(pose)[:, :, None].expand(len(pose), 3, 3, points.shape[2])
        by_vertices = torch.cat([by_pose, self._by_shape(rotations, blended)], 1)
        return points, torch.cat([self._mixed(by_vertices), by_trans], 1).flatten(2)

    def _pose(self, parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Points; of the vertices: shaped (B, 3, V), blended rotations (B, 3, 3, V); of the joints: three (B, J, ...).

        The last are rotations, places and offsets: a joint takes x to rotation @ x + offset.
        """
        pose, shape, trans = self.split(parameters)
        shaped = self.template + (shape @ self.shapedirs.flatten(1)).unflatten(1, self.template.shape)
        if self.posedirs is not None:
            feature = (rotation_matrices(pose[:, 3:].unflatten(1, (-1, 3))) - _eye(pose)).flatten(1)
            shaped = shaped + (feature @ self.posedirs.flatten(2).flatten(0, 1)).unflatten(1, self.template.shape)
        rotations, places = self.global_rotations(pose, shape)
        offsets = places - (rotations @ self.rest_joints(shape)[..., None])[..., 0]
        affine = torch.cat([rotations, offsets[..., None]], 3).permute(0, 2, 3, 1)
        blended = affine @ self.weights
        posed = (blended[:, :, :3] * shaped[:, None]).sum(2) + blended[:, :, 3]
        return self._mixed(posed) + trans[:, :, None], shaped, blended[:, :, :3], rotations, places, offsets

    def _by_shape(self, rotations: torch.Tensor, blended: torch.Tensor) -> torch.Tensor:
        """(B, S, 3, V): the turned shape directions, and how the joints move."""
        steps = [self.joint_shapedirs[0].expand(len(rotations), -1, -1)]
        for joint, parent in enumerate(self.parents[1:], start=1):
            bone = self.joint_shapedirs[joint] - self.joint_shapedirs[parent]
            steps.append(steps[parent] + rotations[:, parent] @ bone)
        moved = torch.stack(steps, 1) - rotations @ self.joint_shapedirs
        return _turned(blended, self.shapedirs[None]) + moved.permute(0, 3, 2, 1) @ self.weights

    def _correctives_by_pose(self, turns: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        """(B, 3 (R - 1), 3, V): how the pose blend shapes change with the bones below the root."""
        # d R / d theta_c = [column c of the left Jacobian]_x R
        change = (_skew(left[:, 1:].mT) @ turns[:, 1:, None]).flatten(3)
        # one product per bone, the samples in its rows
        by_bone = change.transpose(0, 1).flatten(1, 2) @ self.posedirs.flatten(2)
        by_bone = by_bone.unflatten(1, (len(turns), 3)).transpose(0, 1)
        return by_bone.flatten(1, 2).unflatten(2, (3, -1))

    def _mixed(self, values: torch.Tensor) -> torch.Tensor:
        """Values at the vertices (..., V) -> at the points (..., P)."""
        if self.vertices is None:
            return values
        # sums of weighted rows: much faster than a sparse product
        rows = values.flatten(0, -2).T.contiguous()
        mixed = nn.functional.embedding_bag(self.vertices, rows, mode="sum", per_sample_weights=self.shares.to(rows))
        return mixed.T.unflatten(0, values.shape[:-1])


def _eye(like: torch.Tensor) -> torch.Tensor:
    return torch.eye(3, dtype=like.dtype, device=like.device)


def _turned(rotations: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Vectors (B or 1, N, 3, V) turned by the rotations (B, 3, 3, V) of their vertices: (B, N, 3, V)."""
    by_axis = rotations[:, None].unbind(3)
    turned = by_axis[0] * vectors[:, :, 0, None]
    for axis in (1, 2):
        turned.addcmul_(by_axis[axis], vectors[:, :, axis, None])
    return turned


def _skew(vectors: torch.Tensor) -> torch.Tensor:
    """Matrices (..., 3, 3) whose product with a vector is the cross product with these (..., 3)."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def _left_jacobians(axis_angle: torch.Tensor) -> torch.Tensor:
    """Left Jacobians of SO(3): exp(a + d) = exp(J(a) d) exp(a) to first order; (..., 3) -> (..., 3, 3)."""
    squared = axis_angle.square().sum(-1)
    small = squared < 1e-4
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / safe)[..., None, None]
    second = torch.where(small, 1 / 6 - squared / 120, (angle - torch.sin(angle)) / (safe * angle))[..., None, None]
    skew = _skew(axis_angle)
    return _eye(axis_angle) + first * skew + second * (skew @ skew)
