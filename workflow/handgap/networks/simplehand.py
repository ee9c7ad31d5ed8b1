"""simpleHand (Zhou et al., CVPR 2024): 2D joints pick tokens out of the features, attention turns them into a mesh.

The settings choose where the released code has its own ways. Images (`input`) are normalised the way the backbone's
weights were trained; "published" is the release's BGR / 255 - 0.5, the same for every backbone. `drop_path` is the
backbone's stochastic depth, with which the release trains (0.2).
"""

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional

from handgap.core.conventions import MIDDLE_MCP, N_ANNOTATION_VERTICES, N_JOINTS, WRIST
from handgap.hands.annotation_hand import AnnotationHand
from handgap.networks.backbone import Backbone, Pixels
from handgap.networks.base import HandNetwork, Prediction, point_l1

TOKEN_WIDTH = 256
UPSCALE = 4
# (tokens in, width in, width of the attention, tokens out)
STAGES = ((N_JOINTS, 256, 256, 84), (84, 256, 128, 336), (336, 128, 64, N_ANNOTATION_VERTICES))
WEIGHTS = {"uv": 1.0, "joints": 10.0, "vertices": 10.0}


def sine_position_embedding(width: int, grid: int) -> Tensor:
    """2D sine embedding of a square grid (DETR, Carion et al., ECCV 2020; normalised to 2 pi, temperature 10,000).

    Returns:
        (width, grid, grid): the first half of the channels encodes y, the second x.
    """
    position = torch.arange(1, grid + 1) / grid * 2 * torch.pi
    frequency = 10_000 ** (torch.arange(0, width // 2, 2) / (width // 2))
    angle = position[:, None] / frequency
    wave = torch.stack([angle.sin(), angle.cos()], -1).flatten(1).T
    half = width // 2
    return torch.cat([wave[:, :, None].expand(half, grid, grid), wave[:, None].expand(half, grid, grid)])


class AttentionBlock(nn.Module):
    """Pre-norm attention (4 heads) and MLP (ratio 4), each with a residual; dropout and drop path 0.1."""

    def __init__(self, width: int):
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, dropout=0.1, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop_path = DropPath(0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, width) -> the same shape."""
        normed = self.norm_attention(tokens)
        tokens = tokens + self.drop_path(self.attention(normed, normed, normed, need_weights=False)[0])
        return tokens + self.mlp(self.norm_mlp(tokens))


class MeshStage(nn.Module):
    """One stage of the mesh regressor: position embedding, narrower tokens, attention, more tokens."""

    def __init__(self, tokens_in: int, width_in: int, width: int, tokens_out: int):
        super().__init__()
        self.position = nn.Parameter(nn.init.trunc_normal_(torch.empty(tokens_in, width_in), std=0.02))
        self.narrow = nn.Linear(width_in, width)
        self.block = AttentionBlock(width)
        self.upsample = nn.Linear(tokens_in, tokens_out)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, tokens_in, width_in) -> (B, tokens_out, width)."""
        tokens = self.block(self.narrow(tokens + self.position))
        return self.upsample(tokens.transpose(1, 2)).transpose(1, 2)


class SimpleHand(HandNetwork):
    """Backbone -> 2D joints -> token per joint -> mesh -> joints. See the module's docstring."""

    published_input = Pixels((0.5, 0.5, 0.5), (1.0, 1.0, 1.0), bgr=True)

    def __init__(self, backbone: Backbone, annotation_hand: AnnotationHand):
        super().__init__(backbone, annotation_hand)
        self.uv = nn.Linear(backbone.channels, 2 * N_JOINTS)
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(backbone.channels, TOKEN_WIDTH, UPSCALE, stride=UPSCALE, bias=False),
            nn.BatchNorm2d(TOKEN_WIDTH),
            nn.ReLU(),
        )
        embedding = sine_position_embedding(TOKEN_WIDTH, UPSCALE * backbone.grid)
        self.register_buffer("position", embedding, persistent=False)
        self.stages = nn.Sequential(*(MeshStage(*stage) for stage in STAGES))
        self.coordinates = nn.Linear(STAGES[-1][2], 3)

    def head(self, features: Tensor, K: Tensor, image_size: int) -> Prediction:
        """2D joints, sampled tokens, mesh; the intrinsics are not used."""
        uv = self.uv(features.mean((2, 3))).view(-1, N_JOINTS, 2)
        grid = (2 * uv - 1).clamp(-1, 1)[:, :, None]
        tokens = functional.grid_sample(self.enlarge(features) + self.position, grid, align_corners=True)
        vertices = self.coordinates(self.stages(tokens[..., 0].transpose(1, 2)))
        joints = self.annotation_hand.regress_joints(vertices)
        return Prediction(joints, vertices, uv)

    def loss(self, prediction: Prediction, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """L1 on 2D joints (1) that are in the crop, joints (10) and vertices (10) of hands that are.

        A hand counts as out of the crop if its wrist and its joint 9 are.
        """
        seen = batch["uv_weight"][:, [WRIST, MIDDLE_MCP]].amax(1, keepdim=True)
        terms = {
            "uv": WEIGHTS["uv"] * point_l1(prediction.uv, batch["uv"], batch["uv_weight"]),
            "joints": WEIGHTS["joints"] * point_l1(prediction.joints, batch["joints"], seen),
            "vertices": WEIGHTS["vertices"] * point_l1(prediction.vertices, batch["vertices"], seen),
        }
        return sum(terms.values()), terms
