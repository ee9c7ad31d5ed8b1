"""MeshGraphormer (Lin et al., ICCV 2021): METRO with tokens of the image's grid and graph convolutions.

As METRO but for: a token per place of the feature map, the features before the backbone's last widening layer; the
feed-forward parts are narrower (`ffn` 2); in each layer of the last block, vertex tokens go through a graph
convolution on the coarse mesh between attention and feed-forward part. The released graph block also holds a linear
layer that it never uses; it is left out here.
"""

from collections.abc import Callable
from math import sqrt

import torch
from scipy import sparse
from torch import Tensor, nn

from handgap.core.config.networks import TransformerNetwork
from handgap.core.conventions import N_JOINTS
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.hierarchy import Hierarchy
from handgap.networks.backbone import Backbone
from handgap.networks.metro import Metro
from handgap.networks.transformer import NORM_EPS


def _linear(channels: int, out: int, limit: float) -> nn.Linear:
    """A linear layer whose weights and bias start as U(-limit, limit)."""
    layer = nn.Linear(channels, out)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -limit, limit)
    return layer


class GraphResidual(nn.Module):
    """Residual block on the vertex tokens: norm, ReLU and linear layer, in the middle a graph convolution.

    Narrowing and widening start almost at zero, so that the block starts as the identity.

    Args:
        width: of the tokens.
        adjacency: of the coarse mesh, (N, N), normalised by rows.
        first: the first vertex token.
    """

    def __init__(self, width: int, adjacency: Tensor, first: int):
        super().__init__()
        half = width // 2
        self.first = first
        self.register_buffer("adjacency", adjacency, persistent=False)
        self.norms = nn.ModuleList(nn.LayerNorm(size, eps=NORM_EPS) for size in (width, half, half))
        self.narrow = _linear(width, half, 1 / (width * half))
        self.convolution = _linear(half, half, 6 / sqrt(half + half))
        self.widen = _linear(half, width, 1 / (half * width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, width) -> the same, the vertices' changed."""
        before, vertices, after = tokens.tensor_split((self.first, self.first + len(self.adjacency)), 1)
        inside = self.narrow(self.norms[0](vertices).relu())
        mixed = self.adjacency @ self.norms[1](inside).relu()
        inside = self.convolution(mixed)
        vertices = vertices + self.widen(self.norms[2](inside).relu())
        return torch.cat([before, vertices, after], 1)


class Graphormer(Metro):
    """METRO's tokens and the grid's -> points -> mesh and camera; arguments and errors as `Metro`."""

    def __init__(
        self, backbone: Backbone, annotation_hand: AnnotationHand, hierarchy: Hierarchy, settings: TransformerNetwork
    ):
        super().__init__(backbone, annotation_hand, hierarchy, settings)
        self.grid = nn.Linear(backbone.narrow_channels, backbone.channels + 3)

    def _further_tokens(self, backbone: Backbone) -> int:
        return backbone.grid**2

    def _last_between(self, adjacency: sparse.csr_matrix, width: int) -> Callable[[], nn.Module]:
        dense = torch.as_tensor(adjacency.toarray(), dtype=torch.float32)
        return lambda: GraphResidual(width, dense, N_JOINTS)

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, S, S) in [0, 1] -> ``features`` (B, C, h, w) and, not yet widened, ``grid`` (B, c, h, w)."""
        features, grid = self.backbone.maps(images)
        return {"features": features, "grid": grid}

    def tokens(self, features: dict[str, Tensor]) -> Tensor:
        """What `encode` gave -> the points' tokens, then the grid's: (B, 21 + N + h w, 3 + C)."""
        return torch.cat(
            [super().tokens(features["features"]), self.grid(features["grid"].flatten(2).transpose(1, 2))], 1
        )
