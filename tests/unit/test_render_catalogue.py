import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.hands.prior import PosePrior
from handgap.hands.render_hand import RenderHand
from handgap.render.catalogue import PROPERTIES, Catalogue, held_object
from handgap.render.grasp import PENETRATION, Grasper
from handgap.render.solids import Mesh
from handgap.render.voxels import PITCH, VoxelSolid
from PIL import Image

MODEL = Path(__file__).parents[2] / "results" / "models" / "open_nimble.npz"
RED, BLUE, GREEN = (204, 0, 0), (0, 0, 204), (20, 200, 40)
CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
SIDES = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]


def box_model(height: float) -> str:
    """A unit box, `height` high: the lower sides red, one side blue, one with a picture repeated twice."""
    lines = ["mtllib box.mtl", *(f"v {x} {y * height} {z}" for x, y, z in CORNERS)]
    lines += ["vt 0 0", "vt 2 0", "vt 2 1", "vt 0 1", "usemtl red", *(f"f {side}" for side in SIDES[:4]), "usemtl blue"]
    picture = " ".join(f"{v}/{t}" for v, t in zip(SIDES[5].split(), (1, 2, 3, 4), strict=True))
    return "\n".join([*lines, f"f {SIDES[4]}", "usemtl picture", f"f {picture}", ""])


MATERIALS = """newmtl red
Kd 0.8 0 0
newmtl blue
Kd 0 0 0.8
newmtl picture
Kd 1 1 1
map_Kd green.png
"""


