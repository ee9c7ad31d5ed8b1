"""Rotations and linear blend skinning: what both hand layers are made of (Romero et al. 2017, section 3)."""

from functools import lru_cache

import torch
from torch import nn


def rotation_matrices(axis_angle: torch.Tensor) -> torch.Tensor:
    """Axis-angle (..., 3), radians -> rotation matrices (..., 3, 3), smooth at zero, by way of the unit quaternion.

    With half the angle nothing cancels: single precision keeps small rotations and their gradients.
    """
    squared = (axis_angle * axis_angle).sum(-1, keepdim=True)
    small = squared < 1e-8
    half = torch.where(small, torch.ones_like(squared), squared).sqrt() / 2
    vector = axis_angle * torch.where(small, 0.5 - squared / 48, half.sin() / (2 * half))
    scalar = torch.where(small, 1 - squared / 8, half.cos())
    x, y, z = (scalar * vector).unbind(-1)
    w = (scalar * scalar)[..., 0] - 0.5
    rest = torch.stack([w, -z, y, z, w, -x, -y, x, w], -1).unflatten(-1, (3, 3))
    return 2 * (vector[..., :, None] * vector[..., None, :] + rest)


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
    rest = joints.unbind(1)
    bones = torch.stack([rest[0], *(rest[j] - rest[p] for j, p in enumerate(parents[1:], start=1))], 1)
    local = torch.cat([rotations, bones[..., None]], -1).unbind(1)
    world = [local[0]] * len(parents)
    for level in _levels(parents):
        above = torch.stack([world[parents[joint]] for joint in level], 1)
        turns, steps = (above[..., :3] @ torch.stack([local[joint] for joint in level], 1)).split([3, 1], -1)
        below = torch.cat([turns, steps + above[..., 3:]], -1).unbind(1)
        for joint, transform in zip(level, below, strict=True):
            world[joint] = transform
    turns, places = torch.stack(world, 1).split([3, 1], -1)
    return turns, places[..., 0]


@lru_cache
def _levels(parents: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Joints below the root by their distance from it: those of one level are turned at once."""
    depths = [0]
    for parent in parents[1:]:
        depths.append(depths[parent] + 1)
    return tuple(tuple(j for j, d in enumerate(depths) if d == depth) for depth in range(1, max(depths) + 1))


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
    # vertices last: the blend is four plain matrix products, and what follows runs along the vertices
    columns = torch.stack([*turns.unbind(-1), offsets]).transpose(2, 3).contiguous()
    along_x, along_y, along_z, offset = (nn.functional.linear(column, weights) for column in columns)
    x, y, z = shaped.transpose(1, 2).contiguous()[:, :, None].unbind(1)
    vertices = along_x * x + along_y * y + along_z * z + offset
    return vertices.transpose(1, 2), places
