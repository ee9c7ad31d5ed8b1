"""CMR's image half: backbones one behind the other, whose heatmaps guide the next (Chen et al., CVPR 2021).

Published with ResNets; here any timm backbone with a stem and a pyramid of features. The stem is shared: the first
backbone's gives the features x0, and later backbones start behind their own (which is taken out of them) from features
mixed out of x0 and the maps so far. Maps have the size of x0: half the image for ResNets, a quarter for ConvNeXts.
"""

import math
from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from handgap.core.conventions import FINGERTIPS, N_JOINTS
from handgap.core.errors import ConfigError
from handgap.networks.backbone import Backbone

Variant = Literal["g", "sg", "pg"]
LATENT = 1000  # the ImageNet classifier is kept, and its output is the latent vector
EMPTY = 0.01  # what a map starts with everywhere
# module names of the stems of timm's models: ResNet and HRNet, EfficientNet and MobileNet, ConvNeXt and RegNet
_STEMS = (("conv1", "bn1", "act1"), ("conv_stem", "bn1"), ("stem",))
# maps summed into a relation map: all pairs of fingertips; the variant "g" adds the five fingers
_PAIRS = tuple((a, b) for i, a in enumerate(FINGERTIPS) for b in FINGERTIPS[i + 1 :])
_FINGERS = tuple(tuple(range(tip - 3, tip + 1)) for tip in FINGERTIPS)
RELATIONS = {"g": _PAIRS + _FINGERS, "sg": _PAIRS, "pg": _PAIRS}


def detach_stem(model: nn.Module) -> nn.Sequential:
    """Take the stem out of a timm model, which from then on expects what the stem would have given.

    Raises:
        ConfigError: no known stem, or no pyramid of features behind it.
    """
    names = next((names for names in _STEMS if all(hasattr(model, name) for name in names)), None)
    if names is None or not hasattr(model, "forward_intermediates"):
        name = model.pretrained_cfg["architecture"]
        raise ConfigError(f"backbone '{name}' for cmr", "has no known stem and pyramid", "choose a resnet or the like")
    stem = nn.Sequential(OrderedDict((name, getattr(model, name)) for name in names))
    for name in names:
        setattr(model, name, nn.Identity())
    return stem


def pyramid(model: nn.Module, start: Tensor) -> list[Tensor]:
    """Features (B, C, h, w) behind a detached stem, deepest first, each larger than the one before, all below `start`.

    The deepest are the final ones, where a model widens its last stage (EfficientNet) widened.
    """
    final, levels = model.forward_intermediates(start)
    chosen = [final]
    for features in reversed(levels):
        if chosen[-1].shape[-1] < features.shape[-1] < start.shape[-1]:
            chosen.append(features)
    return chosen


