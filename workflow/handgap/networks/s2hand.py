"""S2HAND with full supervision (Chen et al., CVPR 2021; supervised as in its PyTorch descendant HiFiHR).

The encoder's pooled features go through two shared layers to five branches: hand-model pose and shape coefficients,
translation, rotation and scale. Readings of what the sources leave open:

- *Shape* is predicted and regularised as the paper says (the released code fixes it to zero).
- *Translation* is that of a canonical camera whose focal length equals the crop's edge; the depth in front of the
  crop's own camera is that times focal / edge. A crop does not show its focal length, its projection does not need it.
- *Losses*: L1 on joints, vertices and projected joints, quadratic on pose and shape coefficients.
"""

from math import pi

import torch
from torch import Tensor, nn

from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.kinematics import rotation_matrices
from handgap.networks.backbone import Backbone
from handgap.networks.base import HandNetwork, Prediction, point_l1, root_relative

N_POSE, N_SHAPE = 30, 10
# the published start, 0.65 m in front of the camera, is meant for uncropped images; at 0.25 m a hand fills the crop
MEAN_DEPTH, MEAN_SCALE = 0.25, 0.95
WEIGHTS = {"joints": 10.0, "vertices": 10.0, "uv": 1.0, "pose": 1e-4, "shape": 1e-4}


def _branch(*widths: int) -> nn.Sequential:
    """512 -> 128, ReLU, then linear layers of the widths given with nothing between them."""
    layers = [nn.Linear(512, 128), nn.ReLU()]
    sizes = (128, *widths)
    return nn.Sequential(*layers, *(nn.Linear(a, b) for a, b in zip(sizes, widths, strict=False)))


def _start_near(branch: nn.Sequential, bias: tuple[float, ...]) -> None:
    """Small last weights and a fixed bias, so that training starts from one place of the hand before the camera."""
    nn.init.normal_(branch[-1].weight, std=1e-3)
    branch[-1].bias.data = torch.tensor(bias)


class S2Hand(HandNetwork):
    """Encoder -> hand-model parameters -> mesh. See the module's docstring."""

    def __init__(self, backbone: Backbone, annotation_hand: AnnotationHand):
        super().__init__(backbone, annotation_hand)
        self.shared = nn.Sequential(
            nn.Linear(backbone.channels, 1024), nn.BatchNorm1d(1024), nn.ReLU(),
            nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.ReLU(),
        )  # fmt: skip
        self.pose, self.shape = _branch(N_POSE), _branch(N_SHAPE)
        self.trans, self.rot, self.scale = _branch(32, 3), _branch(32, 3), _branch(32, 1)
        _start_near(self.trans, (0.0, 0.0, MEAN_DEPTH))
        _start_near(self.scale, (MEAN_SCALE,))
        self.register_buffer("facing_camera", torch.tensor([pi, 0.0, 0.0]), persistent=False)

    def head(self, features: Tensor, K: Tensor, image_size: int) -> Prediction:
        """Regress the parameters, pose the hand model, project."""
        shared = self.shared(features.mean((2, 3)))
        pose, shape, trans = self.pose(shared), self.shape(shared), self.trans(shared)
        hand = self.annotation_hand
        fingers = hand.pose_from_components(pose)
        posed = hand(torch.cat([self.facing_camera.expand(len(pose), 3), fingers], 1), shape, torch.zeros_like(trans))
        turn = self.scale(shared).abs()[..., None] * rotation_matrices(self.rot(shared)).transpose(1, 2)
        vertices = posed.vertices @ turn
        joints = hand.regress_joints(vertices)
        focal = K[:, :1, 0] / image_size
        depth = torch.cat([trans[:, :2], trans[:, 2:] * focal], 1)
        camera = (joints + depth[:, None]) @ K.transpose(1, 2)
        uv = camera[..., :2] / camera[..., 2:].clamp_min(1e-2) / image_size
        return Prediction(root_relative(joints, joints), root_relative(vertices, joints), uv, pose, shape)

    def loss(self, prediction: Prediction, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """L1 on joints, vertices and 2D joints; squared pose and shape coefficients."""
        terms = {
            "joints": point_l1(prediction.joints, batch["joints"]),
            "vertices": point_l1(prediction.vertices, batch["vertices"]),
            "uv": point_l1(prediction.uv, batch["uv"], batch["uv_weight"]),
            "pose": prediction.pose.square().mean(),
            "shape": prediction.shape.square().mean(),
        }
        terms = {name: WEIGHTS[name] * term for name, term in terms.items()}
        return sum(terms.values()), terms