def write_catalogue(path: Path, *things: tuple[str, str]) -> None:
    """A .sh3f of boxes, each with its model's name and its size in cm."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), GREEN).save(picture, "PNG")
    lines = ["# a comment", "id=test"]
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, size) in enumerate(things, 1):
            width, depth, height = size.split()
            lines += [f"model#{number}=/toys/{name}/{name}.obj", f"creator#{number}=Maker of {name}"]
            lines += [f"width#{number}={width}", f"depth#{number}={depth}", f"height#{number}={height}"]
            archive.writestr(f"toys/{name}/{name}.obj", box_model(3.0))
            archive.writestr(f"toys/{name}/box.mtl", MATERIALS)
            archive.writestr(f"toys/{name}/green.png", picture.getvalue())
        archive.writestr(PROPERTIES, "\n".join(lines))


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    write_catalogue(tmp_path / "b.sh3f", ("stapler", "5 4 9"), ("sofa", "20 8 8"))
    write_catalogue(tmp_path / "a.sh3f", ("rubix2", "6 6 6"), ("iphone", "7 13 1"), ("butter", "40 5 5"))
    return Catalogue(tmp_path)


def test_what_a_hand_can_take_in_the_order_of_names(catalogue):
    assert [entry.name for entry in catalogue.entries] == ["iphone", "rubix2", "stapler"]
    assert catalogue.creators == ["Maker of iphone", "Maker of rubix2", "Maker of stapler"]


def test_sizes_are_metres_and_the_long_axis_is_z(catalogue):
    phone, _, standing = (held_object(entry) for entry in catalogue.entries)
    assert np.allclose(np.ptp(phone.solid.mesh.vertices, axis=0), [0.07, 0.01, 0.13])
    assert np.allclose(np.ptp(standing.solid.mesh.vertices, axis=0), [0.05, 0.04, 0.09])
    assert phone.thickness == pytest.approx(0.01, abs=2e-4) and phone.flat and not standing.flat
    assert phone.roll[1] < 0.2 and standing.roll[1] == np.pi
    assert np.allclose(standing.solid.mesh.vertices.min(0) + standing.solid.mesh.vertices.max(0), 0, atol=1e-4)
    assert phone.kind == "sweethome3d/iphone"


def test_each_side_shows_its_own_colour(catalogue):
    thing = held_object(catalogue.entries[2])
    mesh, image = thing.solid.mesh, thing.material.image
    size = len(image)
    seen = {}
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for face, direction in zip(mesh.uv_faces, normal, strict=True):
        u, v = mesh.uv[face].mean(0)
        side = int(np.abs(direction).argmax()), bool(direction.max() > -direction.min())
        seen.setdefault(side, set()).add(tuple(int(c) for c in image[int((1 - v) * size), int(u * size)]))
    colours = [next(iter(found)) for found in seen.values() if len(found) == 1]
    assert sorted(colours) == sorted([RED] * 4 + [BLUE, GREEN])


def test_distance_is_that_of_the_box_within_a_cell(catalogue):
    thing = held_object(catalogue.entries[2])
    half = np.array([0.025, 0.02, 0.045])
    points = np.random.default_rng(0).uniform(-0.07, 0.07, (4000, 3))
    over = np.abs(points) - half
    truth = np.linalg.norm(np.maximum(over, 0), axis=1) + np.minimum(over.max(1), 0)
    found = thing.solid.distance(points)
    assert np.abs(found - truth).max() < PITCH
    assert (np.sign(found) == np.sign(truth))[np.abs(truth) > PITCH].all()
    far = np.array([[0.3, 0.0, 0.0], [0.3, 0.3, 0.3]])
    assert np.allclose(thing.solid.distance(far), np.linalg.norm(np.maximum(far - half, 0), axis=1), atol=1e-3)


def test_an_open_cup_is_full():
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring = 0.03 * np.stack([np.cos(angle), np.sin(angle)], 1)
    vertices = np.concatenate([np.column_stack([ring, np.full(40, z)]) for z in (-0.05, 0.05)])
    k = np.arange(40)
    n = (k + 1) % 40
    faces = np.concatenate([np.stack([k, n, n + 40], 1), np.stack([k, n + 40, k + 40], 1)])
    wall = VoxelSolid(Mesh(vertices, faces, np.zeros((1, 2)), np.zeros_like(faces)))
    assert wall.distance(np.zeros((1, 3)))[0] == pytest.approx(-0.03, abs=1.5 * PITCH)


def test_draws_follow_their_generator(catalogue):
    names = [catalogue.draw(np.random.default_rng(k)).kind for k in range(20)]
    assert set(names) == {"sweethome3d/iphone", "sweethome3d/rubix2", "sweethome3d/stapler"}
    first, again = (catalogue.draw(np.random.default_rng(7)) for _ in range(2))
    assert first.material.roughness == again.material.roughness
    assert np.array_equal(first.solid.mesh.vertices, again.solid.mesh.vertices)


def test_the_digest_follows_the_files(catalogue, tmp_path):
    before = catalogue.digest
    assert Catalogue(tmp_path).digest == before
    write_catalogue(tmp_path / "b.sh3f", ("stapler", "5 4 8"))
    assert Catalogue(tmp_path).digest != before


def test_absent_and_broken_catalogues_are_named(tmp_path):
    with pytest.raises(MissingAssetError, match=r"no \.sh3f"):
        Catalogue(tmp_path)
    write_catalogue(tmp_path / "a.sh3f", ("sofa", "20 8 8"))
    with pytest.raises(MissingAssetError, match="nothing graspable"):
        Catalogue(tmp_path)
    (tmp_path / "b.sh3f").write_bytes(b"not a zip")
    with pytest.raises(CorruptFileError, match=r"b\.sh3f"):
        Catalogue(tmp_path)


@pytest.mark.skipif(not MODEL.exists(), reason="needs results/models/open_nimble.npz (snakemake makes it)")
def test_a_hand_takes_the_box_and_refuses_a_huge_one(catalogue):
    hand, prior = RenderHand.load(MODEL), PosePrior.load(MODEL)
    generator = np.random.default_rng(1)
    thing, shape = held_object(catalogue.entries[2]), prior.sample_shape(generator)
    grasp = Grasper(hand, prior).grasp(thing, shape, generator)
    assert grasp is not None and grasp.stable
    half = np.array([0.025, 0.02, 0.045])
    own = np.abs((grasp.vertices - grasp.translation) @ grasp.rotation) - half
    assert own.max(1).min() > -PENETRATION - PITCH  # exact: the grid's own error on top
    mesh = thing.solid.mesh
    huge = VoxelSolid(Mesh(3.0 * mesh.vertices, mesh.faces, mesh.uv, mesh.uv_faces))
    too_large = type(thing)(thing.kind, huge, thing.material, 3.0 * thing.thickness)
    assert Grasper(hand, prior).grasp(too_large, shape, generator) is None
