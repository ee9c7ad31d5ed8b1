import numpy as np
import pytest
import torch
from handgap.cli import app
from handgap.core.config.networks import (
    CmrNetwork,
    GraphormerNetwork,
    MetroNetwork,
    S2HandNetwork,
    SimpleHandNetwork,
)
from handgap.core.errors import ConfigError, HandgapError, MissingAssetError
from handgap.networks.base import Prediction
from handgap.networks.build import build
from handgap.train.model_file import save_model
from handgap.use import onnx_export
from handgap.use.checkpoint import Checkpoint
from handgap.use.cli import export_model
from handgap.use.onnx_export import INPUTS, OUTPUTS, PACKAGES, describe, export_onnx, licence_notice
from torch import nn
from toy_meshes import toy_hierarchy
from typer.testing import CliRunner

TINY, SIZE = "test_efficientnet", 64
NETWORKS = [
    S2HandNetwork(backbone=TINY),
    SimpleHandNetwork(backbone=TINY),
    CmrNetwork(backbone=TINY, channels=(8, 8), spiral_length=9),
    MetroNetwork(backbone=TINY, widths=(16,), layers=1),
    GraphormerNetwork(backbone=TINY, widths=(16,), layers=1, coarse_level=3),
]


@pytest.fixture(scope="module")
def installed():
    for name in PACKAGES:
        pytest.importorskip(name, reason=f"{name} is not installed: only `handgap export-model` needs it")


def checkpoint_of(settings, hand):
    torch.manual_seed(0)
    network = build(settings, hand, None, SIZE, toy_hierarchy(hand.faces)).eval()
    return Checkpoint(network, SIZE, 1.25, {"study": "test", "code": "c", "config": "k"})


class Plain(nn.Module):
    """Stands in for a network: two linear maps of the mean colour, and 2D joints by the focal length."""

    def __init__(self, hand):
        super().__init__()
        self.annotation_hand = hand
        self.joints, self.vertices = nn.Linear(3, 63), nn.Linear(3, 3 * 778)

    def forward(self, image, K):
        colour = image.mean((2, 3))
        joints, vertices = self.joints(colour).unflatten(1, (21, 3)), self.vertices(colour).unflatten(1, (778, 3))
        return Prediction(joints, vertices, joints[..., :2] / K[:, :1, :1])


@pytest.mark.slow
@pytest.mark.parametrize("settings", NETWORKS, ids=lambda settings: settings.architecture)
def test_the_graph_gives_what_torch_gives_at_any_batch_size(installed, hand, hand_file, tmp_path, settings):
    import onnxruntime

    checkpoint, path = checkpoint_of(settings, hand), tmp_path / "m.onnx"
    toy_hierarchy(hand.faces).save(hand_file.with_name("hand_hierarchy.npz"), {})
    save_model(tmp_path / "model.pt", checkpoint.network, settings, SIZE, 1.25, checkpoint.provenance)
    files = ["--checkpoint", tmp_path / "model.pt", "--annotation-hand", hand_file, "--out", path]
    result = CliRunner().invoke(app, ["export-model", *map(str, files)], catch_exceptions=False)
    assert result.exit_code == 0 and "largest difference from torch: joints" in result.output
    assert "licensed" not in result.output
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == list(INPUTS)
    assert [entry.name for entry in session.get_outputs()] == list(OUTPUTS)
    image = np.random.default_rng(5).random((5, 3, SIZE, SIZE), np.float32)
    K = np.repeat(np.array([[150, 0, 32], [0, 170, 32], [0, 0, 1]], np.float32)[None], 5, 0)
    found = session.run(None, {"image": image, "K": K})
    with torch.no_grad():
        expected = checkpoint.network(torch.from_numpy(image), torch.from_numpy(K))
    for ours, torchs in zip(found, expected[:3], strict=True):
        np.testing.assert_allclose(ours, torchs.numpy(), atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map == describe(checkpoint)
    assert b".py" not in path.read_bytes()  # no trace of the machine that wrote it


@pytest.mark.parametrize("output", ["joints", "vertices"])
def test_a_graph_that_differs_is_refused(installed, hand, tmp_path, monkeypatch, output):
    checkpoint = Checkpoint(Plain(hand), SIZE, 1.25, {})
    assert max(export_onnx(checkpoint, tmp_path / "first.onnx").values()) < 1e-5
    export_onnx(checkpoint, tmp_path / "second.onnx")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    compare = onnx_export.compare

    def after_a_change(path, graph, size):
        getattr(graph.network, output).bias.data += 1e-3
        return compare(path, graph, size)

    monkeypatch.setattr(onnx_export, "compare", after_a_change)
    with pytest.raises(HandgapError, match=rf"m\.onnx: not written: the graph differs from torch.*{output} 0\.001"):
        export_onnx(checkpoint, tmp_path / "m.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"first.onnx", "second.onnx"}


@pytest.mark.parametrize("name", ["model.pt", "folder.onnx"])
def test_a_checkpoint_or_a_folder_is_not_written_over(hand_file, tmp_path, name):
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "model.pt").write_bytes(b"weights")
    with pytest.raises(ConfigError, match=rf"--out .*{name}.*\n.*ends in \.onnx"):
        export_model(tmp_path / "model.pt", tmp_path / name, hand_file)
    assert (tmp_path / "model.pt").read_bytes() == b"weights"


def test_a_place_that_cannot_be_written_is_named(installed, hand, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(HandgapError, match=r"m\.onnx: cannot be written.*\n.*--out"):
        export_onnx(Checkpoint(Plain(hand), SIZE, 1.25, {}), tmp_path / "file" / "m.onnx")


def test_missing_packages_are_named(hand, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(MissingAssetError, match=r"onnxscript: not installed.*\n.*pip install onnxscript"):
        export_onnx(checkpoint_of(NETWORKS[0], hand), tmp_path / "m.onnx")


def test_a_licensed_hand_in_the_graph_is_told(hand, hand_file, tmp_path):
    assert licence_notice(hand) is None and describe(checkpoint_of(NETWORKS[0], hand))["hand_model"] == "OpenMANO"
    with np.load(hand_file) as arrays:
        np.savez(tmp_path / "mano.npz", **dict(arrays) | {"topology": "mano"})
    licensed = type(hand).load(tmp_path / "mano.npz")
    assert "licensed hand model (mano)" in licence_notice(licensed)
    assert "licensed" in describe(checkpoint_of(NETWORKS[0], licensed))["hand_model"]
