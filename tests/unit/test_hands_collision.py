"""The collision step on a box pressed against a sheet of skin, where every push is known."""

import numpy as np
import pytest
import trimesh
from handgap.hands.collision import MuscleCollision, first_hit, inside

SPACING, SIDE, DEPTH = 0.008, 7, 0.003


@pytest.fixture
def sheet():
    """Skin: 7 x 7 vertices in the plane z = 0, looking up, and one vertex of no face; muscle: a box 3 mm through it."""
    x, y = np.meshgrid(np.arange(SIDE) - 3.0, np.arange(SIDE) - 3.0)
    skin = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1) * SPACING
    cell = np.add.outer(SIDE * np.arange(SIDE - 1), np.arange(SIDE - 1)).ravel()
    faces = np.concatenate([cell[:, None] + [0, 1, SIDE + 1], cell[:, None] + [0, SIDE + 1, SIDE]])
    skin = np.append(skin, [[0.0, 0.0, DEPTH / 2]], 0)
    # the box reaches the 3 x 3 vertices in the middle
    box = trimesh.creation.box((0.021, 0.021, 0.02))
    muscle = box.vertices + np.array([0.0, 0.0, DEPTH - 0.01])
    distance = np.linalg.norm(skin[:, None] - skin[None], axis=2)
    return skin, faces, muscle, box.faces, distance


def _arrays(faces, muscle_faces, distance, mask):
    near = (distance > 0) & (distance <= 0.030)
    return {
        "faces_stump": faces,
        "faces_muscle": muscle_faces,
        "surface_mask": mask,
        "geodesic_indptr": np.append(0, np.cumsum(near.sum(1))),
        "geodesic_indices": np.nonzero(near)[1],
        "geodesic_distances": distance[near],
    }


def test_sunk_skin_rises_above_the_box_and_takes_its_neighbours_along(sheet):
    skin, faces, muscle, muscle_faces, distance = sheet
    mask = np.arange(len(skin)) < SIDE**2
    (found,) = MuscleCollision(_arrays(faces, muscle_faces, distance, mask))(skin[None], muscle[None])
    push = np.zeros_like(skin)
    middle = (np.abs(skin[:, :2]) < 0.01).all(1) & mask
    push[middle, 2] = DEPTH + 0.002
    weights = np.where((distance > 0) & (distance <= 0.030), np.exp(-distance / 0.050), 0.0)
    weights /= np.linalg.norm(weights, axis=0)
    expected = 0.7 * (skin + push) + 0.3 * (skin + weights @ push)
    assert middle.sum() == 9
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert not inside(found[middle], muscle, muscle_faces).any()


def test_one_vertex_inside_is_left_alone(sheet):
    skin, faces, muscle, muscle_faces, distance = sheet
    mask = np.zeros(len(skin), bool)
    mask[[24, 0, 6]] = True  # the middle and two corners
    (found,) = MuscleCollision(_arrays(faces, muscle_faces, distance, mask))(skin[None], muscle[None])
    np.testing.assert_array_equal(found, skin)


def test_inside_of_meshes_that_overlap_and_of_none():
    ball = trimesh.creation.icosphere(3, 1.0)
    vertices = np.concatenate([ball.vertices, ball.vertices + np.array([0.7, 0.0, 0.0])])
    faces = np.concatenate([ball.faces, ball.faces + len(ball.vertices)])
    points = np.random.default_rng(0).uniform(-1.5, 2.2, (4000, 3))
    nearest = np.minimum(np.linalg.norm(points, axis=1), np.linalg.norm(points - [0.7, 0, 0], axis=1))
    clear = np.abs(nearest - 1) > 0.02  # where the polyhedron and the ball agree
    np.testing.assert_array_equal(inside(points, vertices, faces)[clear], (nearest < 1)[clear])
    assert not inside(points + 10, vertices, faces).any()


def test_inside_survives_single_precision_at_a_cameras_distance():
    ball = trimesh.creation.icosphere(4, 0.005)
    points = np.random.default_rng(0).uniform(-0.006, 0.006, (2000, 3))
    radius = np.linalg.norm(points, axis=1)
    clear = np.abs(radius - 0.005) > 1e-4
    found = inside((points + 0.8).astype(np.float32), np.array(ball.vertices + 0.8, np.float32), ball.faces)
    np.testing.assert_array_equal(found[clear], (radius < 0.005)[clear])


def test_rays_stop_at_the_first_surface():
    outer, inner = trimesh.creation.icosphere(4, 2.0), trimesh.creation.icosphere(4, 1.0)
    vertices = np.concatenate([outer.vertices, inner.vertices])
    faces = np.concatenate([outer.faces, inner.faces + len(outer.vertices)])
    directions = np.random.default_rng(1).normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(first_hit(0 * directions, directions, vertices, faces), 1.0, atol=5e-3)
    np.testing.assert_allclose(first_hit(1.5 * directions, directions, vertices, faces), 0.5, atol=1e-2)
    assert np.isinf(first_hit(2.5 * directions, directions, vertices, faces)).all()
