from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import timm
import torch
from handgap.core.config.networks import (
    CmrNetwork,
    GraphormerNetwork,
    MetroNetwork,
    S2HandNetwork,
    SimpleHandNetwork,
)
from handgap.core.errors import ConfigError, CorruptFileError, MissingAssetError
from handgap.networks.backbone import Backbone, load_weights
from handgap.networks.base import Prediction, point_l1
from handgap.networks.build import build
from handgap.networks.simplehand import SimpleHand, sine_position_embedding
from PIL import Image
from timm.layers import DropPath

TINY = "test_efficientnet"  # trained with ImageNet's mean and deviation
HALF = "test_convnext"  # trained with (x - 0.5) / 0.5
NETWORKS = [
    S2HandNetwork(backbone=TINY),
    SimpleHandNetwork(backbone=TINY),
    CmrNetwork(backbone=TINY, channels=(16, 16, 8, 8), spiral_length=9),
    CmrNetwork(backbone=HALF, variant="sg", channels=(8, 8)),
    CmrNetwork(backbone=TINY, variant="pg", channels=(8,)),
    MetroNetwork(backbone=TINY, widths=(32, 16), layers=1),
    GraphormerNetwork(backbone=TINY, widths=(32, 16), layers=1, coarse_level=3),
]
LITE0 = Path(__file__).parents[2] / "results/assets/efficientnet_lite0"


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


def named(settings):
    return f"{settings.architecture} {getattr(settings, 'variant', '')}".strip()


def labels(size, n=2):
    generator = torch.Generator().manual_seed(1)
    shapes = {"joints": (21, 3), "vertices": (778, 3), "uv": (21, 2), "mask": (size, size)}
    drawn = {name: torch.rand(n, *shape, generator=generator) for name, shape in shapes.items()}
    return drawn | {"uv_weight": torch.ones(n, 21)}


@pytest.mark.parametrize("settings", NETWORKS, ids=named)
@pytest.mark.parametrize("size", [128, 224])
def test_interface(hand, hierarchy, settings, size):
    torch.manual_seed(0)
    network = build(settings, hand, None, size, hierarchy)
    for name, value in network.named_parameters():
        if name.endswith("gamma"):  # attention that starts at zero passes nothing on
            torch.nn.init.ones_(value)
    images, K = batch_of(network, size)
    prediction = network(images, K)
    assert prediction.joints.shape == (2, 21, 3)
    assert prediction.vertices.shape == (2, 778, 3)
    assert prediction.uv.shape == (2, 21, 2)
    total, terms = network.loss(prediction, labels(size))
    torch.testing.assert_close(total, sum(terms.values()))
    total.backward()
    # the 2D head of simpleHand also gets gradients through the sampled tokens, so nothing is left out
    silent = {name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()}
    # a ConvNeXt ends in a head whose norm no map of features goes through
    assert {name for name in silent if "head.norm" not in name} == set()


@pytest.mark.parametrize("settings", NETWORKS[2:], ids=named)
def test_mesh_networks_are_relative_to_joint_9_and_joints_are_the_meshs(hand, hierarchy, settings):
    network = build(settings, hand, None, 64, hierarchy).eval()
    prediction = network(*batch_of(network, 64))
    torch.testing.assert_close(prediction.joints[:, 9], torch.zeros(2, 3))
    torch.testing.assert_close(prediction.joints, hand.regress_joints(prediction.vertices), atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", NETWORKS[2:], ids=named)
def test_mesh_networks_without_their_mesh(hand, hierarchy, settings):
    with pytest.raises(ConfigError, match="mesh hierarchy"):
        build(settings, hand, None, 64)
    asks_too_much = {"coarse_level": 5} if hasattr(settings, "coarse_level") else {"spiral_length": 30}
    with pytest.raises(ConfigError, match="mesh hierarchy has"):
        build(settings.model_copy(update=asks_too_much), hand, None, 64, hierarchy)


def test_s2hand_is_root_relative_and_projects_what_it_predicts(hand):
    torch.manual_seed(0)
    network = build(S2HandNetwork(backbone=TINY), hand, None, 128).eval()
    images, K = batch_of(network, 128)
    prediction = network(images, K)
    torch.testing.assert_close(prediction.joints[:, 9], torch.zeros(2, 3))
    # projection does not depend on the crop's focal length, which a crop does not show
    longer = K.clone()
    longer[:, :2, :2] *= 1.7
    far = network(images, longer).uv - 0.5
    assert ((far - (prediction.uv - 0.5)).abs() < 0.25 * (prediction.uv - 0.5).abs() + 0.02).all()


def test_simplehand_joints_are_regressed_from_its_mesh(hand):
    network = build(SimpleHandNetwork(backbone=TINY), hand, None, 128).eval()
    prediction = network(*batch_of(network, 128))
    torch.testing.assert_close(prediction.joints, hand.regress_joints(prediction.vertices))


def test_simplehand_samples_features_at_its_2d_joints(hand):
    # a joint's uv gets gradients from the mesh loss: the prediction is not detached
    network = build(SimpleHandNetwork(backbone=TINY), hand, None, 128).eval()
    network(*batch_of(network, 128)).vertices.square().sum().backward()
    assert network.uv.weight.grad.abs().sum() > 0


class Wide(torch.nn.Module):
    """Stands in for a backbone: only its widths are read."""

    def __init__(self, channels):
        super().__init__()
        self.channels, self.grid = channels, 7


def count(module):
    return sum(value.numel() for value in module.parameters())


# counted from the released code: 6.49 M behind FastViT-MA36, 4.65, 6.23 and 9.90 M behind other features
@pytest.mark.parametrize(
    ("channels", "mesh"), [(1216, 6_488_885), (768, 4_653_877), (1152, 6_226_741), (2048, 9_896_757)]
)
def test_parameters_of_simplehand(hand, channels, mesh):
    network = SimpleHand(Wide(channels), hand)
    assert count(network.uv) == channels * 42 + 42
    assert count(network) - count(network.uv) == mesh


def test_headless_backbones_of_the_papers():
    published = {"efficientnet_b3": 10.70, "fastvit_ma36": 42.85, "hrnet_w64": 126.01, "resnet18": 11.18}
    for name, millions in published.items():
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False, num_classes=0)
        assert count(model) == pytest.approx(millions * 1e6, abs=6e3), name


