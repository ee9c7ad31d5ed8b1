"""Files of one hand: OBJ in its many spellings, units told by size, and each fault named."""

import json

import cv2
import numpy as np
import pytest
from handgap.render.nimble_sample import parse_obj, read_sample
from handgap.render.spec import GeometryError
from nimble_folder import egg, labels, write_hand
from PIL import Image

CORNERS = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
SQUARE = parse_obj(CORNERS + "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n")


@pytest.mark.parametrize(
    "text",
    [
        CORNERS + "f 1/1 2/2 3/3 4/4\n",  # a quad
        CORNERS + "vn 0 0 1\nf 1/1/1 2/2/1 3/3/1 4/4/1\n",
        CORNERS + "f -4/-4 -3/-3 -2/-2 -1/-1\n",
        "f 1/1 2/2 3/3 4/4\n" + CORNERS,  # before what it refers to
        "# made by hand\r\no thing\r\ng part\r\ns 1\r\n"
        + CORNERS.replace("\n", "\r\n")
        + "f 1/1 2/2 3/3 4/4 # last\r\n",
        CORNERS.replace("v 1 0 0", "v 1e0 0.0 -0 1.0 0.5 0.5") + "f 1/1 2/2 \\\n 3/3 4/4\n",
        CORNERS.replace("vt 1 1", "vt 1 1 0") + "usemtl material_0\nf 1/1 2/2 3/3 4/4\n",
    ],
)
def test_spellings_of_one_square(text):
    for found, expected in zip(parse_obj(text), SQUARE, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_unused_vertices_are_left_out():
    text = "v 9 9 9\n" + CORNERS + "v 8 8 8\nf 2/1 3/2 4/3 5/4\n"
    for found, expected in zip(parse_obj(text), SQUARE, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no faces"),
        (CORNERS, "no faces"),
        (CORNERS + "f 1 2 3\n", "line 9.*texture coordinates"),
        (CORNERS + "f 1//1 2//1 3//1\n", "line 9.*texture coordinates"),
        (CORNERS + "f 1/1 2/2\n", "line 9.*three corners"),
        (CORNERS + "f 1/1 2/2 9/3\n", "not there"),
        (CORNERS + "f 1/1 2/2 0/3\n", "not there"),
        (CORNERS + "f 1/1 2/2 -5/3\n", "not there"),
        (CORNERS + "f 1/1 2/2 3/9\n", "not there"),
        (CORNERS + "f 1/1 two/2 3/3\n", "line 9"),
        ("v 0 0\n" + CORNERS, "vertices that cannot be read"),
        ("v 0 0 zero\n" + CORNERS, "vertices that cannot be read"),
        (CORNERS.replace("v 1 1 0", "v 1 nan 0") + "f 1/1 2/2 3/3\n", "not finite"),
        (CORNERS.replace("vt 1 0", "vt 2 2").replace("vt 0 1", "vt 3 3") + "f 1/1 2/2 3/3\n", "span no area"),
    ],
)
def test_broken_obj_is_explained(text, reason):
    with pytest.raises(GeometryError, match=reason):
        parse_obj(text)


@pytest.mark.parametrize("scale", [1.0, 0.001])
def test_sample_comes_in_metres_and_simple_order(tmp_path, scale):
    sample = read_sample(write_hand(tmp_path / "hand", scale=scale))
    joints, vertices = labels()
    np.testing.assert_allclose(sample.points, egg()[0] / 1000, atol=1e-5)
    np.testing.assert_allclose(sample.joints, joints / 1000, atol=1e-9)
    np.testing.assert_allclose(sample.vertices, vertices / 1000, atol=1e-9)
    assert {key: tuple(pixels[3, 4]) for key, pixels in sample.maps.items()} == {
        "diffuse": (200, 150, 120),
        "normal": (128, 128, 255),
        "specular": (90, 90, 90),
    }


def test_joints_and_mesh_may_have_different_units(tmp_path):
    folder = write_hand(tmp_path / "hand")
    whole = read_sample(folder).joints
    metres = np.array(json.loads((folder / "joints.json").read_text())) / 1000
    (folder / "joints.json").write_text(json.dumps(metres.tolist()))
    np.testing.assert_allclose(read_sample(folder).joints, whole, atol=1e-9)


