from math import log, pi, radians, sqrt

import numpy as np
import pytest
import torch
from handgap.core.config.networks import HourglassSize, S2HandNetwork
from handgap.hands.annotation_hand import AnnotationHand
from handgap.networks import s2hand_losses as losses
from handgap.networks.backbone import Backbone
from handgap.networks.base import Prediction
from handgap.networks.build import build
from handgap.networks.hourglass import HeatmapBranch, keypoints_of, soft_argmax
from handgap.networks.s2hand import S2Hand, S2HandKeypoints
from handgap.networks.skin_net import SkinNet
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

TINY = "test_efficientnet"
SMALL = HourglassSize(stacks=2, depth=2, modules=1, features=8)


class Wide(torch.nn.Module):
    """Stands in for EfficientNet-B3: only its widths are read."""

    channels, grid, early_channels = 1536, 7, 32


def count(module):
    return sum(value.numel() for value in module.parameters())


def settings(stage="supervised", **others):
    values = {"backbone": TINY, "hourglass": SMALL, "render_size": 32, "pretrained": stage != "kp"}
    return S2HandNetwork(stage=stage, **(values | others))


# published: head 2.448 M behind EfficientNet-B3, of which 66,954 are for the shape that stays zero as released
def test_parameters_of_the_parts(hand):
    assert count(S2Hand(Wide(), hand, settings(mean_shape=False))) == 2_447_855
    assert count(S2Hand(Wide(), hand, settings())) == 2_447_855 - 66_954
    assert count(SkinNet(32)) == 514_881  # 0.515 M
    assert count(HeatmapBranch(HourglassSize())) == 12_581_034  # 12.58 M


def test_operations_of_the_heatmap_branch():
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        maps = HeatmapBranch(HourglassSize()).eval()(torch.zeros(1, 3, 224, 224))
    assert maps.shape == (2, 1, 21, 64, 64)
    assert counter.get_total_flops() / 2e9 == pytest.approx(13.6, abs=0.05)  # published: 13.6 GMACs at 256 px


def test_early_features_of_efficientnet_b3():
    with torch.device("meta"):
        import timm

        model = timm.create_model("efficientnet_b3", num_classes=0)
        _, levels = model.forward_intermediates(torch.zeros(1, 3, 224, 224))
    assert (32, 56, 56) in [tuple(level.shape[1:]) for level in levels]


