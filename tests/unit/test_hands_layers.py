"""Kinematics and the render hand against slow references, and their gradients."""

import numpy as np
import pytest
import torch
from handgap.core.conventions import NIMBLE_PARENTS
from handgap.core.errors import CorruptFileError, HandgapError, MissingAssetError
from handgap.hands.kinematics import axis_angles, global_transforms, linear_blend_skinning, rotation_matrices
from handgap.hands.render_hand import RenderHand
from scipy.spatial.transform import Rotation
from toys import partition

N = 80


@pytest.fixture
def arrays():
    g = np.random.default_rng(0)
    return {
        "v_template": g.normal(0, 0.05, (N, 3)),
        "shapedirs": g.normal(0, 0.002, (N, 3, 4)),
        "J_template": g.normal(0, 0.05, (25, 3)),
        "J_shapedirs": g.normal(0, 0.002, (25, 3, 4)),
        "weights": partition(g, N, 26),
        "mano_weights": partition(g, 7, 3),
        "mano_vertices": g.integers(0, N, (7, 3)),
        "parents": np.append(NIMBLE_PARENTS, 0),
        "faces_stump": g.integers(0, N, (20, 3)),
        "pose_mean": g.normal(0, 0.1, 57),
        "pose_components": np.linalg.qr(g.normal(size=(57, 57)))[0],
        "pose_std": np.linspace(1, 0.1, 57),
    }


@pytest.fixture
def render_hand(arrays):
    return RenderHand(arrays).double()


def test_rotations_agree_with_scipy_and_survive_zero_and_pi():
    vectors = np.random.default_rng(2).normal(0, 1.0, (50, 3))
    vectors[0] = 0
    vectors[1] = [1e-6, -2e-6, 0]
    vectors[2] = [np.pi - 1e-7, 0, 0]
    found = rotation_matrices(torch.tensor(vectors))
    np.testing.assert_allclose(found, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-7)
    back = Rotation.from_rotvec(axis_angles(found).numpy()).as_matrix()
    np.testing.assert_allclose(back, found, atol=1e-6)


def test_skinning_is_the_sum_over_bones():
    g = np.random.default_rng(3)
    parents = (-1, 0, 1, 1)
    points, joints, weights = g.normal(size=(6, 3)), g.normal(size=(4, 3)), partition(g, 6, 4)
    local = Rotation.from_rotvec(g.normal(size=(4, 3))).as_matrix()
    world = [np.eye(4) for _ in parents]
    for k, parent in enumerate(parents):
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = local[k], joints[k] - (joints[parent] if k else 0)
        world[k] = world[parent] @ step if k else step
    expected = np.zeros((6, 3))
    for v in range(6):
        for k in range(4):
            expected[v] += weights[v, k] * (world[k][:3, :3] @ (points[v] - joints[k]) + world[k][:3, 3])
    tensors = [torch.tensor(x)[None] for x in (points, joints, local)]
    found, places = linear_blend_skinning(*tensors, torch.tensor(weights), parents)
    np.testing.assert_allclose(found[0], expected, atol=1e-12)
    np.testing.assert_allclose(places[0], [w[:3, 3] for w in world], atol=1e-12)


def test_global_rotation_turns_the_hand_about_its_root(render_hand):
    pose = torch.zeros(2, 60, dtype=torch.double)
    pose[1, :3] = torch.tensor([0.3, -0.8, 0.5])
    trans = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.2, 0.3]], dtype=torch.double)
    out = render_hand(pose, torch.zeros(2, 4, dtype=torch.double), trans)
    turn = Rotation.from_rotvec(pose[1, :3].numpy()).as_matrix()
    root = out.joints25[0, 0].numpy()
    np.testing.assert_allclose(
        out.vertices[1], (out.vertices[0].numpy() - root) @ turn.T + root + trans[1].numpy(), atol=1e-8
    )
    assert out.joints25.shape == (2, 25, 3)


def test_forearm_turns_about_the_wrist_and_leaves_joints(render_hand):
    pose, shape, trans = (torch.zeros(1, n, dtype=torch.double) for n in (60, 4, 3))
    straight = render_hand(pose, shape, trans)
    bent = render_hand(pose, shape, trans, forearm=torch.tensor([[0.0, 0.4, 0.0]], dtype=torch.double))
    torch.testing.assert_close(bent.joints25, straight.joints25)
    assert (bent.vertices - straight.vertices).abs().max() > 1e-3