def test_maps_of_one_pixel_and_of_any_kind_are_read(tmp_path):
    folder = write_hand(tmp_path / "hand")
    for mode, value in {"L": 90, "LA": (90, 7), "RGBA": (90, 90, 90, 0), "RGB": (90, 90, 90)}.items():
        Image.new(mode, (1, 1), value).save(folder / "spec.png")
        assert read_sample(folder).maps["specular"].tolist() == [[[90, 90, 90]]]


def test_digest_follows_the_content(tmp_path):
    first, second = write_hand(tmp_path / "a"), write_hand(tmp_path / "b")
    assert read_sample(first).digest == read_sample(second).digest
    Image.new("RGB", (16, 16), (1, 2, 3)).save(second / "spec.png")
    assert read_sample(first).digest != read_sample(second).digest


def test_only_annotation_vertices_and_parameters_may_be_missing(tmp_path):
    folder = write_hand(tmp_path / "hand")
    for name in ("manov.json", "pose_params.json"):
        (folder / name).unlink()
    assert read_sample(folder).vertices is None
    (folder / "spec.png").unlink()
    assert read_sample(folder, textured=False).maps == {}


def spoil_order(folder):
    (folder / "joints.json").write_text(json.dumps(labels()[0].tolist()))


def spoil_place(folder):
    (folder / "joints.json").write_text(json.dumps((labels()[0] + 200.0).tolist()))


def spoil_unit(folder):
    text = (folder / "skin.obj").read_text()
    lines = [" ".join(["v", *(str(float(x) / 25.4) for x in line.split()[1:])]) for line in text.splitlines()[1:600]]
    (folder / "skin.obj").write_text(
        "\n".join(lines) + "\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\nf 100/1 200/2 300/3\n"
    )


def truncate(name):
    def spoil(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:60])

    return spoil


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def remove(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        *((remove(name), f"^{name}: no such file") for name in ("skin.obj", "joints.json", "diffuse.png", "spec.png")),
        (truncate("normal.png"), r"^normal.png: .*cannot be decoded"),
        (write("diffuse.png", "no picture"), r"^diffuse.png: .*cannot be decoded"),
        (truncate("skin.obj"), "^skin.obj: "),
        (truncate("manov.json"), "^manov.json: not a list of 778 points"),
        (write("joints.json", "[[1, 2, 3]]"), r"^joints.json: \(1, 3\) numbers, expected \(21, 3\)"),
        (write("joints.json", '{"joints": []}'), "^joints.json: not a list"),
        (write("joints.json", "[[1, 2], [3]]"), "^joints.json: not a list"),
        (write("joints.json", 100_000 * "["), "^joints.json: not a list"),
        (write("joints.json", json.dumps([[1.0, 2.0, 3.0]] * 20)), r"^joints.json: \(20, 3\) numbers"),
        (write("joints.json", json.dumps([[float("nan")] * 3] * 21)), "^joints.json: .*finite"),
        (spoil_order, "^joints.json: not in MANO's joint order"),
        (spoil_place, "^joints.json: up to .* mm off the skin"),
        (spoil_unit, "^skin.obj: .* no hand in millimetres or metres"),
    ],
)
def test_each_fault_is_named(tmp_path, spoil, reason):
    folder = write_hand(tmp_path / "hand")
    spoil(folder)
    with pytest.raises(GeometryError, match=reason):
        read_sample(folder)


def test_damaged_maps_are_always_explained(tmp_path):
    folder, generator = write_hand(tmp_path / "hand"), np.random.default_rng(0)
    noise = generator.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "diffuse.png")
    whole = bytearray((folder / "diffuse.png").read_bytes())
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole))] ^= int(generator.integers(1, 256))
        (folder / "diffuse.png").write_bytes(damaged[: generator.integers(1, len(whole))])
        try:
            read_sample(folder)
        except GeometryError as error:
            assert "diffuse.png" in str(error)


def test_maps_of_any_depth_and_kind_have_the_same_values(tmp_path):
    folder = write_hand(tmp_path / "hand")
    wide = np.full((16, 16), 90 * 257, np.uint16)
    for picture in (Image.fromarray(wide), Image.new("L", (16, 16), 90), Image.new("LA", (16, 16), (90, 7))):
        picture.save(folder / "spec.png")
        assert (read_sample(folder).maps["specular"] == 90).all()
    cv2.imwrite(str(folder / "spec.png"), np.stack([wide] * 3, 2))
    assert (read_sample(folder).maps["specular"] == 90).all()
    Image.new("F", (16, 16), 0.3).save(folder / "spec.png", format="TIFF")
    with pytest.raises(GeometryError, match=r"^spec.png: .*floating-point"):
        read_sample(folder)
