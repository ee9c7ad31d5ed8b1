from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import timm
import torch
from handgap.core.config.train import Network
from handgap.core.errors import ConfigError, CorruptFileError, MissingAssetError
from handgap.networks.backbone import Backbone, load_weights
from handgap.networks.base import point_l1
from handgap.networks.build import ARCHITECTURES, build
from handgap.networks.simplehand import sine_position_embedding
from PIL import Image
from toys import toy_hand

TINY = "test_efficientnet"
LITE0 = Path(__file__).parents[2] / "results/assets/efficientnet_lite0"


@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    return toy_hand(tmp_path_factory.mktemp("hand") / "hand.npz")


@pytest.fixture(scope="module")
def lite0():
    found = list(LITE0.glob("*.pth"))
    if not found:
        pytest.skip("the efficientnet_lite0 asset is not fetched")
    return found[0]


def batch_of(network, size, n=2):
    generator = torch.Generator().manual_seed(0)
    K = torch.tensor([[3.0 * size, 0, size / 2], [0, 3.0 * size, size / 2], [0, 0, 1]]).expand(n, 3, 3)
    return torch.rand(n, 3, size, size, generator=generator), K


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
@pytest.mark.parametrize("size", [128, 224])
def test_interface(hand, architecture, size):
    torch.manual_seed(0)
    network = build(Network(architecture=architecture, backbone=TINY), hand, None, size).eval()
    images, K = batch_of(network, size)
    prediction = network(images, K)
    assert prediction.joints.shape == (2, 21, 3)
    assert prediction.vertices.shape == (2, 778, 3)
    assert prediction.uv.shape == (2, 21, 2)
    batch = {"joints": torch.zeros(2, 21, 3), "vertices": torch.zeros(2, 778, 3)}
    batch |= {"uv": torch.full((2, 21, 2), 0.5), "uv_weight": torch.ones(2, 21)}
    total, terms = network.loss(prediction, batch)
    torch.testing.assert_close(total, sum(terms.values()))
    total.backward()
    silent = [name for name, value in network.named_parameters() if value.grad is None]
    # the 2D head of simpleHand also gets gradients through the sampled tokens, so nothing is left out
    assert not silent


def test_s2hand_is_root_relative_and_projects_what_it_predicts(hand):
    torch.manual_seed(0)
    network = build(Network(architecture="s2hand", backbone=TINY), hand, None, 128).eval()
    images, K = batch_of(network, 128)
    prediction = network(images, K)
    torch.testing.assert_close(prediction.joints[:, 9], torch.zeros(2, 3))
    # projection does not depend on the crop's focal length, which a crop does not show
    longer = K.clone()
    longer[:, :2, :2] *= 1.7
    far = network(images, longer).uv - 0.5
    assert ((far - (prediction.uv - 0.5)).abs() < 0.25 * (prediction.uv - 0.5).abs() + 0.02).all()


def test_simplehand_joints_are_regressed_from_its_mesh(hand):
    network = build(Network(architecture="simplehand", backbone=TINY), hand, None, 128).eval()
    prediction = network(*batch_of(network, 128))
    torch.testing.assert_close(prediction.joints, hand.regress_joints(prediction.vertices))


def test_simplehand_samples_features_at_its_2d_joints(hand):
    # a joint's uv gets gradients from the mesh loss: the prediction is not detached
    network = build(Network(architecture="simplehand", backbone=TINY), hand, None, 128).eval()
    network(*batch_of(network, 128)).vertices.square().sum().backward()
    assert network.uv.weight.grad.abs().sum() > 0


def test_parameters_of_the_published_heads(hand):
    # reference: mesh head 6.49 M and uv 51 k behind 1216 channels; S2HAND's head 2.448 M behind 1536
    class Wide(torch.nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.channels, self.grid = channels, 7

    def count(module):
        return sum(value.numel() for value in module.parameters())

    simple = ARCHITECTURES["simplehand"](Wide(1216), hand)
    assert count(simple.uv) == 1216 * 42 + 42
    assert count(simple) - count(simple.uv) == pytest.approx(6.49e6, rel=0.01)
    assert count(ARCHITECTURES["s2hand"](Wide(1536), hand)) == pytest.approx(2.448e6, rel=0.001)


def test_point_l1_by_hand():
    predicted, truth = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]), torch.zeros(1, 2, 2)
    assert point_l1(predicted, truth) == 1.5
    assert point_l1(predicted, truth, torch.tensor([[0.0, 1.0]])) == 0.0


def test_sine_embedding_against_its_formula():
    grid, width = 5, 16
    embedding = sine_position_embedding(width, grid)
    for channel in range(width):
        k = channel % (width // 2)
        frequency = 10_000 ** (2 * (k // 2) / (width // 2))
        for y in range(grid):
            for x in range(grid):
                position = ((y if channel < width // 2 else x) + 1) / grid * 2 * np.pi
                expected = (np.sin, np.cos)[k % 2](position / frequency)
                assert embedding[channel, y, x] == pytest.approx(expected, abs=1e-6)


def test_packaged_weights_know_a_uniform(lite0):
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    load_weights(model, lite0)
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB").crop((0, 0, 512, 512)).resize((224, 224), Image.Resampling.BICUBIC)
    image = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        best = model(image).softmax(-1)[0].topk(3)
    assert best.indices[0] == 652  # ImageNet: military uniform
    assert best.values[0] > 0.3


def test_backbone_takes_packaged_weights_without_classifier(lite0):
    backbone = Backbone("efficientnet_lite0", lite0, 128)
    assert (backbone.channels, backbone.grid) == (1280, 4)
    state = torch.load(lite0, weights_only=True)
    torch.testing.assert_close(backbone.model.conv_stem.weight.data, state["_conv_stem.weight"])
    torch.testing.assert_close(
        backbone.model.blocks[6][0].conv_pwl.weight.data, state["_blocks.15._project_conv.weight"]
    )
    assert backbone.model.bn1.eps == 1e-3


def test_foreign_weights_are_refused(tmp_path):
    with pytest.raises(MissingAssetError):
        Backbone(TINY, tmp_path / "none.pth", 64)
    state = timm.create_model(TINY, pretrained=False).state_dict()
    state.pop("conv_stem.weight")
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(CorruptFileError, match=r"conv_stem\.weight"):
        Backbone(TINY, tmp_path / "part.pth", 64)
    with pytest.raises(ConfigError, match="no such model"):
        Backbone("resnet_18000", None, 64)
    with pytest.raises(ConfigError, match=r"no \(B, C, h, w\) map"):
        Backbone("test_vit", None, 160)


def test_files_of_weights_hold_no_hand_model(hand):
    network = build(Network(architecture="s2hand", backbone=TINY), hand, None, 64)
    assert not [name for name in network.weights() if "annotation_hand" in name]
    other = build(Network(architecture="s2hand", backbone=TINY), hand, None, 64)
    other.load(network.weights())
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