def _conv(channels: int, out: int, kernel: int, *, relu: bool = True) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU unless it is left out."""
    conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm2d(out), *([nn.ReLU()] if relu else []))


def reduction(channels: int, out: int) -> nn.Sequential:
    """Mixed features (B, channels, h, w) -> what a later backbone starts from (B, out, h, w).

    It starts by handing on the first `out` channels, x0: what the backbone has learnt, it learnt from these.
    """
    wide = 2 * out  # of ResNets the published 128; narrower stems need no more
    layers = nn.Sequential(_conv(channels, channels, 3), _conv(channels, wide, 3), _conv(wide, out, 1, relu=False))
    for conv, norm, *relu in layers:
        nn.init.dirac_(conv.weight)
        if relu:
            nn.init.ones_(norm.bias)  # behind a ReLU, x0 is seldom a deviation below its mean: the next takes little
    return layers


class MapDecoder(nn.Module):
    """A pyramid -> maps as logits: upsampled twofold, joined with the next features, convolved, until x0's size.

    Args:
        widths: channels of the pyramid, deepest first.
        maps: how many maps come out.
    """

    def __init__(self, widths: list[int], maps: int):
        super().__init__()
        skips = widths[1:]
        outs = [*skips, skips[-1]]
        entering = [a + b for a, b in zip([widths[0], *skips], [*skips, 0], strict=True)]
        self.steps = nn.ModuleList(_conv(into, out, 3) for into, out in zip(entering, outs, strict=True))
        self.maps = nn.Conv2d(outs[-1], maps, 3, padding=1)
        # starts with empty maps (RetinaNet, Lin et al. 2017, sec. 4.1): a joint fills little of one, and what is
        # to be emptied first would drown the other losses for an epoch
        nn.init.normal_(self.maps.weight, std=0.01)
        nn.init.constant_(self.maps.bias, math.log(EMPTY / (1 - EMPTY)))

    def forward(self, levels: list[Tensor], size: int) -> Tensor:
        """Features of `pyramid` -> (B, maps, size, size)."""
        features = levels[0]
        for step, skip in zip(self.steps, [*levels[1:], None], strict=True):
            edge = size if skip is None else skip.shape[-1]
            features = functional.interpolate(features, size=(edge, edge), mode="bilinear", align_corners=False)
            features = step(features if skip is None else torch.cat([features, skip], 1))
        return self.maps(features)


class MapCascade(nn.Module):
    """Two backbones (g) or three (sg, pg) in a row.

    Args:
        backbones: as many as `stages(variant)`; the last one has its classifier.
        variant: g: heatmaps, then all; pg: heatmaps twice, then all; sg: silhouette, heatmaps, then all.

    Raises:
        ConfigError: see `detach_stem`.
    """

    def __init__(self, backbones: list[Backbone], variant: Variant):
        super().__init__()
        self.variant, self.first = variant, backbones[0]
        stems = [detach_stem(backbone.model) for backbone in backbones]
        self.stem = stems[0]
        self.trunks = nn.ModuleList(backbone.model for backbone in backbones[1:])
        with torch.no_grad():
            size = self.first.image_size
            start = self.stem.eval()(torch.zeros(1, 3, size, size))
            widths = [level.shape[1] for level in pyramid(self.first.model.eval(), start)]
        self.train()
        n_start, n_relations = start.shape[1], len(RELATIONS[variant])
        n_priors = [1, N_JOINTS] if variant == "sg" else [N_JOINTS] * (len(backbones) - 1)
        entering = [n_start + n_priors[0]] * (len(backbones) - 2) + [n_start + N_JOINTS + n_relations]
        self.reduce = nn.ModuleList(reduction(into, n_start) for into in entering)
        self.decoders = nn.ModuleList(MapDecoder(widths, maps) for maps in [*n_priors, N_JOINTS + 1])

    @staticmethod
    def stages(variant: Variant) -> int:
        """How many backbones a variant has."""
        return 2 if variant == "g" else 3

    def shared_out(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of one timm model, by their names in it -> by the names that they have in the stem and each trunk."""
        places = ["stem", "first.model", *(f"trunks.{index}" for index in range(len(self.trunks)))]
        return {f"{place}.{name}": value for place in places for name, value in weights.items()}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, S, S) in [0, 1] -> the latent vector and all maps, as logits.

        Returns:
            ``latent`` (B, 1000); ``maps`` (B, 22, s, s): joints, then the silhouette; ``prior0``, for three backbones
            ``prior1``: the earlier ones' (B, 21 or 1, s, s).
        """
        start = self.stem(self.first.normalise(images))
        size, model, given, found = start.shape[-1], self.first.model, start, {}
        for index, (trunk, reduce) in enumerate(zip(self.trunks, self.reduce, strict=True)):
            found[f"prior{index}"] = self.decoders[index](pyramid(model, given), size)
            prior = found[f"prior{index}"].sigmoid()
            mixed = [given if self.variant == "sg" and index else start, prior]
            if trunk is self.trunks[-1]:
                mixed.append(torch.stack([prior[:, list(group)].sum(1) for group in RELATIONS[self.variant]], 1))
            model, given = trunk, reduce(torch.cat(mixed, 1))
        levels = pyramid(model, given)
        return {"latent": model.forward_head(levels[0]), "maps": self.decoders[-1](levels, size), **found}
