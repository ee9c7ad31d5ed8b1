import numpy as np
import pytest
import trimesh
from handgap.render.objects import KINDS, random_object
from scipy.spatial import cKDTree

OPEN = {"mug", "cup"}  # the distance is to the filled outside


def winding(points, triangles):
    """Generalised winding number (Jacobson et al. 2013): 1 inside, 0 outside."""
    a, b, c = (triangles[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    volume = (a * np.cross(b, c)).sum(-1)
    spread = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.arctan2(volume, spread).sum(1) / (2 * np.pi)


@pytest.mark.parametrize("kind", KINDS)
def test_mesh_is_closed_faces_outwards_and_agrees_with_the_distance(kind):
    thing = random_object(np.random.default_rng(5), kind)
    mesh = trimesh.Trimesh(thing.solid.mesh.vertices, thing.solid.mesh.faces)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    assert 0.015 < mesh.extents.max() < 0.3
    on_surface = thing.solid.distance(mesh.vertices)
    assert on_surface.max() < 1e-6
    if kind in OPEN:
        return
    assert on_surface.min() > -6e-4
    generator = np.random.default_rng(6)
    points = generator.uniform(mesh.bounds[0] - 0.02, mesh.bounds[1] + 0.02, (150, 3))
    surface, _ = trimesh.sample.sample_surface(mesh, 60_000, seed=0)
    truth = cKDTree(surface).query(points)[0] * np.where(winding(points, mesh.triangles) > 0.5, -1, 1)
    outside = truth > 0
    # facets lie inside the smooth shape and samples have gaps: a millimetre; deep inside only the sign matters
    assert np.abs(thing.solid.distance(points) - truth)[outside].max() < 1.5e-3
    assert (thing.solid.distance(points)[truth < -1e-3] < 0).all()


def test_objects_follow_their_generator():
    first, again = (random_object(np.random.default_rng(3)) for _ in range(2))
    other = random_object(np.random.default_rng(4), first.kind)
    assert first.kind == again.kind
    assert np.array_equal(first.solid.mesh.vertices, again.solid.mesh.vertices)
    assert first.material.base == again.material.base
    assert not np.array_equal(first.solid.mesh.vertices, other.solid.mesh.vertices)
