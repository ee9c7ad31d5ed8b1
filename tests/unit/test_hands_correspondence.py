"""Surface maps against a search over every face."""

import numpy as np
import trimesh
from handgap.hands.correspondence import average_maps, closest_on_surface


def test_closest_points_are_those_of_a_full_search():
    g = np.random.default_rng(0)
    ball = trimesh.creation.icosphere(2, 1.0)
    # long thin triangles beside small ones, and a vertex that no face uses right at a query
    vertices = np.append(ball.vertices * [1.0, 0.2, 3.0], [[5.0, 5.0, 5.0]], 0)
    faces = np.asarray(ball.faces)
    points = np.append(g.uniform(-4, 4, (60, 3)), [[5.0, 5.0, 5.0], [0.0, 0.0, 0.0]], 0)
    face, bary, distance = closest_on_surface(points, vertices, faces)
    for k, point in enumerate(points):
        feet = trimesh.triangles.closest_point(vertices[faces], np.repeat(point[None], len(faces), 0))
        np.testing.assert_allclose(distance[k], np.linalg.norm(feet - point, axis=1).min(), atol=1e-12)
    feet = (vertices[faces[face]] * bary[..., None]).sum(1)
    np.testing.assert_allclose(np.linalg.norm(feet - points, axis=1), distance, atol=1e-9)
    np.testing.assert_allclose(bary.sum(1), 1.0, atol=1e-9)
    assert bary.min() > -1e-9


def test_average_of_maps_merges_equal_vertices_and_pads():
    faces = np.array([[0, 1, 2], [2, 1, 3]])
    face_ids = [np.array([0, 0]), np.array([1, 0])]
    bary = [np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]), np.array([[0.6, 0.1, 0.3], [1.0, 0.0, 0.0]])]
    ids, weights = average_maps(face_ids, bary, faces)
    np.testing.assert_array_equal(ids[0], [0, 1, 2, 3])
    np.testing.assert_allclose(weights[0], [0.1, 0.2, 0.55, 0.15])
    assert ids[1, 0] == 0
    np.testing.assert_allclose(weights[1], [1, 0, 0, 0])
