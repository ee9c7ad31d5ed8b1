"""A trained network from its file, with the hand model and the mesh hierarchy it was trained on."""

from pathlib import Path
from typing import NamedTuple

from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.hierarchy import Hierarchy
from handgap.networks.base import HandNetwork
from handgap.train.model_file import load_model


class Checkpoint(NamedTuple):
    """A network in evaluation mode, and the crops it takes."""

    network: HandNetwork
    image_size: int  # edge of its input, px
    expansion: float  # edge of its crop over that of the tight square around the joints
    provenance: dict[str, object]  # what it was trained from


def load_checkpoint(path: Path, annotation_hand: Path) -> Checkpoint:
    """Read a trained network.

    Args:
        path: the file.
        annotation_hand: hand model of its labels (.npz); the mesh hierarchy, for networks that are built on one, lies
            beside it under the name that the workflow gives it.

    Raises:
        MissingAssetError: one of these files is absent.
        CorruptFileError: one of them is not what it should be (see `load_model`).
    """
    hand = AnnotationHand.load(annotation_hand)
    meshes = annotation_hand.with_name(f"{annotation_hand.stem}_hierarchy.npz")
    return Checkpoint(*load_model(path, hand, lambda: Hierarchy.load(meshes)))
