import cv2
import numpy as np
import pytest
from handgap.core import conventions
from handgap.core.geometry import (
    align_rigid,
    crop_affine,
    cv2_affine,
    procrustes_align,
    project,
    random_rotation,
    rodrigues,
)
from handgap.core.seeds import integer_seed, rng
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

GENERATOR = np.random.default_rng(0)


def test_rodrigues_matches_scipy_and_is_safe_at_zero() -> None:
    vectors = GENERATOR.normal(size=(50, 3)) * 2
    assert np.allclose(rodrigues(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)
    assert np.allclose(rodrigues(np.zeros(3)), np.eye(3))


def test_random_rotations_are_proper_and_cover_the_sphere() -> None:
    rotations = np.stack([random_rotation(rng(0, "test", k)) for k in range(2000)])
    assert np.allclose(np.linalg.det(rotations), 1)
    assert np.abs(rotations.mean(0)).max() < 0.06


def test_rigid_alignment_recovers_a_known_motion() -> None:
    points = GENERATOR.normal(size=(3, 10, 3))
    turn = Rotation.random(3, random_state=1).as_matrix()
    shift = GENERATOR.normal(size=(3, 3))
    rotation, translation = align_rigid(points, points @ turn.swapaxes(1, 2) + shift[:, None])
    assert np.allclose(rotation, turn)
    assert np.allclose(translation, shift)


def test_procrustes_equals_the_published_per_sample_protocol() -> None:
    truth, pred = GENERATOR.normal(size=(2, 40, 21, 3))
    pred[0] = truth[0] * np.array([-1, 1, 1])  # a mirrored hand: the protocol allows the reflection
    aligned = procrustes_align(truth, pred)
    for one_truth, one_pred, ours in zip(truth, pred, aligned, strict=True):
        t = one_truth - one_truth.mean(0)
        p = one_pred - one_pred.mean(0)
        s1, s2 = np.linalg.norm(t) + 1e-8, np.linalg.norm(p) + 1e-8
        rotation, scale = orthogonal_procrustes(t / s1, p / s2)
        assert np.allclose(ours, p / s2 @ rotation.T * scale * s1 + one_truth.mean(0), atol=1e-10)
    assert np.allclose(aligned[0], truth[0])


def test_projection_of_the_optical_axis_is_the_principal_point() -> None:
    K = np.array([[300.0, 0, 110.5], [0, 310, 95], [0, 0, 1]])
    assert np.allclose(project(np.array([[0, 0, 0.7]]), K), [[110.5, 95]])
    assert np.allclose(project(np.array([[0.1, -0.2, 0.5]]), K), [[110.5 + 60, 95 - 124]])


def test_crop_maps_its_centre_and_corners() -> None:
    affine = crop_affine(np.array([100.0, 60.0]), side=80, size=128)
    assert np.allclose(affine @ [100, 60, 1], [64, 64])
    assert np.allclose(affine @ [60, 20, 1], [0, 0])
    turned = crop_affine(np.array([100.0, 60.0]), 80, 128, np.pi / 2)
    assert np.allclose(turned @ [140, 60, 1], [64, 128])  # clockwise on screen: right goes down


def test_cv2_crop_puts_a_pixel_where_the_affine_says() -> None:
    image = np.zeros((64, 64), np.float32)
    image[20, 30] = 1
    affine = crop_affine(np.array([32.0, 32.0]), 32, 64)
    crop = cv2.warpAffine(image, cv2_affine(affine), (64, 64), flags=cv2.INTER_LINEAR)
    y, x = np.indices(crop.shape)
    centre = np.array([(crop * (x + 0.5)).sum(), (crop * (y + 0.5)).sum()]) / crop.sum()
    assert np.allclose(centre, affine @ [30.5, 20.5, 1], atol=0.02)


def test_seeds_depend_on_stage_and_sample_only() -> None:
    assert rng(0, "render", 5).normal() == rng(0, "render", 5).normal()
    values = {rng(s, stage, k).normal() for s in (0, 1) for stage in ("render", "compose") for k in range(4)}
    assert len(values) == 16
    assert 0 <= integer_seed(0, "train") < 2**31


def test_joint_orders_agree() -> None:
    assert conventions.JOINT_NAMES[5] == "index1"
    assert conventions.JOINT_NAMES[conventions.MIDDLE_MCP] == "middle1"
    assert [conventions.JOINT_PARENTS[tip] for tip in conventions.FINGERTIPS] == [3, 7, 11, 15, 19]
    # a MANO joint's parent in MANO order is its parent in simple order (tips aside)
    simple_of = {int(mano): simple for simple, mano in enumerate(conventions.MANO_TO_SIMPLE)}
    for joint in range(1, 16):
        parent = conventions.MANO_PARENTS[joint]
        assert conventions.JOINT_PARENTS[simple_of[joint]] == simple_of[int(parent)]


@pytest.mark.parametrize("table", conventions.TIP_VERTICES.values())
def test_tip_vertices_are_on_the_mesh(table: tuple[int, ...]) -> None:
    assert len(set(table)) == 5
    assert max(table) < conventions.N_ANNOTATION_VERTICES
