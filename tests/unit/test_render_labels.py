"""Labels against analytic oracles: spheres and planes at known depth, off-centre cameras, occluders."""

import numpy as np
import pytest
import trimesh
from handgap.core.conventions import MaskLabel
from handgap.core.geometry import project
from handgap.render.labels import label, rasterise
from handgap.render.spec import GeometryError, MeshPart, PlainWorld, SceneSpec, SurfaceMaterial

K = np.array([[355.0, 0.0, 97.3], [0.0, 410.0, 131.8], [0.0, 0.0, 1.0]])
WIDTH, HEIGHT = 224, 200
GREY = SurfaceMaterial((0.5, 0.5, 0.5))


def rays(width=WIDTH, height=HEIGHT, camera=K):
    v, u = np.mgrid[:height, :width] + 0.5
    return np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera).T


def sphere(centre, radius, label_, name):
    mesh = trimesh.creation.icosphere(subdivisions=6, radius=radius)
    return MeshPart(name, mesh.vertices + centre, mesh.faces, label_, GREY)


def quad(z, half=1.0, centre=(0.0, 0.0)):
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + centre
    vertices = np.concatenate([corners, np.full((4, 1), z)], 1)
    return vertices, np.array([[0, 1, 2], [0, 2, 3]])


def scene(*parts):
    return SceneSpec(0, K, WIDTH, HEIGHT, list(parts), PlainWorld((1.0, 1.0, 1.0)), 0)


def test_sphere_depth_and_silhouette():
    centre, radius = np.array([0.03, -0.02, 0.5]), 0.08
    part = sphere(centre, radius, MaskLabel.HAND, "hand")
    _, depth = rasterise(part.vertices, part.faces, K, WIDTH, HEIGHT)
    ray = rays()
    depth = np.where(np.isfinite(depth), depth, 0.0)
    along, squared = ray @ centre, (ray**2).sum(-1)
    root = along**2 - squared * (centre @ centre - radius**2)
    truth = np.where(root > 0, (along - np.sqrt(np.maximum(root, 0))) / squared, 0.0)
    both = (truth > 0) & (depth > 0)
    assert ((truth > 0) != (depth > 0)).mean() < 1e-3
    assert np.median(np.abs(truth - depth)[both]) < 5e-5
    well_inside = both & (root > 1e-4)
    assert np.abs(truth - depth)[well_inside].max() < 5e-4


def test_slanted_plane_depth_is_exact():
    vertices, faces = quad(0.6)
    vertices[:, 2] += 0.3 * vertices[:, 0]
    _, depth = rasterise(vertices, faces, K, WIDTH, HEIGHT)
    assert np.abs(depth - 0.6 / (1.0 - 0.3 * rays()[..., 0])).max() < 1e-9


def test_triangle_reaching_behind_the_camera_is_drawn():
    vertices = np.array([[-3.0, 0.2, -1.0], [3.0, 0.2, -1.0], [0.0, 0.2, 50.0]])
    _, depth = rasterise(vertices, np.array([[0, 1, 2]]), K, WIDTH, HEIGHT)
    slope = rays()[..., 1]
    truth = 0.2 / slope
    drawn = np.isfinite(depth)
    assert drawn[-20:].mean() > 0.9 and not drawn[slope <= 0].any()
    np.testing.assert_allclose(depth[drawn], truth[drawn], rtol=1e-9)


def test_pixel_is_covered_when_its_centre_is():
    vertices, faces = quad(1.0)
    vertices[:, :2] = (np.array([[10.4, 20.4], [13.6, 20.4], [13.6, 22.6], [10.4, 22.6]]) - K[:2, 2]) / K[
        [0, 1], [0, 1]
    ]
    face, _ = rasterise(vertices, faces, K, WIDTH, HEIGHT)
    y, x = np.nonzero(face >= 0)
    assert (x.min(), x.max(), y.min(), y.max()) == (10, 13, 20, 22)
    np.testing.assert_allclose(project(vertices, K)[0], [10.4, 20.4])


def test_overlapping_triangles_are_sorted_pixel_by_pixel():
    generator = np.random.default_rng(0)
    vertices = generator.uniform([-0.3, -0.3, 0.2], [0.3, 0.3, 1.0], (60, 3))
    faces = np.arange(60).reshape(-1, 3)
    face, depth = rasterise(vertices, faces, K, WIDTH, HEIGHT)
    nearest, first = np.full((HEIGHT, WIDTH), np.inf), np.full((HEIGHT, WIDTH), -1)
    for number, corners in enumerate(vertices[faces]):
        weight = rays() @ np.linalg.inv(corners)  # of the corners, over depth
        z = 1.0 / weight.sum(-1)
        nearer = (weight >= 0).all(-1) & (z < nearest)
        nearest[nearer], first[nearer] = z[nearer], number
    np.testing.assert_array_equal(face, first)
    np.testing.assert_allclose(depth, nearest, rtol=1e-9)


def test_object_hides_joints_and_counts_as_occlusion():
    hand = sphere([0.0, 0.0, 0.5], 0.05, MaskLabel.HAND, "hand")
    vertices, faces = quad(0.4, half=0.2, centre=(0.2, 0.0))  # covers x > 0
    joints = np.tile([[-0.02, 0.0, 0.5]], (21, 1))
    joints[10] = [0.02, 0.0, 0.5]
    joints[11] = [5.0, 0.0, 0.5]  # outside the image
    bare = label(scene(hand), joints)
    assert bare.occlusion == 0.0 and bare.visibility[10] and not bare.visibility[11]
    covered = label(scene(hand, MeshPart("object", vertices, faces, MaskLabel.OBJECT, GREY)), joints)
    assert covered.occlusion == pytest.approx(0.5, abs=0.02)
    assert not covered.visibility[10] and covered.visibility[[0, 4, 20]].all()
    assert set(np.unique(covered.mask)) == {MaskLabel.BACKGROUND, MaskLabel.HAND, MaskLabel.OBJECT}


def test_own_finger_in_front_hides_a_joint():
    far, near = sphere([0, 0, 0.5], 0.01, MaskLabel.HAND, "hand"), sphere([0, 0, 0.45], 0.01, MaskLabel.HAND, "finger")
    joints = np.tile([[0.0, 0.0, 0.45]], (21, 1))
    joints[6] = [0.0, 0.0, 0.5]
    visibility = label(scene(far, near), joints).visibility
    assert not visibility[6] and visibility[[0, 1, 7]].all()


def test_scene_without_hand_is_refused():
    with pytest.raises(GeometryError, match="no hand"):
        label(scene(sphere([0, 0, 0.5], 0.05, MaskLabel.OBJECT, "object")), np.zeros((21, 3)))
