"""Layers against slow references, and their gradients."""

import numpy as np
import pytest
import torch
from handgap.core.conventions import MANO_TO_SIMPLE, NIMBLE_PARENTS
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.kinematics import axis_angles, linear_blend_skinning, rotation_matrices
from handgap.hands.render_hand import RenderHand
from scipy.spatial.transform import Rotation

N = 80


def _partition(generator, rows, columns):
    values = generator.random((rows, columns)) ** 4
    return values / values.sum(1, keepdims=True)


@pytest.fixture
def render_hand():
    g = np.random.default_rng(0)
    return RenderHand(
        {
            "v_template": g.normal(0, 0.05, (N, 3)),
            "shapedirs": g.normal(0, 0.002, (N, 3, 4)),
            "J_template": g.normal(0, 0.05, (25, 3)),
            "J_shapedirs": g.normal(0, 0.002, (25, 3, 4)),
            "weights": _partition(g, N, 26),
            "mano_weights": _partition(g, 7, 3),
            "mano_vertices": g.integers(0, N, (7, 3)),
            "parents": np.append(NIMBLE_PARENTS, 0),
        }
    ).double()


@pytest.fixture
def annotation_hand():
    g = np.random.default_rng(1)
    return AnnotationHand(
        {
            "v_template": g.normal(0, 0.05, (N, 3)),
            "faces": g.integers(0, N, (20, 3)),
            "shapedirs": g.normal(0, 0.002, (N, 3, 10)),
            "posedirs": g.normal(0, 0.001, (N, 3, 135)),
            "J_regressor": _partition(g, 16, N),
            "weights": _partition(g, N, 16),
            "parents": np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]),
            "hands_mean": g.normal(0, 0.1, 45),
            "hands_components": np.linalg.qr(g.normal(size=(45, 45)))[0],
            "pose_std": np.linspace(1, 0.1, 45),
            "tip_vertices": np.array([1, 2, 3, 4, 5]),
        }
    ).double()


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
    points, joints, weights = g.normal(size=(6, 3)), g.normal(size=(4, 3)), _partition(g, 6, 4)
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


def test_gradients_of_both_layers(render_hand, annotation_hand):
    g = torch.Generator().manual_seed(0)
    for hand, n_pose, n_shape in ((render_hand, 60, 4), (annotation_hand, 48, 10)):
        inputs = [0.3 * torch.randn(1, n, generator=g, dtype=torch.double) for n in (n_pose, n_shape, 3)]
        inputs = [x.requires_grad_() for x in inputs]
        assert torch.autograd.gradcheck(lambda *x, hand=hand: hand(*x)[0][:, :5], inputs, fast_mode=True)
    zero = torch.zeros(1, 48, dtype=torch.double, requires_grad=True)
    annotation_hand(zero, torch.zeros(1, 10).double(), torch.zeros(1, 3).double()).vertices.square().sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_joint_order_and_regression(annotation_hand):
    pose, shape, trans = (torch.zeros(1, n, dtype=torch.double) for n in (48, 10, 3))
    out = annotation_hand(pose, shape, trans)
    torch.testing.assert_close(annotation_hand.regress_joints(out.vertices), out.joints)
    tips = [int(np.argsort(MANO_TO_SIMPLE)[16 + k]) for k in range(5)]
    torch.testing.assert_close(out.joints[0, tips], out.vertices[0, 1:6])


def test_pose_components_start_at_the_mean_pose(annotation_hand):
    zero = annotation_hand.pose_from_components(torch.zeros(2, 6, dtype=torch.double))
    torch.testing.assert_close(zero, annotation_hand.hands_mean.expand(2, 45))
    one = annotation_hand.pose_from_components(torch.eye(6, dtype=torch.double)[1:2])
    torch.testing.assert_close(one - zero[:1], annotation_hand.pose_std[1] * annotation_hand.hands_components[1][None])


def test_metacarpal_rotation_goes_into_the_finger(render_hand):
    pose = torch.zeros(1, 60, dtype=torch.double)
    pose[0, 3 * 4 : 3 * 4 + 3] = torch.tensor([0.2, 0.0, 0.0])  # bone 4: index metacarpal
    pose[0, 3 * 5 : 3 * 5 + 3] = torch.tensor([0.3, 0.0, 0.0])  # bone 5: index proximal
    found = render_hand.annotation_pose(pose)
    expected = torch.zeros(1, 48, dtype=torch.double)
    expected[0, 3] = 0.5
    torch.testing.assert_close(found, expected)


def test_missing_and_incomplete_files(tmp_path):
    with pytest.raises(MissingAssetError):
        RenderHand.load(tmp_path / "none.npz")
    np.savez(tmp_path / "half.npz", v_template=np.zeros((3, 3)), parents=np.array([-1]))
    with pytest.raises(CorruptFileError, match="J_template"):
        RenderHand.load(tmp_path / "half.npz")
