"""Spiral convolution and the mesh decoder made of it (Gong et al., ICCVW 2019; CMR, Chen et al., CVPR 2021)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from handgap.core.errors import ConfigError
from handgap.hands.hierarchy import Hierarchy


def upsample(features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Features (M, B, C) of the coarser mesh -> (N, B, C): weighted sums (N, 3) of those at the indices (N, 3)."""
    return (features[indices] * weights[..., None, None]).sum(1)


class SpiralConv(nn.Module):
    """A linear layer on the features along the first `length` vertices of every spiral; Xavier start, zero bias.

    Args:
        channels, out: width of the features that come in and go out.
        length: vertices of the spiral that it sees; 1 is the vertex alone.
    """

    def __init__(self, channels: int, out: int, length: int):
        super().__init__()
        self.length = length
        self.linear = nn.Linear(length * channels, out)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor, spirals: Tensor) -> Tensor:
        """Features (N, B, channels), spirals (N, at least `length`) -> (N, B, out)."""
        n = len(features)
        # each place along the spiral has a matrix of its own; all are applied before vertices are gathered, because
        # what comes out is narrower than what goes in
        matrices = self.linear.weight.unflatten(1, (self.length, -1)).transpose(0, 1).flatten(0, 1)
        seen = functional.linear(features, matrices).unflatten(-1, (self.length, -1)).permute(2, 0, 1, 3)
        places = spirals[:, : self.length] + n * torch.arange(self.length, device=spirals.device)
        return seen.flatten(0, 1)[places].sum(1) + self.linear.bias


class InceptionSpiral(nn.Module):
    """CMR's inception spiral module: one vertex, plus a third, two thirds and all of the spiral side by side; ReLU."""

    def __init__(self, channels: int, out: int, length: int):
        super().__init__()
        self.vertex = SpiralConv(channels, out, 1)
        wide = ((length, out // 2), (length * 2 // 3, out // 4), (length // 3, out // 4))
        self.around = nn.ModuleList(SpiralConv(channels, width, part) for part, width in wide)

    def forward(self, features: Tensor, spirals: Tensor) -> Tensor:
        """Features (N, B, channels), spirals (N, length) -> (N, B, out)."""
        around = torch.cat([conv(features, spirals) for conv in self.around], -1)
        return torch.relu(self.vertex(features, spirals) + around)


class LatentAttention(nn.Module):
    """Attention among the entries of one vector: x + gamma softmax(q k^T) v, gamma starting at zero."""

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, latent: Tensor) -> Tensor:
        """(B, width) -> (B, width)."""
        affinity = (self.query(latent)[:, :, None] * self.key(latent)[:, None]).softmax(-1)
        return latent + self.gamma * (affinity @ self.value(latent)[:, :, None])[..., 0]


class SpiralDecoder(nn.Module):
    """A latent vector -> meshes of ever finer levels.

    The vector becomes features on the coarsest mesh. A level upsamples them, convolves them and reads vertices off
    them, of which it takes the mean with the upsampled vertices of the level before; these join the features.

    Args:
        latent: width of the vector.
        channels: width of the features on each level, coarse to fine; one upsampling each.
        length: of the spirals.
        hierarchy: meshes and spirals.
        attention: whether `LatentAttention` comes first.

    Raises:
        ConfigError: the hierarchy has too few levels or too short spirals.
    """

    def __init__(self, latent: int, channels: tuple[int, ...], length: int, hierarchy: Hierarchy, attention: bool):
        super().__init__()
        top = len(channels)
        if top > len(hierarchy.links) or length > hierarchy.levels[0].spirals.shape[1]:
            problem = f"{top} levels with spirals of {length}, and the mesh hierarchy has less"
            raise ConfigError("channels and spiral_length of cmr", problem, "ask for fewer, or make a larger hierarchy")
        self.levels = range(top - 1, -1, -1)
        for level in self.levels:
            link, spirals = hierarchy.links[level], hierarchy.levels[level].spirals
            self._constant(f"spirals{level}", torch.as_tensor(spirals[:, :length], dtype=torch.long))
            self._constant(f"indices{level}", torch.as_tensor(link.up_vertices, dtype=torch.long))
            self._constant(f"weights{level}", torch.as_tensor(link.up_weights, dtype=torch.float32))
        self.n_coarsest, self.width = hierarchy.sizes[top], channels[0]
        self.attention = LatentAttention(latent) if attention else nn.Identity()
        self.spread = nn.Linear(latent, self.n_coarsest * self.width)
        entering = (channels[0], *(width + 3 for width in channels[:-1]))
        pairs = zip(entering, channels, strict=True)
        self.blocks = nn.ModuleList(InceptionSpiral(into, out, length) for into, out in pairs)
        self.heads = nn.ModuleList(SpiralConv(width, 3, length) for width in channels)

    def _constant(self, name: str, value: Tensor) -> None:
        # part of the template, not of what is learned: a file of weights must not carry a licensed mesh
        self.register_buffer(name, value, persistent=False)

    def forward(self, latent: Tensor) -> list[Tensor]:
        """(B, latent) -> vertices (B, N_k, 3) of levels top - 1, ..., 0."""
        features = self.spread(self.attention(latent)).view(-1, self.n_coarsest, self.width)
        features = features.transpose(0, 1)  # a vertex's features lie together for the batch: gathered in one piece
        meshes: list[Tensor] = []
        for level, block, head in zip(self.levels, self.blocks, self.heads, strict=True):
            spirals, indices, weights = (getattr(self, f"{name}{level}") for name in ("spirals", "indices", "weights"))
            if meshes:
                features = torch.cat([features, meshes[-1]], -1)
            features = block(upsample(features, indices, weights), spirals)
            mesh = head(features, spirals)
            meshes.append((mesh + upsample(meshes[-1], indices, weights)) / 2 if meshes else mesh)
        return [mesh.transpose(0, 1) for mesh in meshes]
