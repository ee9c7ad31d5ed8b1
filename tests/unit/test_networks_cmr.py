import cv2
import numpy as np
import pytest
import timm
import torch
from handgap.core.config.networks import CmrNetwork
from handgap.core.errors import ConfigError
from handgap.networks.base import Prediction, edge_loss
from handgap.networks.build import build
from handgap.networks.cascade import RELATIONS, detach_stem, pyramid, reduction
from handgap.networks.cmr import joint_maps, map_peaks, normal_loss


# counted from the released code with ResNet-18: 62.8, 79.9 and 80.0 M, with the classifiers (513,000 each) of the
# backbones before the last, whose output nothing reads
@pytest.mark.parametrize(
    ("variant", "released", "unread"), [("g", 62_776_495, 1), ("sg", 79_927_435, 2), ("pg", 79_989_055, 2)]
)
def test_parameters_at_the_published_size(hand, hierarchy, variant, released, unread):
    network = build(CmrNetwork(backbone="resnet18", variant=variant), hand, None, 64, hierarchy)
    assert sum(value.numel() for value in network.parameters()) == released - unread * 513_000


def test_maps_of_the_labels_as_drawn_and_resized():
    uv = np.array([[0.31, 0.7], [0.003, 0.99], [1.2, 0.5]])
    drawn = np.zeros((3, 224, 224), np.float32)
    for joint, (u, v) in enumerate(np.floor(uv * 224).astype(int)):
        for y in range(224):
            for x in range(224):
                if max(abs(x - u), abs(y - v)) <= 6:
                    drawn[joint, y, x] = np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 3.5**2))
    resized = np.stack([cv2.resize(image, (112, 112), interpolation=cv2.INTER_LINEAR) for image in drawn])
    maps = joint_maps(torch.tensor(uv[None], dtype=torch.float32), 112)[0].numpy()
    np.testing.assert_allclose(maps, resized, atol=1e-6)
    assert not maps[2].any()  # far out of the image
    assert abs(map_peaks(torch.tensor(maps[None]))[0, 0].numpy() - uv[0]).max() < 1.5 / 224


def test_surface_losses_by_hand():
    # one right-angled face in the plane z = 0, normal along z; predicted: its second corner lifted by 1
    truth = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    predicted = torch.tensor([[[0.0, 0, 0], [1, 0, 1], [0, 1, 0]]])
    faces = torch.tensor([[0, 1, 2]])
    # edges 0-1 (1, 0, 1), 1-2 (-1, 1, -1), 2-0 (0, -1, 0)
    assert normal_loss(predicted, truth, faces).item() == pytest.approx((1 / np.sqrt(2) + 1 / np.sqrt(3) + 0) / 3)
    assert normal_loss(truth, truth, faces) == 0
    lengths = [np.sqrt(2) - 1, np.sqrt(3) - np.sqrt(2), 0]
    assert edge_loss(predicted, truth, faces).item() == pytest.approx(sum(lengths) / 3)
    assert normal_loss(2 * predicted, truth, faces) == normal_loss(predicted, truth, faces)


@pytest.mark.parametrize("variant", ["g", "sg", "pg"])
def test_losses_by_hand(hand, hierarchy, variant):
    network = build(
        CmrNetwork(backbone="test_efficientnet", variant=variant, channels=(8, 8)), hand, None, 64, hierarchy
    )
    generator = torch.Generator().manual_seed(0)
    batch = {
        "joints": torch.randn(2, 21, 3, generator=generator),
        "vertices": torch.randn(2, 778, 3, generator=generator),
    }
    batch |= {"uv": torch.rand(2, 21, 2, generator=generator), "mask": torch.zeros(2, 64, 64)}
    batch["mask"][:, :, :31] = 1
    truth = (batch["vertices"] - batch["joints"][:, :1]) / 0.2
    maps = [22, *{"g": [21], "sg": [1, 21], "pg": [21, 21]}[variant]]
    names = ["maps", "prior0", "prior1"]
    parts = {name: torch.randn(2, n, 32, 32, generator=generator) for name, n in zip(names, maps, strict=False)}
    parts |= {"mesh0": truth + 0.5, "mesh1": truth[:, hierarchy.links[0].down] - 0.25}
    nothing = torch.zeros(2, 21, 3)
    _, terms = network.loss(Prediction(nothing, nothing, nothing, parts=parts), batch)

    def cross_entropy(logits, answer):
        p, t = 1 / (1 + np.exp(-logits.double().numpy())), answer.double().numpy()
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()

    mask = torch.zeros(2, 1, 32, 32)
    mask[..., :15], mask[..., 15] = 1, 0.5
    joints = joint_maps(batch["uv"], 32)
    uv = [parts["maps"][:, :21], *(parts[name] for name in names[1:] if name in parts and parts[name].shape[1] == 21)]
    masks = [parts["maps"][:, 21:], *([parts["prior0"]] if variant == "sg" else [])]
    assert terms["uv"].item() == pytest.approx(10 * sum(cross_entropy(guess, joints) for guess in uv), rel=1e-5)
    assert terms["mask"].item() == pytest.approx(0.5 * sum(cross_entropy(guess, mask) for guess in masks), rel=1e-5)
    assert terms["vertices"].item() == pytest.approx(0.75, rel=1e-5)
    faces = torch.tensor(hand.faces)
    assert terms["normal"].item() == pytest.approx(0.1 * normal_loss(truth, truth, faces).item(), abs=1e-5)
    assert terms["edge"].item() == pytest.approx(0.0, abs=1e-5)


def test_relations_are_pairs_of_tips_and_fingers():
    assert len(RELATIONS["pg"]) == 10
    assert set(RELATIONS["g"]) - set(RELATIONS["pg"]) == {tuple(range(4 * f + 1, 4 * f + 5)) for f in range(5)}
    assert (4, 8) in RELATIONS["sg"]


@pytest.mark.parametrize(
    ("name", "sizes"), [("resnet18", [2, 4, 8, 16]), ("test_efficientnet", [2, 4, 8, 16]), ("test_convnext", [2, 4, 8])]
)
def test_pyramids_behind_a_stem_are_the_whole_models(name, sizes):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        whole, logits = model.forward_features(image), model(image)
        start = detach_stem(model)(image)
        levels = pyramid(model, start)
        torch.testing.assert_close(levels[0], whole)
        torch.testing.assert_close(model.forward_head(levels[0]), logits)
    assert [level.shape[-1] for level in levels] == sizes
    assert start.shape[-1] == 2 * sizes[-1]


def test_a_backbone_without_a_pyramid_is_refused(hand, hierarchy):
    with pytest.raises(ConfigError, match="no known stem"):
        build(CmrNetwork(backbone="densenet121"), hand, None, 64, hierarchy)


def test_a_later_backbone_starts_from_what_the_stem_gives():
    torch.manual_seed(0)
    stem, maps = (torch.randn(4, 8, 16, 16) - 0.5).relu(), torch.rand(4, 5, 16, 16)
    given = reduction(13, 8)(torch.cat([stem, maps], 1))
    spread = stem.std((0, 2, 3), correction=0, keepdim=True)
    expected = (stem - stem.mean((0, 2, 3), keepdim=True)) / spread
    torch.testing.assert_close(given, expected, atol=1e-3, rtol=1e-3)
