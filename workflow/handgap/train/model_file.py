"""The file of a trained network: settings and weights, loadable without running code of its own."""

import io
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import ValidationError

from handgap.core.config.base import problems
from handgap.core.config.networks import NETWORK, Network
from handgap.core.errors import ConfigError, CorruptFileError, MissingAssetError
from handgap.core.files import written_whole
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.hierarchy import Hierarchy
from handgap.networks.base import HandNetwork
from handgap.networks.build import build

FORMAT = 1
KEYS = {"network", "image_size", "box_expansion", "provenance", "weights"}
CURE = "if the workflow made it, delete it and run snakemake again: only it is made anew; if not, name another file"

RETRAIN = "train it again: its code has changed since"


def write_torch(path: Path, content: dict) -> None:
    """Write tensors and plain values in torch's format, whole or not at all.

    Raises:
        DiskFullError: no room left.
    """
    buffer = io.BytesIO()  # torch's own writer does not tell a full disk from any other failure
    torch.save(content, buffer)
    with written_whole(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_torch(path: Path, device: torch.device | str = "cpu") -> object:
    """Read what `write_torch` wrote, its tensors onto a device; nothing in the file is run.

    Raises:
        MissingAssetError: no such file.
        CorruptFileError: the file is not readable, or more than tensors and plain values.
    """
    if not path.is_file():
        raise MissingAssetError(path, "no such model", f"train it: snakemake {path}")
    if not zipfile.is_zipfile(path):  # torch takes it for one of its old formats, and fails in any way
        raise CorruptFileError(path, "not a readable model, or cut off", CURE)
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise CorruptFileError(path, f"not a readable model ({error})", CURE) from error


def save_model(
    path: Path,
    network: HandNetwork,
    settings: Network,
    image_size: int,
    box_expansion: float,
    provenance: dict[str, str | int | list[str]],
) -> None:
    """Write a trained network, whole or not at all.

    Args:
        path: the file.
        network: the trained network; the hand model it decodes with is left out.
        settings: what it was built from.
        image_size: edge of its input, px.
        box_expansion: edge of its crop over that of the tight square around the joints.
        provenance: study, seeds, code and config hashes, digests of the shards.

    Raises:
        DiskFullError: no room left.
    """
    content = {
        "format": FORMAT,
        "network": settings.model_dump(mode="json"),
        "image_size": image_size,
        "box_expansion": box_expansion,
        "provenance": provenance,
        "weights": {name: value.cpu() for name, value in network.weights().items()},
    }
    write_torch(path, content)


def start_from(network: HandNetwork, paths: Sequence[Path]) -> None:
    """Take over every tensor of trained networks whose name and shape the network has, those of later files last.

    Raises:
        ConfigError: a file has no such tensor.
        MissingAssetError, CorruptFileError: see `load_model`.
    """
    own = network.weights()
    for path in paths:
        given = network.renamed(_read(path)["weights"])
        fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
        if not fitting:
            raise ConfigError(f"initial model {path}", "nothing in it fits this network", "name one that shares a part")
        own |= fitting
    network.load(own)


def load_model(
    path: Path, annotation_hand: AnnotationHand, hierarchy: Hierarchy | Callable[[], Hierarchy] | None = None
) -> tuple[HandNetwork, int, float, dict]:
    """Read a trained network.

    Args:
        path: the file.
        annotation_hand: hand model of the labels.
        hierarchy: of its mesh, or how to get it, for networks that are built on one.

    Returns:
        The network in evaluation mode, the edge of its input (px), the expansion of its crop, its provenance.

    Raises:
        MissingAssetError: no such file.
        CorruptFileError: the file is no model of this format, or of a network that is another one now.
        ConfigError: the network is built on a mesh hierarchy and there is none.
    """
    content = _read(path)
    try:
        settings = NETWORK.validate_python(content["network"])
    except ValidationError as error:
        raise CorruptFileError(path, f"settings of a network of other code ({problems(error)})", RETRAIN) from error
    if callable(hierarchy):
        hierarchy = hierarchy() if settings.needs_hierarchy else None
    network = build(settings, annotation_hand, None, content["image_size"], hierarchy)
    try:
        network.load(content["weights"])
    except RuntimeError as error:
        problem = f"its weights do not fit the network it describes ({str(error).splitlines()[0]})"
        raise CorruptFileError(path, problem, RETRAIN) from error
    return network.eval(), content["image_size"], content["box_expansion"], content["provenance"]


def _read(path: Path) -> dict:
    """What `save_model` wrote."""
    content = read_torch(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT or not content.keys() >= KEYS:
        raise CorruptFileError(path, f"not a model of format {FORMAT}", CURE)
    return content
