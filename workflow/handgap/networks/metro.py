"""METRO (Lin et al., CVPR 2021): a token per joint and coarse vertex, a transformer that gives their places.

A token is a point of the template hand with the image's pooled features. The full mesh is a learned linear map of the
coarse one, the camera another of all points. Readings of what the paper leaves open, and departures:

- *Feed-forward width* (`ffn`): 4 times the block's, the released hand script's; the body model has 3072 throughout.
- *Masked vertex modelling* (`masked`): off, as in the released hand data; 0.05 is the other value its comment names.
- *Coarse mesh* (`coarse_level`): level 2 of the hierarchy, 195 of MANO's 778 vertices.
- *Weights of the losses* (`weights`): 1 each, as in the script released for hands, where squared metres of joints say
  next to nothing beside the 2D terms; the body's script has 1000 for joints and 100 for the rest.
- *Tokens* hold the template in centimetres, the release's in metres: a hundredth of what the pooled features beside it
  weigh, and tokens that are all but alike.
- *Start*: the upsampling starts as the hierarchy's own interpolation, the camera with the whole template in the image,
  layers of less than 1024 channels with larger weights; the release starts all small and at random, and trains long.
- *Joints of the mesh* are those of the labels, not the release's own fingertips; they, not those of the joint tokens,
  are the prediction, as in the released evaluation.
- *2D terms* count all joints alike, those outside the crop too: the release's visibility is 1 throughout.
"""

from collections.abc import Callable

import torch
from scipy import sparse
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional

from handgap.core.config.networks import TransformerNetwork
from handgap.core.conventions import N_JOINTS, WRIST
from handgap.core.errors import ConfigError
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.hierarchy import Hierarchy
from handgap.networks.backbone import Backbone, Pixels
from handgap.networks.base import HandNetwork, Prediction, root_relative
from handgap.networks.transformer import encoder, mask_tokens

MASKED = 0.01  # what a hidden token holds
TOKEN_UNIT = 0.01  # metres, of the template in a token
CAMERA_WIDTH = 150
CAMERA_START = 0.1  # factor on the last weights of the camera: it starts almost the same for all images


def template_points(hand: AnnotationHand, ids: Tensor) -> Tensor:
    """Joints and the vertices `ids` of the hand in its mean pose and shape, relative to the wrist: (21 + N, 3) m."""
    zero = torch.zeros(1, 45)
    pose = hand.full_pose(zero[:, :3], zero, use_pca=False, flat_hand_mean=False)
    vertices = hand(pose, zero[:, :10], zero[:, :3]).vertices
    joints = hand.regress_joints(vertices)
    return (torch.cat([joints, vertices[:, ids]], 1) - joints[:, WRIST])[0]


def weak_perspective(points: Tensor, camera: Tensor) -> Tensor:
    """Points (B, P, 3) through cameras (B, 3): s, tx, ty -> s ((x, y) + t), (B, P, 2); the image spans [-1, 1]."""
    return camera[:, None, :1] * (points[..., :2] + camera[:, None, 1:])


