"""Losses of S2HAND (Chen et al., CVPR 2021) and of its supervised descendant HiFiHR, as released.

Distances in the image are px of the published input of 224 px, whatever the size of the crop, so that thresholds and
weights keep their meaning. A weighted mean over weights that are all zero is zero (the release skips such terms).
"""

from math import radians

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from handgap.core.conventions import FINGERTIPS, JOINT_PARENTS, MIDDLE_MCP, MIDDLE_PIP, N_JOINTS, WRIST
from handgap.hands.annotation_hand import AnnotationHand

# weights of all terms; the supervised ones are those of the "full" variant unless they say "joints only"
LAMBDA = {
    "open_2dj": 1e-3, "open_bone_direc": 0.1, "hm_integral": 1e-3, "kp_cons": 2e-4, "tsa_poses": 0.1, "mscale": 0.1,
    "texture": 5e-3, "mrgb": 1e-3, "mtex": 5e-3, "triangle": 0.1, "mshape": 1e-2,
    "joint_2d": 1e-4, "joint_3d": 200.0, "vertices": 200.0, "edge": 100.0,
}  # fmt: skip
JOINTS_ONLY = {"joint_3d": 10.0}
_SHAPE = ("tsa_poses", "open_2dj", "mscale", "open_bone_direc")
# the terms each self-supervised stage sums
STAGES = {
    "shape": _SHAPE,
    "kp": ("hm_integral",),
    "finetune": (*_SHAPE, "hm_integral", "kp_cons", "texture", "mtex"),
    "e2e": (*_SHAPE, "hm_integral", "kp_cons", "triangle", "mshape", "texture", "mtex", "mrgb"),
}
MANO_BONE = 0.0282  # metres, from joint 9 to joint 10
# limits of MANO's axis-angles, degrees: twist, spread, bend of the 15 finger joints in MANO's order
_MCP, _PINKY_MCP = ((-5, -10, -10), (5, 10, 100)), ((-20, -10, -10), (5, 20, 100))
_BEYOND = ((-5, -5, -10), (5, 5, 100))
_THUMB = (((0, -22.5, -22.5), (90, 33.75, 22.5)), ((-5, -5, -22.5), (5, 5, 22.5)), ((-5, -5, -20), (5, 5, 100)))
_LIMITS = (*((_MCP, _BEYOND, _BEYOND) * 2), _PINKY_MCP, _BEYOND, _BEYOND, _MCP, _BEYOND, _BEYOND, *_THUMB)


def pose_limits() -> tuple[Tensor, Tensor]:
    """Least and greatest axis-angle (16, 3), radians, in MANO's axes and joint order; the root's is near (pi, 0, 0)."""
    low = [(3.13, -0.01, -0.01), *([radians(a) for a in least] for least, _ in _LIMITS)]
    high = [(3.15, 0.01, 0.01), *([radians(a) for a in greatest] for _, greatest in _LIMITS)]
    return torch.tensor(low), torch.tensor(high)


def mano_axes(hand: AnnotationHand) -> Tensor:
    """Rotation (3, 3) from the axes of a right hand's model to MANO's: against the fingers, back of the hand, thumb.

    MANO's axis-angles all turn about the axes of its rest hand, whose fingers point to -x and whose thumb is at +z;
    the limits are given in them. The model's own axes are taken as the nearest ones: the identity for MANO.
    """
    joints = hand.regress_joints(hand.v_template[None])[0].double()
    fingers = joints[MIDDLE_MCP] - joints[WRIST]
    across = joints[5] - joints[17]  # from the little finger's base to the index finger's
    frame = torch.zeros(3, 3)
    frame[0, fingers.abs().argmax()] = -fingers[fingers.abs().argmax()].sign()
    frame[2, across.abs().argmax()] = across[across.abs().argmax()].sign()
    frame[1] = torch.linalg.cross(frame[2], frame[0])
    return frame


def mean_bone(hand: AnnotationHand) -> float:
    """Length, metres, that `mscale` holds the bone from joint 9 to 10 to: MANO's as published, or the mean hand's."""
    if hand.topology == "mano":
        return MANO_BONE
    joints = hand.regress_joints(hand.v_template[None])[0]
    return float((joints[MIDDLE_MCP] - joints[MIDDLE_PIP]).norm())


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """sum(w v) / sum(w), or 0 where all weights are; weights of a shape that broadcasts."""
    weights = weights.expand_as(values)
    return (weights * values).sum() / weights.sum().clamp_min(1e-12)


def soft_distance(distance: Tensor) -> Tensor:
    """Pixels d -> d^2 / 10 below 5 px, d - 2.5 from there on."""
    return torch.where(distance < 5, distance.square() / 10, distance - 2.5)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Distances (..., P) of points (..., P, 2), with a gradient of zero where they meet."""
    return (a - b).square().sum(-1).clamp_min(1e-12).sqrt()


def open_2dj(projected: Tensor, detected: Tensor, confidence: Tensor) -> Tensor:
    """Projected joints to detected ones, by squared confidence; the wrist counts twofold, tips one and a half.

    Args:
        projected, detected: (B, 21, 2) px.
        confidence: (B, 21) in [0, 1].
    """
    factor = torch.ones(N_JOINTS, device=confidence.device)
    factor[WRIST], factor[list(FINGERTIPS)] = 2.0, 1.5
    return weighted_mean(soft_distance(_distances(projected, detected)), (confidence * factor).square())


def open_bone_direc(projected: Tensor, detected: Tensor, confidence: Tensor) -> Tensor:
    """Squared difference of the 20 bones' directions in the image, by the confidences of both ends; see `open_2dj`."""
    child, parent = np.arange(1, N_JOINTS), JOINT_PARENTS[1:]
    bones = [points[:, child] - points[:, parent] for points in (projected, detected)]
    unit = [bone / (_distances(bone, torch.zeros_like(bone))[..., None] + 1e-4) for bone in bones]
    return (confidence[:, child] * confidence[:, parent] * (unit[0] - unit[1]).square().sum(-1)).mean()


