"""Quadric decimation: errors by their definition, outlines and topology kept."""

import numpy as np
import pytest
import trimesh
from handgap.hands.hierarchy import upsampling
from handgap.hands.qslim import boundary_quadrics, contract, plane_quadrics
from handgap.hands.spirals import one_rings
from toys import ball, sheet

UP = np.array([0.0, 0.0, 1.0])


def test_plane_quadric_is_the_squared_distance_from_the_plane():
    g = np.random.default_rng(0)
    vertices, faces = g.normal(size=(12, 3)), np.arange(12).reshape(4, 3)
    points = np.append(g.normal(size=(5, 3)), np.ones((5, 1)), 1)
    for quadric, (a, b, c) in zip(plane_quadrics(vertices, faces), vertices[faces], strict=True):
        normal = np.cross(b - a, c - a) / np.linalg.norm(np.cross(b - a, c - a))
        expected = ((points[:, :3] - a) @ normal) ** 2
        np.testing.assert_allclose(np.einsum("pi,ij,pj->p", points, quadric, points), expected, atol=1e-12)


def test_quadrics_of_a_plane_have_no_error_in_it_and_its_rim_has_across_it():
    vertices, faces = sheet(4)
    inside = np.append(2 * vertices - vertices[5], np.ones((16, 1)), 1)
    np.testing.assert_allclose(np.einsum("pi,fij,pj->fp", inside, plane_quadrics(vertices, faces), inside), 0)
    edges, quadrics = boundary_quadrics(vertices, faces)
    assert len(edges) == 12
    for (a, b), quadric in zip(vertices[edges], quadrics, strict=True):
        along = (b - a) / np.linalg.norm(b - a)
        across = np.cross(along, UP)
        for point, distance in ((a + 2 * along, 0), (a + 5 * UP, 0), (b - 0.7 * across, 0.7)):
            h = np.append(point, 1)
            np.testing.assert_allclose(h @ quadric @ h, distance**2, atol=1e-12)


def test_a_flat_sheet_is_thinned_without_error_and_keeps_its_outline():
    vertices, faces = sheet(9)
    ((ids, thin),) = contract(vertices, faces, [20])
    assert {0, 8, 72, 80} <= set(ids.tolist())
    np.testing.assert_allclose(trimesh.Trimesh(vertices[ids], thin, process=False).area, 1)
    up, weights = upsampling(vertices, vertices[ids], thin, ids)
    np.testing.assert_allclose((vertices[ids][up] * weights[..., None]).sum(1), vertices, atol=1e-9)


def test_without_boundary_quadrics_a_rim_shrinks():
    vertices, faces = sheet(9, lambda x, y: 0.2 * x * y)
    area = {}
    for weight in (0.0, 10.0):
        ((ids, thin),) = contract(vertices, faces, [16], weight)
        area[weight] = trimesh.Trimesh(vertices[ids, :2], thin, process=False).area
    assert area[0.0] < 0.95
    np.testing.assert_allclose(area[10.0], 1)


def test_a_tube_of_three_sides_is_not_pinched_off():
    """Its short edges round the tube are by far the cheapest; each lies on a loop of three that is no face."""
    rings, angle = np.repeat(np.arange(8), 3), np.tile([0.0, 2.1, 4.2], 8)
    vertices = np.stack([0.05 * np.cos(angle), 0.05 * np.sin(angle), 1.0 * rings], 1)
    a, b = (np.arange(21).reshape(7, 3)[:, k].ravel() for k in ([0, 1, 2], [1, 2, 0]))
    faces = np.concatenate([np.stack([a, b, b + 3], 1), np.stack([a, b + 3, a + 3], 1)])
    ((ids, thin),) = contract(vertices, faces, [12])
    tube = trimesh.Trimesh(vertices[ids], thin, process=False)
    assert tube.euler_number == 0 and tube.is_winding_consistent
    assert [len(ring) for ring in one_rings(thin, 12)] == [len(near) for near in tube.vertex_neighbors]


def test_neither_holes_merge_nor_does_a_lone_triangle_dissolve():
    vertices, faces = sheet(9)
    vertices[:, 2] = np.random.default_rng(0).normal(0, 0.01, 81)
    missing = np.add.outer([0, 64], [18, 21, 42, 45])
    vertices = np.append(vertices, [[0, 0, 1], [0.01, 0, 1], [0, 0.01, 1]], 0)
    faces = np.append(np.delete(faces, missing.ravel(), 0), [[81, 82, 83]], 0)
    for size in (40, 22, 21):
        ((ids, thin),) = contract(vertices, faces, [size])
        mesh = trimesh.Trimesh(vertices[ids], thin, process=False)
        assert mesh.euler_number == -2 and mesh.body_count == 2
        assert [len(ring) for ring in one_rings(thin, size)] == [len(near) for near in mesh.vertex_neighbors]
    with pytest.raises(ValueError, match=r"no edge can be contracted any more at (19|20) vertices"):
        contract(vertices, faces, [12])


def test_a_solid_is_not_thinned_until_it_folds_flat():
    with pytest.raises(ValueError, match=r"no edge can be contracted any more at [4-9] vertices"):
        contract(*ball(0), [3])