class Metro(HandNetwork):
    """Backbone -> tokens -> points -> mesh and camera. See the module's docstring.

    Args:
        backbone: image encoder.
        annotation_hand: hand model of the labels, whose mean hand is the template.
        hierarchy: of its mesh.
        settings: sizes and masking.

    Raises:
        ConfigError: the hierarchy has no such level.
    """

    published_input = Pixels(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)

    def __init__(
        self, backbone: Backbone, annotation_hand: AnnotationHand, hierarchy: Hierarchy, settings: TransformerNetwork
    ):
        super().__init__(backbone, annotation_hand)
        self.settings = settings
        if settings.coarse_level >= len(hierarchy.levels):
            problem = f"is {settings.coarse_level}, and the mesh hierarchy has {len(hierarchy.levels)} levels"
            raise ConfigError(f"coarse_level of {settings.architecture}", problem, "choose a lower one")
        level = hierarchy.levels[settings.coarse_level]
        self.n_coarse, self.n_points = len(level.ids), N_JOINTS + len(level.ids)
        # not persistent: a file of weights must not carry a licensed hand
        self.register_buffer("coarse", torch.as_tensor(level.ids, dtype=torch.long), persistent=False)
        with torch.no_grad():
            self.register_buffer("template", template_points(annotation_hand, self.coarse), persistent=False)
        self.encoder = encoder(
            backbone.channels + 3,
            settings.widths,
            layers=settings.layers,
            heads=settings.heads,
            ffn=settings.ffn,
            dropout=settings.dropout,
            n_tokens=self.n_points + self._further_tokens(backbone),
            last_between=self._last_between(level.adjacency, settings.widths[-1]),
        )
        self.upsample = nn.Linear(self.n_coarse, hierarchy.sizes[0])
        self.camera_tokens = nn.Linear(3, 1)
        self.camera = nn.Sequential(nn.Linear(self.n_points, CAMERA_WIDTH), nn.Linear(CAMERA_WIDTH, 3))
        with torch.no_grad():
            interpolation = hierarchy.interpolation(settings.coarse_level)
            self.upsample.weight.copy_(torch.as_tensor(interpolation.toarray()))
            self.upsample.bias.zero_()
            self.camera[-1].weight.mul_(CAMERA_START)
            self.camera[-1].bias.copy_(torch.tensor([1 / self.template.abs().max(), 0.0, 0.0]))

    def _further_tokens(self, backbone: Backbone) -> int:
        """How many tokens `tokens` gives besides the points'."""
        return 0

    def _last_between(self, adjacency: sparse.csr_matrix, width: int) -> Callable[[], nn.Module]:
        """What stands in the layers of the last block, tokens of `width`, on the mesh with that adjacency."""
        return nn.Identity

    def tokens(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) -> tokens of the points (B, 21 + N, 3 + C): place in template (cm), pooled features."""
        image = features.mean((2, 3))[:, None].expand(-1, self.n_points, -1)
        tokens = torch.cat([(self.template / TOKEN_UNIT).expand(image.shape[0], -1, -1), image], -1)
        if self.training and self.settings.masked:
            tokens = mask_tokens(tokens, (N_JOINTS, self.n_coarse), self.settings.masked, MASKED)
        return tokens

    def head(self, features: Tensor | dict[str, Tensor], K: Tensor, image_size: int) -> Prediction:
        """Points, full mesh, camera, and the mesh's joints seen by it; the intrinsics are not used."""
        points = self.encoder(self.tokens(features))[:, : self.n_points]
        mesh = self.upsample(points[:, N_JOINTS:].transpose(1, 2)).transpose(1, 2)
        camera = self.camera(self.camera_tokens(points)[..., 0])
        joints = self.annotation_hand.regress_joints(mesh)
        parts = {"joints": points[:, :N_JOINTS], "coarse": points[:, N_JOINTS:], "camera": camera}
        parts |= {"mesh": mesh, "mesh_joints": joints}
        uv = (weak_perspective(joints, camera) + 1) / 2
        return Prediction(root_relative(joints, joints), root_relative(mesh, joints), uv, parts=parts)

    def loss(self, prediction: Prediction, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Squares of joints in 3D (from the wrist) and 2D (in [-1, 1]), L1 of both meshes; all means over entries.

        Joints count twice, as tokens and as the mesh's.
        """
        parts, wrist = prediction.parts, slice(WRIST, WRIST + 1)
        joints = batch["joints"] - batch["joints"][:, wrist]
        vertices = batch["vertices"] - batch["joints"][:, wrist]
        uv, factor = 2 * batch["uv"] - 1, self.settings.weights
        terms = {
            "coarse": factor.vertices / 2 * functional.l1_loss(parts["coarse"], vertices[:, self.coarse]),
            "vertices": factor.vertices / 2 * functional.l1_loss(parts["mesh"], vertices),
        }
        for prefix in ("", "mesh_"):
            found = parts[f"{prefix}joints"]
            projected = weak_perspective(found, parts["camera"])
            terms[f"{prefix}joints"] = factor.joints * functional.mse_loss(found - found[:, wrist], joints)
            terms[f"{prefix}uv"] = factor.uv * functional.mse_loss(projected, uv)
        return sum(terms.values()), terms
