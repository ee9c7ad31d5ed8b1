"""Rotations and linear blend skinning: what both hand layers are made of (Romero et al. 2017, section 3)."""

import torch
from torch import nn


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
