"""The mesh hierarchy: decimation, upsampling, spirals and adjacency against slow or hand-made references."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from handgap.core.errors import CorruptFileError, HandgapError
from handgap.core.files import read_arrays, write_npz
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.hierarchy import Hierarchy, build_hierarchy, halved, normalised_adjacency
from handgap.hands.hierarchy_step import hierarchy as step
from handgap.hands.mesh import boundary_loop, vertex_normals
from handgap.hands.qslim import compactness
from handgap.hands.spirals import one_rings, spirals
from toys import ball, sheet

MM = 1e3
UP = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def hand(made):
    return AnnotationHand.load(made / "models/open_mano.npz").double()


@pytest.fixture(scope="module")
def levels_of_hand(hand):
    return build_hierarchy(hand.v_template.numpy(), hand.faces)


@pytest.fixture(scope="module")
def levels_of_ball():
    return build_hierarchy(*ball())


def meshes(hierarchy, vertices):
    return [(vertices[level.ids], level.faces) for level in hierarchy.levels]


def round_trip(hierarchy, k, posed):
    """Distances (..., V) of level k from what is left of it after down and up, positions (..., template, 3)."""
    there = posed[..., hierarchy.levels[k].ids, :]
    link = hierarchy.links[k]
    return np.linalg.norm(link.up_matrix() @ (link.down_matrix() @ there) - there, axis=-1)


# --- meshes


@pytest.mark.parametrize("shape", ["hand", "ball", "box", "two balls"])
def test_every_level_is_a_clean_mesh_of_the_same_topology(request, shape):
    if shape == "hand":
        hand = request.getfixturevalue("hand")
        vertices, faces = hand.v_template.numpy(), hand.faces
    elif shape == "box":
        box = trimesh.creation.box().subdivide().subdivide().subdivide()
        vertices, faces = np.array(box.vertices), np.array(box.faces)
    else:
        vertices, faces = ball()
        if shape == "two balls":
            vertices, faces = np.concatenate([vertices, vertices + 3]), np.concatenate([faces, faces + len(vertices)])
    made = build_hierarchy(vertices, faces, spiral_length=9)
    assert made.sizes == (len(vertices), *halved(len(vertices)))
    outward = vertex_normals(vertices, faces)
    whole = trimesh.Trimesh(vertices, faces, process=False)
    for level, (places, mesh) in zip(made.levels, meshes(made, vertices), strict=True):
        thin = trimesh.Trimesh(places, mesh, process=False)
        assert np.array_equal(np.unique(mesh), np.arange(len(places)))
        assert thin.is_winding_consistent and thin.is_watertight == whole.is_watertight
        assert thin.euler_number == whole.euler_number and thin.body_count == whole.body_count
        rings = one_rings(mesh, len(places))
        assert [len(ring) for ring in rings] == (np.diff(level.adjacency.indptr) - 1).tolist()
        assert compactness(places[mesh]).min() > 0.03
        assert ((thin.face_normals * outward[level.ids][mesh].sum(1)).sum(1) > 0).all()


def test_the_hand_keeps_its_wrist_and_comes_back_within_two_millimetres(hand, levels_of_hand):
    template = hand.v_template.numpy()
    assert levels_of_hand.sizes == (778, 389, 195, 98, 49)
    assert MM * round_trip(levels_of_hand, 0, template).max() <= 2.0
    rim = [boundary_loop(mesh) for _, mesh in meshes(levels_of_hand, template)]
    for level, fine, coarse in zip(levels_of_hand.levels[1:], rim, rim[1:], strict=False):
        assert len(coarse) <= len(fine)
        assert set(level.ids[coarse]) <= set(rim[0])


def test_posed_hands_come_back(hand, levels_of_hand):
    g = torch.Generator().manual_seed(0)
    pose = torch.zeros(100, 48, dtype=torch.double)
    pose[:, 3:] = hand.pose_from_components(torch.randn(100, 45, generator=g, dtype=torch.double).clamp(-2, 2))
    shape = torch.randn(100, 10, generator=g, dtype=torch.double)
    posed = hand(pose, shape, torch.zeros(100, 3, dtype=torch.double)).vertices.numpy()
    error = MM * np.stack([round_trip(levels_of_hand, 0, one) for one in posed])
    assert error.mean() < 0.5
    assert error.max() < 10.0


# --- upsampling


def _closest_on_triangle(point, corners):
    """Distance by trying the plane, the three edges and the three corners."""
    a, b, c = corners
    inside = np.linalg.lstsq(np.stack([b - a, c - a], 1), point - a, rcond=None)[0]
    feet = [a + np.stack([b - a, c - a], 1) @ inside] if (inside >= 0).all() and inside.sum() <= 1 else []
    for start, end in ((a, b), (b, c), (c, a)):
        share = np.clip((point - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
        feet.append(start + share * (end - start))
    return min(np.linalg.norm(foot - point) for foot in feet)


@pytest.mark.parametrize("shape", ["levels_of_hand", "levels_of_ball"])
def test_upsampled_vertices_are_the_closest_points(request, shape):
    made = request.getfixturevalue(shape)
    template = request.getfixturevalue("hand").v_template.numpy() if "hand" in shape else ball()[0]
    for k, (fine, coarse) in enumerate(pairwise(meshes(made, template))):
        distance = round_trip(made, k, template)
        corners = coarse[0][coarse[1]]
        for vertex in range(0, len(fine[0]), max(1, len(fine[0]) // 10)):
            expected = min(_closest_on_triangle(fine[0][vertex], triangle) for triangle in corners)
            np.testing.assert_allclose(distance[vertex], expected, atol=1e-9)


@pytest.mark.parametrize("shape", ["levels_of_hand", "levels_of_ball"])
def test_maps_select_downwards_and_are_means_upwards(request, shape):
    made = request.getfixturevalue(shape)
    ids = made.levels[0].ids
    for link, level in zip(made.links, made.levels[1:], strict=True):
        up, down = link.up_matrix(), link.down_matrix()
        assert np.diff(up.indptr).max() <= 3 and (np.diff(down.indptr) == 1).all()
        assert up.data.min() > 0
        np.testing.assert_allclose(up.sum(1), 1)
        np.testing.assert_array_equal((down @ up).toarray(), np.eye(len(level.ids)))
        ids = ids[link.down]
        np.testing.assert_array_equal(ids, level.ids)
        corners = {tuple(face) for face in level.faces.tolist()}
        gone = np.setdiff1d(np.arange(len(link.up_vertices)), link.down)
        assert {tuple(row) for row in link.up_vertices[gone].tolist()} <= corners


# --- spirals


def test_spiral_on_a_grid_is_the_one_drawn_by_hand():
    """Grid of 5 x 5, x to the right, y up, diagonals from lower left to upper right; the middle is 12.

    20 21 22 23 24
    15 16 17 18 19
    10 11 12 13 14
     5  6  7  8  9
     0  1  2  3  4
    """
    vertices, faces = sheet(5)
    rings = one_rings(faces, 25)
    assert rings[12] == [6, 7, 13, 18, 17, 11]  # inner: from its smallest id
    assert rings[0] == [1, 6, 5]  # corner with the diagonal, along the border's direction
    assert rings[4] == [9, 3]
    assert rings[2] == [3, 8, 7, 1]
    made = spirals(vertices, faces, 19)
    second = [5, 0, 1, 2, 8, 14, 19, 24, 23, 22, 16, 10]
    assert made[12].tolist() == [12, 6, 7, 13, 18, 17, 11, *second]
    assert made[0].tolist()[:9] == [0, 1, 6, 5, 2, 7, 12, 11, 10]


def test_spirals_on_an_icosahedron():
    vertices, faces = ball(0)
    made = spirals(vertices, faces, 12)
    for vertex, row in enumerate(made):
        assert sorted(row) == list(range(12))
        assert row[0] == vertex and row[1] == min(row[1:6])
        np.testing.assert_allclose(vertices[row[11]], -vertices[vertex], atol=1e-12)
        assert _turns(vertices, vertices[vertex], row[1:6]) and _turns(vertices, vertices[vertex], row[6:11])


def _turns(vertices, axis, ring):
    """Whether neighbours in a closed ring follow one another counter-clockwise round an axis."""
    arms = vertices[ring] - np.outer(vertices[ring] @ axis, axis) / (axis @ axis)
    return (np.cross(arms, np.roll(arms, -1, axis=0)) @ axis > 0).all()


@pytest.mark.parametrize("shape", ["levels_of_hand", "levels_of_ball"])
def test_every_spiral_begins_with_itself_and_its_ring_right_handed(request, shape):
    made = request.getfixturevalue(shape)
    for level in made.levels:
        corners = {tuple(np.roll(face, k)) for face in level.faces.tolist() for k in range(3)}
        linked = level.adjacency.astype(bool).toarray()
        for vertex, row in enumerate(level.spirals.tolist()):
            assert len(set(row)) == len(row) == 27 and row[0] == vertex
            ring = set(np.flatnonzero(linked[vertex]).tolist()) - {vertex}
            first = row[1 : 1 + len(ring)]
            assert set(first) == ring
            # neighbours in the ring make a face with the vertex, wound outwards
            assert all((vertex, *pair) in corners for pair in pairwise(first))
            closed = (vertex, first[-1], first[0]) in corners
            assert not closed or first[0] == min(first)
            # the rest are rings by distance in edges
            hops = [_edges_between(linked, vertex, other) for other in row[1:]]
            assert hops == sorted(hops)


def _edges_between(linked, start, end):
    front, hops = linked[start], 1
    while not front[end]:
        front, hops = linked[front].any(0), hops + 1
    return hops


def test_a_dilated_spiral_takes_each_nth_vertex():
    vertices, faces = sheet(6, lambda x, y: x * y)
    whole = spirals(vertices, faces, 25)
    np.testing.assert_array_equal(spirals(vertices, faces, 9, dilation=3), whole[:, ::3])
    with pytest.raises(ValueError, match="spirals of 13 vertices, dilation 3, on a mesh of 36"):
        spirals(vertices, faces, 13, dilation=3)


def test_a_spiral_that_has_wound_over_its_sheet_goes_on_with_the_nearest():
    vertices, faces = sheet(2)
    row = spirals(np.concatenate([vertices, vertices + UP]), np.concatenate([faces, faces + 4]), 8)
    assert sorted(row[0][:4]) == [0, 1, 2, 3]
    assert row[0][4:].tolist() == [4, 5, 6, 7]
    assert row[3][4:].tolist() == [7, 5, 6, 4]


# --- adjacency


def test_adjacency_is_the_mean_over_a_vertex_and_its_neighbours():
    _, faces = sheet(4)
    expected = np.eye(16)
    for face in faces:
        for a in face:
            expected[a, face] = 1
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(normalised_adjacency(faces, 16).toarray(), expected)


# --- files and faults


def test_file_holds_the_hierarchy_and_its_bytes_depend_on_nothing_else(tmp_path):
    model = tmp_path / "ball.npz"
    vertices, faces = ball()
    write_npz(model, {"v_template": vertices, "faces": faces, "licence": np.array("none")})
    for name in ("a.npz", "b.npz"):
        step(model, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again, made = Hierarchy.load(tmp_path / "a.npz"), build_hierarchy(vertices.astype(np.float32), faces)
    assert again.sizes == made.sizes == (642, 321, 161, 81, 41)
    for one, other in zip(again.levels, made.levels, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.faces, other.faces)
        np.testing.assert_array_equal(one.spirals, other.spirals)
        np.testing.assert_allclose(one.adjacency.toarray(), other.adjacency.toarray(), rtol=1e-6)
    for one, other in zip(again.links, made.links, strict=True):
        np.testing.assert_array_equal(one.down, other.down)
        np.testing.assert_allclose(one.up_matrix().toarray(), other.up_matrix().toarray(), atol=1e-5)
    assert str(read_arrays(tmp_path / "a.npz")["licence"]) == "none"
    with pytest.raises(CorruptFileError, match="lacks sizes"):
        Hierarchy.load(model)


def test_the_step_takes_sizes_and_spirals(tmp_path):
    model = tmp_path / "sheet.npz"
    vertices, faces = sheet(8)
    write_npz(model, {"v_template": vertices, "faces": faces})
    step(model, tmp_path / "out.npz", size=[30, 11], spiral_length=5, dilation=2)
    made = Hierarchy.load(tmp_path / "out.npz")
    assert made.sizes == (64, 30, 11)
    assert all(level.spirals.shape == (size, 5) for level, size in zip(made.levels, made.sizes, strict=True))


def _broken(fault):
    vertices, faces = sheet(5)
    if fault == "range":
        faces[3, 1] = 25
    elif fault == "number":
        vertices[7, 2] = np.nan
    elif fault == "isolated":
        vertices = np.append(vertices, [[2, 2, 2], [3, 3, 3]], 0)
    elif fault == "seam":
        vertices = np.append(vertices, vertices[[12]], 0)
        faces[0, 0] = 25
    elif fault == "area":
        faces = np.append(faces, [[3, 3, 4]], 0)
    elif fault == "winding":
        faces[5] = faces[5, ::-1]
    elif fault == "fan":
        other, more = sheet(5)
        vertices = np.append(vertices, other[1:] + UP, 0)
        faces = np.append(faces, np.where(more == 0, 0, more + 24), 0)
    return vertices, faces


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("range", r"1 faces name vertices that are none of its 25 \(first: 3\)"),
        ("number", r"1 vertices are not at finite places \(first: 7\)"),
        ("isolated", r"2 vertices belong to no face \(first: 25\)"),
        ("seam", r"2 vertices share their place with another \(first: 12\)"),
        ("area", r"1 faces have no area \(first: 32\)"),
        ("winding", r"edges run along two faces the same way"),
        ("fan", r"1 vertices join sheets that share no edge \(first: 0\)"),
    ],
)
def test_faulty_templates_are_refused_by_name(fault, message):
    with pytest.raises(HandgapError, match=message) as error:
        build_hierarchy(*_broken(fault), what=Path("some.npz"))
    assert error.value.what == "some.npz" and error.value.cure


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [30, 30]}, "thinned to"),
        ({"sizes": [99]}, "thinned to"),
        ({"sizes": [40, 20]}, "20 vertices, and a spiral winds over 27"),
        ({"sizes": [30], "dilation": 2}, "30 vertices, and a spiral winds over 53"),
        ({"sizes": [2], "spiral_length": 1}, "no edge can be contracted any more"),
    ],
)
def test_sizes_and_spirals_that_do_not_fit_are_refused(options, message):
    with pytest.raises(HandgapError, match=message):
        build_hierarchy(*sheet(7), **options)
