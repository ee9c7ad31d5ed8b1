"""From settings to a network."""

from pathlib import Path

from handgap.core.config.networks import CmrNetwork, GraphormerNetwork, MetroNetwork, Network, S2HandNetwork
from handgap.core.errors import ConfigError
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.hierarchy import Hierarchy
from handgap.networks.backbone import Backbone
from handgap.networks.base import HandNetwork
from handgap.networks.cascade import MapCascade
from handgap.networks.cmr import Cmr
from handgap.networks.graphormer import Graphormer
from handgap.networks.metro import Metro
from handgap.networks.s2hand import S2Hand, S2HandKeypoints
from handgap.networks.simplehand import SimpleHand


def build(
    network: Network,
    annotation_hand: AnnotationHand,
    weights: Path | None,
    image_size: int,
    hierarchy: Hierarchy | None = None,
) -> HandNetwork:
    """Make a network with freshly initialised heads (from torch's global generator: seed it first).

    Args:
        network: its settings.
        annotation_hand: hand model of the labels.
        weights: ImageNet weights of the backbone, or None for a random start.
        image_size: edge of the square input, px.
        hierarchy: of the annotation hand's mesh, for networks whose settings have `needs_hierarchy`.

    Raises:
        ConfigError, MissingAssetError, CorruptFileError: see `Backbone`.
        ConfigError: the network needs a hierarchy and there is none, or it does not fit (see `Cmr` and `Metro`).
    """
    if network.needs_hierarchy and hierarchy is None:
        raise ConfigError("--hierarchy", f"{network.architecture} is built on a mesh hierarchy", "give its file")

    def backbone(kind: type[HandNetwork], classifier: bool = False, drop_path: float = 0.0) -> Backbone:
        pixels = kind.published_input if network.input == "published" else None
        return Backbone(network.backbone, weights, image_size, classifier, pixels, drop_path)

    match network:
        case CmrNetwork():
            count = MapCascade.stages(network.variant)
            return Cmr([backbone(Cmr, k == count - 1) for k in range(count)], annotation_hand, hierarchy, network)
        case MetroNetwork():
            return Metro(backbone(Metro), annotation_hand, hierarchy, network)
        case GraphormerNetwork():
            return Graphormer(backbone(Graphormer), annotation_hand, hierarchy, network)
        case S2HandNetwork():
            if network.stage == "kp":
                return S2HandKeypoints(annotation_hand, network)
            return S2Hand(backbone(S2Hand), annotation_hand, network)
        case _:
            return SimpleHand(backbone(SimpleHand, drop_path=network.drop_path), annotation_hand)
