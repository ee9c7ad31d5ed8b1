"""From settings to a network."""

from pathlib import Path

from handgap.core.config.train import Network
from handgap.hands.annotation_hand import AnnotationHand
from handgap.networks.backbone import Backbone
from handgap.networks.base import HandNetwork
from handgap.networks.s2hand import S2Hand
from handgap.networks.simplehand import SimpleHand

ARCHITECTURES: dict[str, type[HandNetwork]] = {"s2hand": S2Hand, "simplehand": SimpleHand}


def build(network: Network, annotation_hand: AnnotationHand, weights: Path | None, image_size: int) -> HandNetwork:
    """Make a network with freshly initialised heads (from torch's global generator: seed it first).

    Args:
        network: its settings.
        annotation_hand: hand model of the labels.
        weights: ImageNet weights of the backbone, or None for a random start.
        image_size: edge of the square input, px.

    Raises:
        ConfigError, MissingAssetError, CorruptFileError: see `Backbone`.
    """
    backbone = Backbone(network.backbone, weights, image_size)
    return ARCHITECTURES[network.architecture](backbone, annotation_hand)
