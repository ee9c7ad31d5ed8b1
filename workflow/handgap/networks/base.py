"""What every pose network gives and takes, so that training and evaluation need not know which one it is."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from handgap.core.conventions import MIDDLE_MCP
from handgap.hands.annotation_hand import AnnotationHand
from handgap.networks.backbone import Pixels

PUBLISHED_EDGE = 224  # px, of the images that all five networks were published with


class Prediction(NamedTuple):
    """A batch of hands in the camera frame of the crop, relative to the middle finger's MCP joint (index 9)."""

    joints: Tensor  # (B, 21, 3) metres, simple order
    vertices: Tensor  # (B, 778, 3) metres
    uv: Tensor  # (B, 21, 2) share of the crop's edge
    pose: Tensor | None = None  # (B, n) pose coefficients of networks that predict a hand model's parameters
    shape: Tensor | None = None  # (B, 10) shape coefficients of the same
    parts: dict[str, Tensor] | None = None  # what else a network's own loss looks at, by name


def point_l1(predicted: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """L1 distance summed over coordinates, averaged over points and batch.

    Args:
        predicted, truth: (B, P, D).
        weight: (B, P) or (B, 1), or None for ones.
    """
    distance = (predicted - truth).abs().sum(-1)
    return (distance if weight is None else distance * weight).mean()


def edge_loss(predicted: Tensor, truth: Tensor, faces: Tensor) -> Tensor:
    """Mean |difference| in length of the three edges of each face.

    Args:
        predicted, truth: (B, V, 3).
        faces: (F, 3).
    """
    lengths = [(points[:, faces] - points[:, faces.roll(1, 1)]).norm(dim=-1) for points in (predicted, truth)]
    return (lengths[0] - lengths[1]).abs().mean()


class HandNetwork(nn.Module, ABC):
    """Base of all pose networks: a backbone under the ambient precision, a head in full precision.

    Args:
        backbone: image encoder: a `Backbone`, or what a network makes of several.
        annotation_hand: hand model of the labels; its buffers are not part of `weights()`.
    """

    published_input: ClassVar[Pixels]  # what the released code feeds its backbone

    def __init__(self, backbone: nn.Module, annotation_hand: AnnotationHand):
        super().__init__()
        self.backbone = backbone
        self.annotation_hand = annotation_hand

    def forward(self, images: Tensor, K: Tensor, for_loss: bool = False) -> Prediction:
        """Predict hands.

        Args:
            images: (B, 3, S, S) RGB in [0, 1].
            K: (B, 3, 3) intrinsics of the crops, px.
            for_loss: with all that `loss` looks at, also where the hand itself does not depend on it.
        """
        features = self.encode_for_loss(images) if for_loss else self.encode(images)
        with torch.autocast(images.device.type, enabled=False):
            if isinstance(features, dict):
                features = {name: value.float() for name, value in features.items()}
            else:
                features = features.float()
            return self.head(features, K, images.shape[-1])

    def encode(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Images (B, 3, S, S) in [0, 1] -> what the head takes: a map of features, or several tensors by name."""
        return self.backbone(images)

    def encode_for_loss(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """As `encode`, with what only the loss looks at."""
        return self.encode(images)

    @abstractmethod
    def head(self, features: Tensor | dict[str, Tensor], K: Tensor, image_size: int) -> Prediction:
        """What `encode` gave and intrinsics (B, 3, 3) of crops of `image_size` px -> hands."""

    @abstractmethod
    def loss(self, prediction: Prediction, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss and its weighted terms by name.

        Args:
            prediction: what `forward` gave for the batch.
            batch: labels: ``joints`` (B, 21, 3), ``vertices`` (B, 778, 3), ``uv`` (B, 21, 2),
                ``uv_weight`` (B, 21); ``mask`` (B, S, S) for networks whose settings have `needs_masks`.
        """

    def begin_epoch(self, epoch: int) -> None:
        """Told before each epoch of training, counted from 0, for losses that change with it."""

    def weights(self) -> dict[str, Tensor]:
        """State without the hand model: what a file of this network holds (a licensed hand must not travel in it)."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("annotation_hand.")}

    def renamed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of another network, under the names that they have in this one where it would start from them."""
        return weights

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take over what `weights()` gave.

        Raises:
            RuntimeError: names or shapes differ.
        """
        hand = {f"annotation_hand.{k}": v for k, v in self.annotation_hand.state_dict().items()}
        self.load_state_dict({**weights, **hand})


def root_relative(points: Tensor, joints: Tensor) -> Tensor:
    """Points (B, P, 3) relative to joint 9 of joints (B, 21, 3)."""
    return points - joints[:, MIDDLE_MCP : MIDDLE_MCP + 1]
