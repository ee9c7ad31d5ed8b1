"""The annotation hand: joints of both kinds, pose conventions, fingertip tables, the other hand, gradients."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.core.conventions import JOINT_NAMES, MANO_PARENTS, MANO_TO_SIMPLE, TIP_VERTICES, Side
from handgap.core.errors import CorruptFileError, HandgapError
from handgap.hands.annotation_hand import AnnotationHand
from scipy.spatial.transform import Rotation
from toys import partition

N = 778
TIPS = (1, 2, 3, 4, 5)
# the joints 16 to 20 of MANO's order with tips
SIMPLE_TIPS = [list(MANO_TO_SIMPLE).index(16 + k) for k in range(5)]


@pytest.fixture(scope="module")
def arrays():
    g = np.random.default_rng(1)
    return {
        "v_template": g.normal(0, 0.05, (N, 3)),
        "faces": g.integers(0, N, (20, 3)),
        "shapedirs": g.normal(0, 0.002, (N, 3, 10)),
        "posedirs": g.normal(0, 0.001, (N, 3, 135)),
        "J_regressor": partition(g, 16, N),
        "weights": partition(g, N, 16),
        "parents": MANO_PARENTS,
        "hands_mean": g.normal(0, 0.1, 45),
        "hands_components": np.linalg.qr(g.normal(size=(45, 45)))[0],
        "pose_std": np.linspace(1, 0.1, 45),
        "tip_vertices": np.array(TIPS),
    }


@pytest.fixture(scope="module")
def hand(arrays):
    return AnnotationHand(arrays).double()


def _parameters(count, seed=0, pose_scale=0.5):
    g = torch.Generator().manual_seed(seed)
    scales = {48: pose_scale, 10: 1.0, 3: 0.1}
    return [scale * torch.randn(count, n, generator=g, dtype=torch.double) for n, scale in scales.items()]


def _mirror(points):
    return points * torch.tensor([-1.0, 1.0, 1.0], dtype=points.dtype)


def _mirror_pose(pose):
    return (pose.unflatten(1, (-1, 3)) * torch.tensor([1.0, -1.0, -1.0], dtype=pose.dtype)).flatten(1)


def test_forward_is_the_published_model(arrays, hand):
    """Equations 2 to 4 of Romero et al. 2017, one vertex, joint and sample at a time."""
    pose, shape, trans = (x.numpy() for x in _parameters(2))
    out = hand(*map(torch.tensor, (pose, shape, trans)))
    single = {name: value.astype(np.float32).astype(float) for name, value in arrays.items()}
    for b in range(2):
        rest = single["v_template"] + single["shapedirs"] @ shape[b]
        joints = single["J_regressor"] @ rest
        local = Rotation.from_rotvec(pose[b].reshape(16, 3)).as_matrix()
        rest = rest + single["posedirs"] @ (local[1:] - np.eye(3)).reshape(135)
        world = []
        for joint, parent in enumerate(MANO_PARENTS):
            step = np.eye(4)
            step[:3, :3], step[:3, 3] = local[joint], joints[joint] - (joints[parent] if joint else 0)
            world.append(world[parent] @ step if joint else step)
        places = np.array([transform[:3, 3] for transform in world]) + trans[b]
        vertices = np.zeros((N, 3))
        for transform, joint, weight in zip(world, joints, single["weights"].T, strict=True):
            vertices += weight[:, None] * ((rest - joint) @ transform[:3, :3].T + transform[:3, 3])
        vertices += trans[b]
        np.testing.assert_allclose(out.vertices[b], vertices, atol=1e-7)
        np.testing.assert_allclose(
            out.joints[b], np.concatenate([places, vertices[list(TIPS)]])[MANO_TO_SIMPLE], atol=1e-7
        )


def test_kinematic_and_regressed_joints_agree_at_rest_and_part_when_bent(hand):
    pose, shape, trans = _parameters(4)
    flat = hand(0 * pose, shape, trans)
    torch.testing.assert_close(hand.regress_joints(flat.vertices), flat.joints)
    bent = hand(pose, shape, trans)
    regressed = hand.regress_joints(bent.vertices)
    expected = torch.cat([hand.J_regressor @ bent.vertices, bent.vertices[:, list(TIPS)]], 1)[:, MANO_TO_SIMPLE]
    torch.testing.assert_close(regressed, expected)
    apart = (regressed - bent.joints).norm(dim=-1)
    inner = [k for k in range(21) if k not in SIMPLE_TIPS]
    assert apart[:, inner].max() > 1e-3
    assert apart[:, SIMPLE_TIPS].max() < 1e-12
    assert JOINT_NAMES[SIMPLE_TIPS[0]] == "thumb4"


def test_pose_conventions(hand):
    """Coefficients or axis-angle, the mean pose added or not: the four combinations datasets use."""
    turn, fingers = _parameters(3)[0].split([3, 45], 1)
    components, mean = hand.hands_components, hand.hands_mean
    for n in (6, 12, 45):
        offset = sum(fingers[:, [k]] * components[k] for k in range(n))
        for flat in (True, False):
            pose = hand.full_pose(turn, fingers[:, :n], use_pca=True, flat_hand_mean=flat)
            torch.testing.assert_close(pose[:, 3:], offset if flat else mean + offset)
            torch.testing.assert_close(pose[:, :3], turn)
    for flat in (True, False):
        pose = hand.full_pose(turn, fingers, use_pca=False, flat_hand_mean=flat)
        torch.testing.assert_close(pose, torch.cat([turn, fingers if flat else mean + fingers], 1))


def test_normalised_components_start_at_the_mean_pose(hand):
    zero = hand.pose_from_components(torch.zeros(2, 6, dtype=torch.double))
    torch.testing.assert_close(zero, hand.hands_mean.expand(2, 45))
    one = hand.pose_from_components(torch.eye(6, dtype=torch.double)[1:2])
    torch.testing.assert_close(one - zero[:1], hand.pose_std[1] * hand.hands_components[1][None])


@pytest.mark.parametrize("table", TIP_VERTICES)
def test_named_fingertips_on_mano_alone(arrays, table):
    mano = AnnotationHand(arrays | {"topology": np.array("mano")}).double()
    parameters = _parameters(2)
    out = mano(*parameters, tips=table)
    expected = out.vertices[:, list(TIP_VERTICES[table])]
    torch.testing.assert_close(out.joints[:, SIMPLE_TIPS], expected)
    torch.testing.assert_close(mano.regress_joints(out.vertices, table)[:, SIMPLE_TIPS], expected)
    torch.testing.assert_close(mano(*parameters).joints[:, SIMPLE_TIPS], out.vertices[:, list(TIPS)])
    with pytest.raises(HandgapError, match="mesh of its own"):
        AnnotationHand(arrays).tip_vertices(table)


def test_fingertip_tables_are_documented():
    text = (Path(__file__).parents[2] / "docs" / "hands.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+(?:, \d+){4}) \|", text, re.MULTILINE)
    assert {name: tuple(map(int, ids.split(", "))) for name, ids in rows} == TIP_VERTICES


def test_unknown_names_are_refused(arrays, hand):
    with pytest.raises(HandgapError, match="freihand"):
        hand.tip_vertices("mine")
    with pytest.raises(HandgapError, match="side of the hand model: is 'top'"):
        AnnotationHand(arrays | {"side": np.array("top")})
    with pytest.raises(HandgapError, match="topology"):
        AnnotationHand(arrays | {"topology": np.array("torus")})


def test_the_other_hand_is_the_mirror_image(arrays):
    right = AnnotationHand(arrays | {"topology": np.array("mano")}).double()
    left = right.mirrored()
    pose, shape, trans = _parameters(3)
    for tips in ("model", "manopth"):
        found, image = left(_mirror_pose(pose), shape, _mirror(trans), tips), right(pose, shape, trans, tips)
        torch.testing.assert_close(found.vertices, _mirror(image.vertices))
        torch.testing.assert_close(found.joints, _mirror(image.joints))
        torch.testing.assert_close(left.regress_joints(found.vertices), _mirror(right.regress_joints(image.vertices)))
    for flat in (True, False):
        options = {"use_pca": True, "flat_hand_mean": flat}
        of_left = left.full_pose(_mirror_pose(pose[:, :3]), pose[:, 3:9], **options)
        torch.testing.assert_close(of_left, _mirror_pose(right.full_pose(pose[:, :3], pose[:, 3:9], **options)))
    assert (left.faces[:, 0] == right.faces[:, 2]).all()
    assert (left.side, right.side) == (Side.LEFT, Side.RIGHT)
    again = left.mirrored()
    assert again.side is Side.RIGHT
    for name, value in right.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_a_left_model_says_so(arrays, tmp_path):
    np.savez(tmp_path / "left.npz", side="left", topology="mano", **arrays)
    hand = AnnotationHand.load(tmp_path / "left.npz")
    assert (hand.side, hand.topology) == (Side.LEFT, "mano")
    np.savez(tmp_path / "half.npz", **{name: value for name, value in arrays.items() if name != "tip_vertices"})
    with pytest.raises(CorruptFileError, match="tip_vertices"):
        AnnotationHand.load(tmp_path / "half.npz")


def _rotations_to_check():
    usual, zero = _parameters(1, pose_scale=0.7)[0], torch.zeros(1, 48, dtype=torch.double)
    some_zero, near_pi = usual.clone(), usual.clone()
    some_zero[:, [*range(3), *range(12, 21)]] = 0
    near_pi[:, :3] = torch.tensor([0.0, np.pi - 1e-5, 0.0])
    near_pi[:, 9:12] = torch.tensor([3.0, 0.9, 0.2]).double() / 3.138 * (np.pi - 1e-6)
    return {"usual": usual, "all zero": zero, "some zero": some_zero, "near pi": near_pi}


@pytest.mark.parametrize("pose", _rotations_to_check().values(), ids=_rotations_to_check())
def test_gradients_by_all_inputs(hand, pose):
    inputs = [x.clone().requires_grad_() for x in (pose, *_parameters(1)[1:])]
    mix = torch.from_numpy(np.random.default_rng(6).normal(0, 0.1, (3 * (N + 21 + 21), 5)))

    def mixed(*x):
        """A few numbers that every coordinate of every output has a share in."""
        out = hand(*x)
        return torch.cat([out.vertices, out.joints, hand.regress_joints(out.vertices)], 1).flatten(1) @ mix

    assert torch.autograd.gradcheck(mixed, inputs, check_forward_ad=True)


def test_gradients_of_pose_parameters(hand):
    turn, coefficients, _ = (x.clone().requires_grad_() for x in _parameters(2)[0].split([3, 6, 39], 1))
    for flat in (True, False):
        pose = lambda *x, flat=flat: hand.full_pose(*x, use_pca=True, flat_hand_mean=flat)  # noqa: E731
        assert torch.autograd.gradcheck(pose, (turn, coefficients))


def test_batched_forward_mode_is_reverse_mode(hand):
    pose, shape, trans = _parameters(2)

    def posed(p):
        return hand(p, shape, trans).joints

    forwards = torch.func.vmap(lambda d: torch.func.jvp(posed, (pose,), (d,))[1])(
        torch.eye(96).double().view(96, 2, 48)
    )
    backwards = torch.autograd.functional.jacobian(posed, pose)
    torch.testing.assert_close(forwards.movedim(0, -1), backwards.flatten(-2))


def test_nothing_is_made_on_the_default_device(hand):
    """A tensor made without naming its device would be on the meta device here, and not mix with the others."""
    parameters = _parameters(2)
    expected = hand(*parameters)
    with torch.device("meta"):
        out = hand(*parameters)
        regressed = hand.regress_joints(out.vertices)
        mirrored = hand.mirrored()(*parameters)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    assert regressed.device == mirrored.vertices.device == parameters[0].device
