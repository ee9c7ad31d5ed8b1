"""A trained network as one ONNX graph, compared with torch before it is kept."""

import importlib.util
import logging
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from handgap.core.conventions import JOINT_NAMES, MIDDLE_MCP
from handgap.core.errors import ConfigError, HandgapError, MissingAssetError
from handgap.core.files import written_whole
from handgap.core.seeds import rng
from handgap.hands.annotation_hand import AnnotationHand
from handgap.networks.base import HandNetwork
from handgap.use.checkpoint import Checkpoint

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INPUTS, OUTPUTS = ("image", "K"), ("joints", "vertices", "uv")
OPSET = 18
TOLERANCE = 1e-4  # metres, and share of the crop's edge
TRACED = 2  # batch that the graph is traced with: one would be taken for a constant
TRIED = (1, 3)  # batches that it is compared on


class _Graph(nn.Module):
    """A network whose prediction is a plain tuple."""

    def __init__(self, network: HandNetwork):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        prediction = self.network(image, K)
        return prediction.joints, prediction.vertices, prediction.uv


def require_graph_name(out: Path) -> None:
    """Make sure that a file to write is named as a graph: no checkpoint or folder is lost to a slip.

    Raises:
        ConfigError: it is not.
    """
    if out.suffix != ".onnx" or out.is_dir():
        problem = "is a folder" if out.is_dir() else "no name of a graph"
        raise ConfigError(f"--out {out}", problem, "name a file that ends in .onnx")


def require_packages() -> None:
    """Make sure that what an export needs is installed.

    Raises:
        MissingAssetError: something is not.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        problem = "not installed; an export needs it, nothing else does"
        raise MissingAssetError(", ".join(missing), problem, f"pip install {' '.join(missing)}")


def licence_notice(hand: AnnotationHand) -> str | None:
    """What has to be said of a graph with this hand in it; None of the open one."""
    if hand.topology == "open":
        return None
    return (
        f"the graph contains the licensed hand model ({hand.topology}): whoever gets the file gets that too, "
        "which its licence forbids without its owner's leave"
    )


def describe(checkpoint: Checkpoint) -> dict[str, str]:
    """What the file says of itself: inputs, outputs, units, where it comes from."""
    hand = checkpoint.network.annotation_hand
    return {
        "image": f"(batch, 3, {checkpoint.image_size}, {checkpoint.image_size}) RGB in [0, 1] of a right hand (mirror "
        "left ones); not normalised, the graph does that",
        "K": "(batch, 3, 3) intrinsics of the crop, px; principal point in its middle",
        "crop": f"square, {checkpoint.expansion:g} times the tight square around the hand's joints, by a camera turned "
        "to its centre",
        "crop_expansion": f"{checkpoint.expansion:g}",
        "image_size": str(checkpoint.image_size),
        "units": "metres; uv: share of the crop's edge",
        "frame": "camera of the crop: x right, y down, z forward",
        "root": f"joint {MIDDLE_MCP} ({JOINT_NAMES[MIDDLE_MCP]}), at the origin",
        "joint_order": ",".join(JOINT_NAMES),
        "network": type(checkpoint.network).__name__,
        "hand_model": licence_notice(hand) or "OpenMANO",
        **{key: str(checkpoint.provenance[key]) for key in ("study", "code", "config") if key in checkpoint.provenance},
    }


@contextmanager
def _quiet():
    """Without what torch's exporter says of its own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _random_inputs(batch: int, size: int) -> tuple[Tensor, Tensor]:
    generator = rng(0, "use/onnx", batch)
    K = np.array([[3.0 * size, 0, size / 2], [0, 3.0 * size, size / 2], [0, 0, 1]], np.float32)
    images = generator.random((batch, 3, size, size), np.float32)
    return torch.from_numpy(images), torch.from_numpy(np.repeat(K[None], batch, 0))


def export_onnx(checkpoint: Checkpoint, out: Path) -> dict[str, float]:
    """Write a network as ONNX: inputs `image` and `K`, outputs `joints`, `vertices` and `uv`, any batch size.

    Args:
        checkpoint: the network.
        out: file (.onnx); it is there only if onnxruntime gives what torch gives.

    Returns:
        Largest difference between the two by output, on random inputs.

    Raises:
        MissingAssetError: see `require_packages`.
        ConfigError: see `require_graph_name`.
        HandgapError: the graph gives something else than torch, or the file cannot be written.
        DiskFullError: no room left.
    """
    require_graph_name(out)
    require_packages()
    graph, size = _Graph(checkpoint.network).eval(), checkpoint.image_size
    batch = torch.export.Dim("batch")
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            _random_inputs(TRACED, size),
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=({0: batch}, {0: batch}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # traces with paths of this machine
    program.model.metadata_props.clear()
    program.model.metadata_props.update(describe(checkpoint))
    try:
        with written_whole(out) as temporary:
            program.save(temporary, external_data=False)
            differences = compare(temporary, graph, size)
            if not max(differences.values()) < TOLERANCE:  # so that nan is refused too
                found = ", ".join(f"{name} {value:.2g}" for name, value in differences.items())
                problem = f"not written: the graph differs from torch ({found})"
                raise HandgapError(out, problem, "report it, with the model")
    except OSError as error:
        raise HandgapError(out, f"cannot be written ({error})", "name a place that can, with --out") from error
    return differences


def compare(path: Path, graph: nn.Module, size: int) -> Mapping[str, float]:
    """Largest difference between an ONNX file and its module by output, on random inputs of several batch sizes.

    Args:
        path: the file.
        graph: module of the same inputs and outputs.
        size: edge of the images, px.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    differences = dict.fromkeys(OUTPUTS, 0.0)
    for batch in TRIED:
        inputs = _random_inputs(batch, size)
        found = session.run(OUTPUTS, {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)})
        with torch.no_grad():
            expected = graph(*inputs)
        for name, ours, torchs in zip(OUTPUTS, found, expected, strict=True):
            differences[name] = float(np.maximum(differences[name], np.abs(ours - torchs.numpy()).max()))
    return differences
