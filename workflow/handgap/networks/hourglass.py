"""Heatmap branch of S2HAND: stacked hourglasses (Newell et al., ECCV 2016) with pre-activation residual modules.

Published size: 2 stacks, 4 levels, 2 residual modules a level, 256 features; 12.58 M parameters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from handgap.core.config.networks import HourglassSize
from handgap.core.conventions import N_JOINTS

STEM_STRIDE = 4  # image px a heatmap px


class Residual(nn.Module):
    """Pre-activation bottleneck of half the width; a 1x1 convolution on the skip where the width changes."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        half = out // 2
        self.inside = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, half, 1),
            nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1),
            nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, out, 1),
        )  # fmt: skip
        self.skip = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, out, h, w)."""
        return self.inside(features) + self.skip(features)


def _residuals(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(width, width) for _ in range(count)))


class Hourglass(nn.Module):
    """One hourglass: halve the map `depth` times, double it again, add what each level kept.

    Args:
        depth: levels.
        modules: residual modules at each place.
        width: of the features.
    """

    def __init__(self, depth: int, modules: int, width: int):
        super().__init__()
        self.beside, self.down, self.up = (_residuals(width, modules) for _ in range(3))
        self.inner = Hourglass(depth - 1, modules, width) if depth > 1 else _residuals(width, modules)

    def forward(self, features: Tensor) -> Tensor:
        """(B, width, h, w), h and w multiples of 2^depth -> the same shape."""
        below = self.up(self.inner(self.down(functional.max_pool2d(features, 2))))
        return self.beside(features) + functional.interpolate(below, scale_factor=2)


def soft_argmax(maps: Tensor, scale: int) -> Tensor:
    """Expected place under the softmax of maps made larger bilinearly.

    Args:
        maps: (B, J, h, w) logits.
        scale: how many times larger.

    Returns:
        (B, J, 2) px of the larger map, a pixel's centre at integer + 0.5.
    """
    larger = functional.interpolate(maps, scale_factor=scale, mode="bilinear", align_corners=False)
    height, width = larger.shape[-2:]
    share = larger.flatten(2).softmax(-1).unflatten(2, (height, width))
    x = share.sum(2) @ (torch.arange(width, device=maps.device, dtype=maps.dtype) + 0.5)
    y = share.sum(3) @ (torch.arange(height, device=maps.device, dtype=maps.dtype) + 0.5)
    return torch.stack([x, y], -1)


class HeatmapBranch(nn.Module):
    """Image -> 21 heatmaps of each stack -> 2D joints.

    Args:
        size: stacks, depth, modules, features.
    """

    def __init__(self, size: HourglassSize):
        super().__init__()
        width, stacks = size.features, size.stacks
        self.multiple = STEM_STRIDE << size.depth
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 4, 7, stride=2, padding=3), nn.BatchNorm2d(width // 4), nn.ReLU(),
            Residual(width // 4, width // 2), nn.MaxPool2d(2),
            Residual(width // 2, width // 2), Residual(width // 2, width),
        )  # fmt: skip
        self.hourglasses = nn.ModuleList(
            nn.Sequential(
                Hourglass(size.depth, size.modules, width), _residuals(width, size.modules),
                nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(),
            )
            for _ in range(stacks)
        )  # fmt: skip
        self.maps = nn.ModuleList(nn.Conv2d(width, N_JOINTS, 1) for _ in range(stacks))
        self.from_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(stacks - 1))
        self.from_maps = nn.ModuleList(nn.Conv2d(N_JOINTS, width, 1) for _ in range(stacks - 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] -> heatmap logits of each stack (stacks, B, 21, h, h).

        The image less 0.5 is padded with zeros at right and bottom to what the levels divide (224 -> 256).
        """
        pad = -images.shape[-1] % self.multiple
        features = self.stem(functional.pad(images - 0.5, (0, pad, 0, pad)))
        maps = []
        for index, (hourglass, to_maps) in enumerate(zip(self.hourglasses, self.maps, strict=True)):
            inside = hourglass(features)
            maps.append(to_maps(inside))
            if index < len(self.from_maps):
                features = features + self.from_features[index](inside) + self.from_maps[index](maps[-1])
        return torch.stack(maps)


def keypoints_of(maps: Tensor, image_size: int) -> Tensor:
    """Logits (stacks, B, 21, h, h) of images of `image_size` px -> joints (stacks, B, 21, 2), share of their edge."""
    return soft_argmax(maps.flatten(0, 1), STEM_STRIDE).unflatten(0, maps.shape[:2]) / image_size