def test_soft_argmax_of_a_peak_and_of_nothing():
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 0, 2, 5] = 1e4  # of 8 pixels of 4 px each: centre at (22, 10)
    places = soft_argmax(maps, 4)[0]
    torch.testing.assert_close(places[0], torch.tensor([22.0, 10.0]), atol=0.6, rtol=0)
    torch.testing.assert_close(places[1], torch.tensor([16.0, 16.0]))
    torch.testing.assert_close(keypoints_of(maps[None], 32)[0, 0, 1], torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("size", [96, 128, 224])
def test_heatmaps_of_any_size(size):
    branch = HeatmapBranch(HourglassSize(features=8))
    padded = -(-size // 64) * 64
    assert branch(torch.rand(1, 3, size, size)).shape == (2, 1, 21, padded // 4, padded // 4)


def test_soft_distance_by_hand():
    distance = torch.tensor([0.0, 3.0, 5.0, 12.5])
    torch.testing.assert_close(losses.soft_distance(distance), torch.tensor([0.0, 0.9, 2.5, 10.0]))


def test_open_2dj_by_hand():
    detected, confidence = torch.zeros(1, 21, 2), torch.zeros(1, 21)
    projected = detected.clone()
    projected[0, 0] = torch.tensor([3.0, 4.0])  # wrist, 5 px: 2.5, weight (2 * 0.5)^2 = 1
    projected[0, 4] = torch.tensor([0.0, 2.0])  # tip, 2 px: 0.4, weight (1.5 * 1)^2 = 2.25
    confidence[0, [0, 4, 5]] = torch.tensor([0.5, 1.0, 1.0])  # joint 5 is right, weight 1
    expected = (2.5 + 2.25 * 0.4) / (1 + 2.25 + 1)
    assert losses.open_2dj(projected, detected, confidence).item() == pytest.approx(expected)
    assert losses.open_2dj(projected, detected, torch.zeros(1, 21)) == 0


def test_open_bone_direc_by_hand():
    detected = torch.arange(21.0)[None, :, None] * torch.tensor([10.0, 0.0])
    projected, confidence = detected.clone(), torch.full((1, 21), 0.5)
    projected[0, 20] = projected[0, 19] + torch.tensor([0.0, 10.0])  # the last bone is turned by 90 degrees
    expected = 0.25 * 2 / 20
    assert losses.open_bone_direc(projected, detected, confidence).item() == pytest.approx(expected, rel=1e-4)
    assert losses.open_bone_direc(2 * projected, projected, confidence).item() == pytest.approx(0, abs=1e-9)


def test_heatmap_terms_by_hand():
    detected, confidence = torch.zeros(1, 21, 2), torch.zeros(1, 21)
    confidence[0, :2] = torch.tensor([1.0, 0.5])
    keypoints = torch.zeros(2, 1, 21, 2)
    keypoints[0, 0, 0, 0], keypoints[1, 0, 1, 1] = 6.0, 10.0
    assert losses.hm_integral(keypoints, detected, confidence).item() == pytest.approx((6 + 0.25 * 10) / 1.25)
    # all joints, no confidence: one of 21 is 10 px off
    assert losses.kp_cons(keypoints[1], detected).item() == pytest.approx(7.5 / 21)


def test_tsa_poses_by_hand():
    limits = losses.pose_limits()
    pose = (limits[0] + limits[1])[None] / 2
    assert losses.tsa_poses(pose, limits) == 0
    pose[0, 1, 2] = radians(110)  # the index finger's base bends 10 degrees too far, which counts twice
    pose[0, 13, 0] = radians(-6)  # the thumb's is twisted 6 degrees below its least
    assert losses.tsa_poses(pose, limits).item() == pytest.approx((2 * radians(10) + radians(6)) / 48, rel=1e-5)
    assert (limits[0] < limits[1]).all()
    torch.testing.assert_close(limits[1][13], torch.tensor([pi / 2, 3 * pi / 16, pi / 8]))
    torch.testing.assert_close(limits[0][7], torch.tensor([radians(-20), radians(-10), radians(-10)]))
    torch.testing.assert_close(limits[1][10, 1], torch.tensor(radians(10)))  # ring, not little finger


def test_mscale_and_mshape_by_hand():
    joints = torch.zeros(2, 21, 3)
    joints[0, 10, 1], joints[1, 9, 0] = 0.03, 0.02
    assert losses.mscale(joints, 0.0282).item() == pytest.approx((0.0018 + 0.0082) / 2)
    assert losses.mshape(torch.tensor([[1.0, 3.0]])).item() == 5.0


def test_texture_confidence_by_hand():
    confidence = torch.full((2, 21), 0.8)
    confidence[1, 3] = 0.1
    torch.testing.assert_close(losses.texture_confidence(confidence, "freihand"), torch.tensor([0.88, 0.0]))
    torch.testing.assert_close(
        losses.texture_confidence(confidence, "ho3d"), torch.tensor([0.8, (0.8 * 20 + 0.1) / 21])
    )


def test_photometric_terms_by_hand():
    images, rendered = torch.full((2, 3, 2, 2), 0.5), torch.ones(2, 3, 2, 2)
    rendered[0, :, 0, 0], rendered[1, :, 0, 0] = 0.7, 0.9
    silhouette = torch.zeros(2, 2, 2)
    silhouette[:, 0, 0] = 1  # the white elsewhere does not count
    belief = torch.tensor([1.0, 0.5])
    expected = (0.2 / 4 + 0.25 * 0.4 / 4) / 1.25
    assert losses.texture(rendered, images, silhouette, belief).item() == pytest.approx(expected)
    assert losses.mrgb(rendered, images, silhouette, belief).item() == pytest.approx(expected)
    # errors of both signs cancel in the mean colour alone
    rendered[0, :, 0, 1], silhouette[:, 0, 1] = 0.3, 1
    rendered[1, :, 0, 1] = 0.5
    assert losses.texture(rendered, images, silhouette, belief).item() == pytest.approx(
        (0.4 / 4 + 0.25 * 0.4 / 4) / 1.25
    )
    assert losses.mrgb(rendered, images, silhouette, belief).item() == pytest.approx((0.25 * 0.4 / 4) / 1.25)
    assert losses.texture(rendered, images, silhouette, torch.zeros(2)) == 0


def test_mtex_by_hand():
    colours = torch.zeros(1, 100, 3)
    colours[0, 0, 0] = 1.0  # mean 0.01, standard deviation 0.1: this face alone is outside
    weight = 0.5
    expected = 0.99 * 2 * weight / (weight**2 * 300)
    assert losses.mtex(colours, torch.tensor([weight])).item() == pytest.approx(expected, rel=1e-5)


def test_triangle_of_a_hexagon():
    angles = torch.arange(6) * pi / 3
    ring = torch.stack([angles.cos(), angles.sin(), torch.zeros(6)], 1)
    vertices = torch.cat([torch.zeros(1, 3), ring])
    faces = torch.tensor([[0, 1 + k, 1 + (k + 1) % 6] for k in range(6)])
    # every angle is 60 degrees. Inner edges weigh cot 60; the middle stays at rest, a corner is pulled by two outer
    # edges of half that weight (1 to 1 along the ring: the vector to it is itself) and one inner edge
    cot = 1 / sqrt(3)
    expected = 6 * (0.5 * cot + cot) / 7
    assert losses.triangle(vertices[None], faces).item() == pytest.approx(expected, rel=1e-5)
    lifted = vertices.clone()
    lifted[0, 2] = 1.0
    assert losses.triangle(lifted[None], faces) > losses.triangle(vertices[None], faces)


def test_triangle_against_a_matrix(hand):
    """The Laplacian as a dense matrix, edge by edge, of a closed random mesh."""
    import trimesh

    sphere = trimesh.creation.icosphere(1)
    vertices = sphere.vertices + np.random.default_rng(0).normal(0, 0.1, sphere.vertices.shape)
    L = np.zeros((len(vertices),) * 2)
    for face in sphere.faces:
        for k in range(3):
            i, j, apex = face[k], face[(k + 1) % 3], vertices[face[(k + 2) % 3]]
            a, b = vertices[i] - apex, vertices[j] - apex
            weight = 0.5 * (a @ b) / np.linalg.norm(np.cross(a, b))
            L[[i, j], [i, j]] += weight
            L[[i, j], [j, i]] -= weight
    expected = np.linalg.norm(L @ vertices, axis=1).mean()
    found = losses.triangle(torch.tensor(vertices)[None], torch.tensor(np.array(sphere.faces)))
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("fingers", "thumb", "expected"),
    [
        ("-x", "z", torch.eye(3)),  # MANO
        # OpenMANO: fingers along y, thumb at -x, palm towards -z; MANO's bend about z is one about -x
        ("y", "-x", torch.tensor([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]])),
    ],
)
def test_axes_of_the_limits(fingers, thumb, expected):
    def along(axis):
        vector = torch.zeros(3)
        vector["xyz".index(axis[-1])] = -0.1 if axis.startswith("-") else 0.1
        return vector

    class Hand:
        v_template = torch.zeros(778, 3)

        @staticmethod
        def regress_joints(vertices):
            joints = torch.zeros(1, 21, 3)
            joints[0, [5, 9, 17]] = along(fingers)
            joints[0, 5] += along(thumb) / 5
            joints[0, 17] -= along(thumb) / 5
            return joints

    axes = losses.mano_axes(Hand)
    torch.testing.assert_close(axes, expected)
    assert torch.linalg.det(axes) == pytest.approx(1)


def test_fists_of_the_open_hand_are_within_the_limits(made):
    path = made / "models" / "open_mano.npz"
    if not path.is_file():
        pytest.skip("the open hand has not been made")
    hand = AnnotationHand.load(path)
    axes, limits = losses.mano_axes(hand), losses.pose_limits()
    mean = hand.hands_mean.view(15, 3) @ axes.T
    assert (mean[:12, 2] > 0).all()  # fingers of the mean pose are bent towards the palm

    def penalty(angle):
        pose = torch.zeros(1, 16, 3)
        pose[0, 0, 0] = pi
        pose[0, 1:13, 2] = angle
        return losses.tsa_poses(pose, limits)

    assert penalty(1.5) == 0
    assert penalty(-0.6) > 0
    assert 0.02 < losses.mean_bone(hand) < 0.04


def test_supervised_loss_by_hand(hand):
    zero = {"joints": torch.zeros(2, 21, 3), "vertices": torch.zeros(2, 778, 3), "uv": torch.zeros(2, 21, 2)}
    batch = zero | {"uv_weight": torch.ones(2, 21)}
    prediction = Prediction(
        torch.full((2, 21, 3), 0.01),
        torch.full((2, 778, 3), 0.02),
        torch.full((2, 21, 2), 0.1),
        torch.full((2, 30), 2.0),
        torch.full((2, 10), 3.0),
    )
    network = S2Hand(Wide(), hand, settings(mean_shape=False))
    total, terms = network.loss(prediction, batch)
    expected = {
        "joint_3d": 200 * 0.01,
        "joint_2d": 1e-4 * 22.4**2,
        "vertices": 200 * 0.02,
        "edge": 0.0,
        "mshape": 0.09,
        "mpose": 0.04,
    }
    assert {name: pytest.approx(term.item()) for name, term in terms.items()} == expected
    assert total.item() == pytest.approx(sum(expected.values()))
    network.begin_epoch(10)
    assert network.loss(prediction, batch)[1]["mpose"].item() == pytest.approx(0.004)
    network.begin_epoch(20)
    assert network.loss(prediction, batch)[1]["mpose"].item() == pytest.approx(4e-5)
    _, terms = S2Hand(Wide(), hand, settings(supervision="joints")).loss(prediction, batch)
    assert {name: pytest.approx(term.item()) for name, term in terms.items()} == {
        "joint_3d": 0.1,
        "joint_2d": expected["joint_2d"],
        "mpose": 0.04,
    }


def detections(size, n=2):
    generator = torch.Generator().manual_seed(0)
    K = torch.tensor([[1.5 * size, 0, size / 2], [0, 1.5 * size, size / 2], [0, 0, 1]]).expand(n, 3, 3)
    images = torch.rand(n, 3, size, size, generator=generator)
    keypoints = 0.2 + 0.6 * torch.rand(n, 21, 2, generator=generator)
    return {"image": images, "K": K, "keypoints": keypoints, "confidence": torch.full((n, 21), 0.9)}


@pytest.mark.parametrize("stage", losses.STAGES)
@pytest.mark.parametrize("size", [64, 128])
def test_stages_sum_their_terms_and_train_all_they_have(hand, stage, size):
    if stage in ("finetune", "e2e"):
        pytest.importorskip("pytorch3d")
    torch.manual_seed(0)
    network = build(settings(stage, mean_shape=stage != "e2e"), hand, None, size)
    batch = detections(size)
    total, terms = network.loss(network(batch["image"], batch["K"], for_loss=True), batch)
    assert set(terms) == set(losses.STAGES[stage])
    torch.testing.assert_close(total, sum(terms.values()))
    for name, term in terms.items():
        assert term > 0 or name in ("tsa_poses", "mtex"), name
    total.backward()
    # a bias that a batch norm takes away again has none
    weights = {name: value for name, value in network.named_parameters() if value.ndim > 1}
    assert {name for name, value in weights.items() if value.grad is None or not value.grad.any()} == set()


def test_at_test_only_encoder_and_head_are_run(hand):
    network = build(settings("finetune"), hand, None, 64).eval()
    for part in (network.heatmaps, network.skin):
        part.register_forward_hook(lambda *_: pytest.fail("not needed at test"))
    batch = detections(64)
    plain = network(batch["image"], batch["K"])
    for part in (network.heatmaps, network.skin):
        part._forward_hooks.clear()
    torch.testing.assert_close(plain.vertices, network(batch["image"], batch["K"], for_loss=True).vertices)


def test_stages_share_their_names(hand):
    parts = [build(settings(stage), hand, None, 64) for stage in ("shape", "kp", "finetune")]
    shape, keypoints, both = (set(part.weights()) for part in parts)
    assert shape | keypoints < both
    assert not shape & keypoints
    assert isinstance(parts[1], S2HandKeypoints)
    with pytest.raises(ValidationError, match="no encoder"):
        settings("kp", pretrained=True)


def test_the_heatmap_stage_has_no_3d_joints(hand):
    network = build(settings("kp"), hand, None, 64).eval()
    batch = detections(64)
    prediction = network(batch["image"], batch["K"])
    assert prediction.joints.isnan().all() and prediction.joints.shape == (2, 21, 3)
    assert prediction.vertices.isnan().all() and prediction.vertices.shape == (2, 778, 3)
    total, _ = network.loss(prediction, batch)
    expected = sum((224 * (stack - batch["keypoints"])).norm(dim=-1).mean() for stack in prediction.parts["keypoints"])
    assert total.item() == pytest.approx(1e-3 * expected.item(), rel=1e-4)


@pytest.mark.parametrize(("units", "spread"), [("components", 1.0), ("deviations", 0.3)])
def test_pose_is_30_components_about_the_mean(hand, units, spread):
    network = build(settings(pose_units=units), hand, None, 64).eval()
    batch = detections(64)
    prediction = network(batch["image"], batch["K"])
    fingers = spread * prediction.pose @ hand.hands_components[:30] + hand.hands_mean
    turns = prediction.parts["turns"][:, 1:] @ losses.mano_axes(hand)
    torch.testing.assert_close(turns.flatten(1), fingers, atol=1e-6, rtol=1e-5)
    assert not prediction.shape.any()


def test_skin_net_starts_at_the_mean_colour_under_white_light():
    colours, light = SkinNet(16)(torch.zeros(1, 16, 32, 32))
    for channel, value in enumerate((200, 150, 150)):
        expected = np.tanh(value / 256)
        assert colours[0, :, channel].min().item() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(light.ambient, torch.full((1, 3), 0.5))
    torch.testing.assert_close(light.directional, torch.full((1, 3), 0.5))
    torch.testing.assert_close(light.direction, torch.tensor([[0.0, 0.0, -1.0]]))


def test_early_features(hand):
    backbone = Backbone(TINY, None, 64).eval()
    images = torch.rand(2, 3, 64, 64)
    features, early = backbone.with_early(images)
    torch.testing.assert_close(features, backbone(images))
    assert early.shape == (2, backbone.early_channels, 16, 16)
    assert log(64 / early.shape[-1], 2) == 2


def test_a_hand_starts_as_manos_does_with_its_edge_to_the_camera(made):
    """MANO's fingers point to -x and its thumb to +z; a turn by (pi, 0, 0) leaves them at -x and -z."""
    path = made / "models" / "open_mano.npz"
    if not path.is_file():
        pytest.skip("the open hand has not been made")
    hand = AnnotationHand.load(path)
    network = build(settings(), hand, None, 64).eval()
    for branch in (network.pose, network.rot, network.scale):
        torch.nn.init.zeros_(branch[-1].weight)
        torch.nn.init.zeros_(branch[-1].bias)
    network.scale[-1].bias.data.fill_(1.0)
    batch = detections(64)
    joints = network(batch["image"], batch["K"]).joints[0]
    fingers, thumb = joints[9] - joints[0], joints[5] - joints[17]
    assert fingers.abs().argmax() == 0 and fingers[0] < 0
    assert thumb.abs().argmax() == 2 and thumb[2] < 0