def hm_integral(keypoints: Tensor, detected: Tensor, confidence: Tensor) -> Tensor:
    """Keypoints of all stacks (stacks, B, 21, 2) px to detected ones, by squared confidence; summed over stacks."""
    return sum(weighted_mean(_distances(stack, detected), confidence.square()) for stack in keypoints)


def kp_cons(keypoints: Tensor, projected: Tensor) -> Tensor:
    """Keypoints of the last stack to projected joints, (B, 21, 2) px each: 2D and 3D agree."""
    return soft_distance(_distances(keypoints, projected)).mean()


def tsa_poses(pose: Tensor, limits: tuple[Tensor, Tensor]) -> Tensor:
    """How far joints turn beyond their limits; bends count twice.

    Args:
        pose: (B, 16, 3) axis-angle in MANO's axes.
        limits: see `pose_limits`.
    """
    beyond = (limits[0] - pose).clamp_min(0) + (pose - limits[1]).clamp_min(0)
    return (beyond * beyond.new_tensor([1.0, 1.0, 2.0])).mean()


def mscale(joints: Tensor, length: float) -> Tensor:
    """Length of the bone from joint 9 to joint 10 of joints (B, 21, 3) to the one given, metres."""
    return ((joints[:, MIDDLE_MCP] - joints[:, MIDDLE_PIP]).norm(dim=-1) - length).abs().mean()


def texture_confidence(confidence: Tensor, dataset: str) -> Tensor:
    """How far a sample's colours are believed (B,), from its joints' confidences (B, 21).

    "ho3d": their mean. "freihand": 1.1 times that, if none is 0.1 or less (the factor is that of the green-screen
    images, the only ones of the released training).
    """
    mean = confidence.mean(1)
    return mean if dataset == "ho3d" else 1.1 * mean * (confidence.amin(1) > 0.1)


def texture(rendered: Tensor, images: Tensor, silhouette: Tensor, belief: Tensor) -> Tensor:
    """Photometric loss: the rendered hand to the image under it, over all pixels and channels.

    Args:
        rendered, images: (B, 3, S, S).
        silhouette: (B, S, S) 1 where the rendered hand is.
        belief: (B,) `texture_confidence`.
    """
    inside = silhouette[:, None]
    return weighted_mean(((rendered - images) * inside).abs(), belief.square()[:, None, None, None])


def mrgb(rendered: Tensor, images: Tensor, silhouette: Tensor, belief: Tensor) -> Tensor:
    """Mean colour of the rendered hand to that of the image under it; see `texture`."""
    means = ((rendered - images) * silhouette[:, None]).mean((2, 3))
    return weighted_mean(means.abs(), belief.square()[:, None])


def mtex(colours: Tensor, belief: Tensor) -> Tensor:
    """Face colours (B, F, 3) further than two standard deviations from their mean, by their distance to it.

    Weighted by twice the belief over its square, as released.
    """
    mean = colours.mean(1, keepdim=True)
    distance = (colours - mean).abs()
    outside = distance * (distance > 2 * colours.std(1, keepdim=True))
    weight = belief[:, None, None].expand_as(outside)
    return (outside * 2 * weight).sum() / weight.square().sum().clamp_min(1e-12)


def triangle(vertices: Tensor, faces: Tensor) -> Tensor:
    """Mean length over vertices of the cotangent Laplacian, whose weights are constants of each mesh.

    (L v)_i = sum over neighbours of (cot a + cot b) / 2 (v_i - v_j), a and b the angles opposite the edge.

    Args:
        vertices: (B, V, 3) metres.
        faces: (F, 3).
    """
    total = torch.zeros_like(vertices)
    corners = [vertices[:, faces[:, k]] for k in range(3)]
    for k in range(3):
        start, end, apex = corners[k], corners[k - 2], corners[k - 1]
        with torch.no_grad():
            sides = start - apex, end - apex
            area = torch.linalg.cross(*sides).norm(dim=-1).clamp_min(1e-12)
            weight = ((sides[0] * sides[1]).sum(-1) / area / 2)[..., None]
        pull = weight * (start - end)
        total = total.index_add(1, faces[:, k], pull).index_add(1, faces[:, k - 2], -pull)
    return total.square().sum(-1).clamp_min(1e-20).sqrt().mean()


def mshape(coefficients: Tensor) -> Tensor:
    """Mean square of the shape coefficients (B, 10)."""
    return coefficients.square().mean()


def joint_2d(projected: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Squared error of projected joints (B, 21, 2) px, averaged over coordinates; weight (B, 21)."""
    return functional.mse_loss(projected, truth, reduction="none").mul(weight[..., None]).mean()


def pose_weight(epoch: int) -> float:
    """Weight of HiFiHR's pose regulariser: 0.01, from epoch 10 on 0.001, from epoch 20 on 0.00001; epochs from 0."""
    return 0.01 if epoch < 10 else 0.001 if epoch < 20 else 1e-5