def test_simplehand_loss_by_hand(hand):
    network = SimpleHand(Wide(8), hand)
    zero = {"joints": torch.zeros(2, 21, 3), "vertices": torch.zeros(2, 778, 3), "uv": torch.zeros(2, 21, 2)}
    prediction = Prediction(torch.full((2, 21, 3), 0.01), torch.full((2, 778, 3), 0.02), torch.full((2, 21, 2), 0.1))
    weight = torch.ones(2, 21)
    weight[1, [0, 9]] = 0  # neither wrist nor joint 9 of the second hand is in its crop
    _, terms = network.loss(prediction, zero | {"uv_weight": weight})
    assert terms["uv"].item() == pytest.approx(0.2 * 40 / 42)
    assert terms["joints"].item() == pytest.approx(10 * 0.03 / 2)
    assert terms["vertices"].item() == pytest.approx(10 * 0.06 / 2)
    weight[1, 9] = 1
    _, terms = network.loss(prediction, zero | {"uv_weight": weight})
    assert terms["joints"].item() == pytest.approx(10 * 0.03)


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


# one red pixel value, in the order that the model's first layer has its channels, as each paper's code has them
@pytest.mark.parametrize(
    ("settings", "fed"),
    [
        (S2HandNetwork(backbone=TINY, input="published"), (1.0, 0.5, 0.25)),
        (CmrNetwork(backbone=TINY, channels=(8,), spiral_length=9, input="published"), (1.0, 0.0, -0.5)),
        (MetroNetwork(backbone=HALF, widths=(16,), layers=1, input="published"), (2.2489083, 0.1964286, -0.6933333)),
        (SimpleHandNetwork(backbone=TINY, input="published"), (-0.25, 0.0, 0.5)),
        (SimpleHandNetwork(backbone=HALF), (1.0, 0.0, -0.5)),  # as this backbone's weights were trained
    ],
    ids=lambda value: getattr(value, "architecture", ""),
)
def test_what_the_backbone_is_fed(hand, hierarchy, settings, fed):
    network = build(settings, hand, None, 64, hierarchy).eval()
    first = []
    stem = next(layer for layer in network.backbone.modules() if isinstance(layer, torch.nn.Conv2d))
    if settings.architecture == "cmr":
        stem = network.backbone.stem
    stem.register_forward_pre_hook(lambda _, inputs: first.append(inputs[0]))
    colour = torch.tensor([1.0, 0.5, 0.25])
    network(colour.view(1, 3, 1, 1).expand(1, 3, 64, 64), batch_of(network, 64, 1)[1])
    torch.testing.assert_close(first[0][0, :, 32, 32], torch.tensor(fed))


def test_drop_path_leaves_branches_out_in_training_only(hand):
    images, K = batch_of(None, 64)
    dropped, plain = (SimpleHandNetwork(backbone=TINY, drop_path=share) for share in (0.5, 0.0))
    networks = []
    for settings in (dropped, plain):
        torch.manual_seed(0)
        networks.append(build(settings, hand, None, 64))
    assert networks[0].state_dict().keys() == networks[1].state_dict().keys()
    shares = [layer.drop_prob for layer in networks[0].backbone.modules() if isinstance(layer, DropPath)]
    assert 0.3 < max(shares) <= 0.5 and len(shares) > 1  # it rises from layer to layer
    assert not [layer for layer in networks[1].backbone.modules() if isinstance(layer, DropPath)]
    ours, theirs = (network.eval()(images, K).vertices for network in networks)
    assert torch.equal(ours, theirs)
    with pytest.raises(ConfigError, match="knows no drop path"):
        Backbone("hrnet_w18_small", None, 64, drop_path=0.1)


def test_files_of_weights_hold_no_hand_model(hand):
    network = build(S2HandNetwork(backbone=TINY), hand, None, 64)
    assert not [name for name in network.weights() if "annotation_hand" in name]
    other = build(S2HandNetwork(backbone=TINY), hand, None, 64)
    other.load(network.weights())
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