def test_a_hand_without_forearm_says_so(arrays):
    nimble = RenderHand(arrays | {"parents": NIMBLE_PARENTS, "weights": arrays["weights"][:, :25]})
    with pytest.raises(HandgapError, match="ends at the wrist"):
        nimble(*(torch.zeros(1, n) for n in (60, 4, 3)), forearm=torch.zeros(1, 3))


ANGLES = {"exactly zero": 0.0, "tiny": 3e-5, "at the series' end": 1e-4, "usual": 0.7, "near pi": np.pi - 1e-4}


@pytest.mark.parametrize("angle", ANGLES.values(), ids=ANGLES)
def test_gradients_of_rotations(angle):
    axes = torch.nn.functional.normalize(torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 1.0]], dtype=torch.double), dim=1)
    vectors = (angle * axes).requires_grad_()
    assert torch.autograd.gradcheck(rotation_matrices, vectors)
    back = lambda v: axis_angles(rotation_matrices(v))  # noqa: E731
    assert torch.autograd.gradcheck(back, vectors)
    torch.testing.assert_close(back(vectors), vectors, atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_small_rotations_keep_their_digits(kind):
    vectors = (np.random.default_rng(4).normal(size=(200, 3)) * np.logspace(-8, 0, 200)[:, None]).astype(kind)
    found = rotation_matrices(torch.tensor(vectors)).double().numpy()
    expected = Rotation.from_rotvec(vectors).as_matrix()
    digits = 20 * np.finfo(kind).eps
    np.testing.assert_allclose(found, expected, rtol=0, atol=digits)
    # the antisymmetric part is the rotation itself, however small
    np.testing.assert_allclose(found[:, 0, 1] - found[:, 1, 0], expected[:, 0, 1] - expected[:, 1, 0], rtol=digits)


def test_kinematics_of_a_chain_and_of_a_star():
    g = np.random.default_rng(5)
    for parents in ((-1,), (-1, 0, 1, 2, 3), (-1, 0, 0, 0, 0), (-1, 0, 0, 1, 2, 1, 5)):
        joints = torch.tensor(g.normal(size=(2, len(parents), 3)))
        local = torch.tensor(Rotation.from_rotvec(g.normal(size=(2 * len(parents), 3))).as_matrix())
        local = local.reshape(2, len(parents), 3, 3)
        turns, places = global_transforms(local, joints, parents)
        for joint, parent in enumerate(parents):
            above = (turns[:, parent], places[:, parent]) if joint else (torch.eye(3).double().expand(2, 3, 3), 0)
            bone = joints[:, joint] - (joints[:, parent] if joint else 0)
            torch.testing.assert_close(turns[:, joint], above[0] @ local[:, joint])
            torch.testing.assert_close(places[:, joint], above[1] + (above[0] @ bone[..., None])[..., 0])


def test_gradients_of_the_render_hand(render_hand):
    g = torch.Generator().manual_seed(0)
    inputs = [0.3 * torch.randn(1, n, generator=g, dtype=torch.double) for n in (60, 4, 3)]
    inputs[0][:, 6:12] = 0
    inputs = [x.requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(lambda *x: render_hand(*x)[0][:, :5], inputs, fast_mode=True)


def test_metacarpal_rotation_goes_into_the_finger(render_hand):
    pose = torch.zeros(1, 60, dtype=torch.double)
    pose[0, 3 * 4 : 3 * 4 + 3] = torch.tensor([0.2, 0.0, 0.0])  # bone 4: index metacarpal
    pose[0, 3 * 5 : 3 * 5 + 3] = torch.tensor([0.3, 0.0, 0.0])  # bone 5: index proximal
    found = render_hand.annotation_pose(pose)
    expected = torch.zeros(1, 48, dtype=torch.double)
    expected[0, 3] = 0.5
    torch.testing.assert_close(found, expected)


def test_missing_and_incomplete_files(tmp_path):
    with pytest.raises(MissingAssetError, match="convert the licensed one"):
        RenderHand.load(tmp_path / "none.npz")
    np.savez(tmp_path / "half.npz", v_template=np.zeros((3, 3)), parents=np.array([-1]))
    with pytest.raises(CorruptFileError, match="J_template"):
        RenderHand.load(tmp_path / "half.npz")
