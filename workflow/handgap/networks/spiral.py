"""Spiral convolution and the mesh decoder made of it (Gong et al., ICCVW 2019; CMR, Chen et al., CVPR 2021)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from handgap.core.errors import ConfigError
from handgap.hands.hierarchy import Hierarchy


def spiral_neighbours(features: Tensor, spirals: Tensor) -> Tensor:
    """Features (B, N, C) along the spiral (N, L) of every vertex -> (B, N, L, C)."""
    return features[:, spirals]


def upsample(features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Features (B, M, C) of the coarser mesh -> (B, N, C): weighted sums (N, 3) of those at the indices (N, 3)."""
    return (features[:, indices] * weights[..., None]).sum(2)


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

    def forward(self, neighbours: Tensor) -> Tensor:
        """(B, N, at least `length`, channels), see `spiral_neighbours` -> (B, N, out)."""
        return self.linear(neighbours[:, :, : self.length].flatten(2))


class InceptionSpiral(nn.Module):
    """CMR's inception spiral module: one vertex, plus a third, two thirds and all of the spiral side by side; ReLU."""

    def __init__(self, channels: int, out: int, length: int):
        super().__init__()
        self.vertex = SpiralConv(channels, out, 1)
        wide = ((length, out // 2), (length * 2 // 3, out // 4), (length // 3, out // 4))
        self.around = nn.ModuleList(SpiralConv(channels, width, part) for part, width in wide)

    def forward(self, neighbours: Tensor) -> Tensor:
        """(B, N, length, channels) -> (B, N, out)."""
        # stretch by stretch: one product for all that see it, where slices for each would be copied and zero-filled
        ends = [conv.linear.in_features for conv in self.around]
        begins = [*ends[1:], 0]
        stretches = neighbours.flatten(2).split([b - a for a, b in zip(begins, ends, strict=True)][::-1], -1)
        total = self.vertex(neighbours) + torch.cat([conv.linear.bias for conv in self.around])
        for stretch, begin, end in zip(stretches, reversed(begins), reversed(ends), strict=True):
            seeing = [conv.linear.weight[:, begin:end] for conv in self.around if conv.linear.in_features >= end]
            found = functional.linear(stretch, torch.cat(seeing))
            total = total + functional.pad(found, (0, total.shape[-1] - found.shape[-1]))
        return torch.relu(total)


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
        meshes: list[Tensor] = []
        for level, block, head in zip(self.levels, self.blocks, self.heads, strict=True):
            spirals, indices, weights = (getattr(self, f"{name}{level}") for name in ("spirals", "indices", "weights"))
            if meshes:
                features = torch.cat([features, meshes[-1]], -1)
            features = block(spiral_neighbours(upsample(features, indices, weights), spirals))
            mesh = head(spiral_neighbours(features, spirals))
            meshes.append((mesh + upsample(meshes[-1], indices, weights)) / 2 if meshes else mesh)
        return meshes
