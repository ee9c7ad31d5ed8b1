"""S2HAND's texture and light net: one colour a face and the light, from an early map of the encoder's features.

Readings of what the sources leave open: maps of other sizes than the published 56 x 56 are resized to it, so that any
crop will do; ReLU between the linear layers; the light starts as the neural renderer's own default, white, half
ambient, half directional, from the camera; its intensities and colours are absolute values, its direction is made a
unit vector. Light from the camera falls along z, so the direction towards it is (0, 0, -1).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from handgap.core.conventions import N_ANNOTATION_FACES
from handgap.networks.renderer import Light

EDGE = 56  # of the map of features
MEAN_COLOUR = tuple(value / 256 for value in (200, 150, 150))
# ambient and directional intensity, their colours, direction
FIRST_LIGHT = (0.5, 0.5, *(1.0,) * 6, 0.0, 0.0, -1.0)


class SkinNet(nn.Module):
    """Features (B, channels, h, h) -> colours of faces and light; 0.515 M parameters behind 32 channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.shared = nn.Sequential(
            nn.Conv2d(channels, 48, 10, stride=4, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(48, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.colours = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 3 * N_ANNOTATION_FACES))
        self.light = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, len(FIRST_LIGHT)))
        for name, value in self.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(value, std=1e-3)
            else:
                nn.init.zeros_(value)
        self.light[-1].bias.data = torch.tensor(FIRST_LIGHT)
        self.register_buffer("mean_colour", torch.tensor(MEAN_COLOUR), persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Light]:
        """Features (B, channels, h, h) -> colours (B, 1538, 3), tanh of the mean colour plus a change each; light."""
        if features.shape[-1] != EDGE:
            features = functional.interpolate(features, size=(EDGE, EDGE), mode="bilinear", align_corners=False)
        shared = self.shared(features)
        colours = (self.mean_colour + self.colours(shared).unflatten(1, (-1, 3))).tanh()
        values = self.light(shared)
        intensity, tint = values[:, :2].abs(), values[:, 2:8].abs()
        direction = functional.normalize(values[:, 8:], dim=-1)
        return colours, Light(intensity[:, :1] * tint[:, :3], intensity[:, 1:] * tint[:, 3:], direction)
