"""HandSynthesis' configuration file: every key's effect on the scene, its cameras against the published formulas."""

import json

import numpy as np
import pytest
from handgap.core.config.base import Section
from handgap.core.errors import ConfigError, MissingAssetError
from handgap.core.geometry import project
from handgap.core.seeds import rng
from handgap.render.light import camera_orientation
from handgap.render.released import (
    AUTHORS_HDRIS,
    CAMERAS,
    UNLIT,
    ReleasedConfig,
    draw_world,
    extrinsics,
    intrinsics,
    lamps,
    read_released_config,
    read_wall,
    to_camera,
)
from handgap.render.spec import Panorama, PlainWorld
from PIL import Image

SHIPPED = {
    "data_path": "./samples",
    "mesh_path": "./samples",
    "output_path": "./images",
    "add_light": False,
    "light_location": [6.49636, -3.51545, 2.63636],
    "light_rot": [-12.2869, 71.0853, -40.6498],
    "light_scale": [1.75815, 1.75815, 1.75815],
    "light_type": "POINT",
    "light_strength": 1000,
    "add_hand_tex": True,
    "add_rgb_bg": False,
    "bg_color": [1.0, 1.0, 1.0],
    "bg_strength": 2,
    "add_tex_bg": False,
    "tex_bg_path": "",
    "add_hdri_bg": True,
    "hdri_ratio": 1,
    "hdri_bg_path": str(AUTHORS_HDRIS),
    "res_h": 224,
    "res_w": 224,
    "multi_view": False,
    "multi_view_cam_list": "",
    "if_depth": True,
    "if_seg": True,
}
HDRIS = [f"{k}.exr" for k in range(10)]
POINTS = np.array([[0.01, 0.02, 0.03], [-0.05, 0.0, 0.07], [0.08, -0.06, 0.0]])


@pytest.fixture
def read(tmp_path):
    def write(text=None, **keys):
        path = tmp_path / "config_syn_data.json"
        path.write_text(json.dumps(keys) if text is None else text)
        return read_released_config(path)

    return write


def test_shipped_file_and_empty_one_are_the_same(read):
    assert set(SHIPPED) == set(ReleasedConfig.model_fields)
    assert read(**SHIPPED) == read()
    assert issubclass(ReleasedConfig, Section)


def test_paths_start_at_the_file(read, tmp_path):
    config = read(data_path="hands", tex_bg_path="wall", hdri_bg_path="/elsewhere")
    assert config.data_path == tmp_path / "hands" and config.tex_bg_path == tmp_path / "wall"
    assert str(config.hdri_bg_path) == "/elsewhere" and config.output_path == tmp_path / "images"


@pytest.mark.parametrize(
    ("key", "value", "cure"),
    [
        ("hdri_rato", 0.5, "write hdri_ratio for hdri_rato"),
        ("strength_of_the_sun", 1, "remove strength_of_the_sun; keys are data_path"),
        ("hdri_ratio", 0, "a number > 0 and <= 1"),
        ("hdri_ratio", "half", "a number > 0 and <= 1"),
        ("light_type", "LASER", "POINT, SUN, SPOT or AREA"),
        ("light_location", [1, 2], "three numbers"),
        ("light_strength", -1, "a number >= 0"),
        ("light_scale", [1, 1, 0], "three numbers > 0"),
        ("bg_color", [1, 1, -1], "three numbers >= 0"),
        ("res_w", 224.5, "a whole number"),
        ("res_h", 0, "a whole number"),
        ("add_light", "yes", "true or false"),
        ("if_seg", None, "true or false"),
    ],
)
def test_bad_key_or_value_is_one_clear_error(read, tmp_path, key, value, cure):
    with pytest.raises(ConfigError) as caught:
        read(**SHIPPED | {key: value})
    error = caught.value
    assert error.what == f"{tmp_path / 'config_syn_data.json'}: {key}"
    assert key in error.problem and cure in error.cure


def test_all_problems_are_told_at_once(read):
    with pytest.raises(ConfigError) as caught:
        read(res_w="big", lamp=1)
    assert caught.value.what.endswith(": res_w, lamp")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "{'res_w': 224}", "\ufeff{}"])
def test_what_is_no_json_object_is_refused(read, text):
    with pytest.raises(ConfigError, match=r"config_syn_data\.json"):
        read(text)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingAssetError, match=r"none\.json"):
        read_released_config(tmp_path / "none.json")


def test_camera_is_the_published_mapping():
    # reference 1.2: X = .001 x, Y = -.001 z, Z = .001 y + .5; u = 355 X / Z + 112, v = 355 Y / Z + 112
    x, y, z = POINTS.T
    camera = to_camera(POINTS, 0)
    np.testing.assert_allclose(camera, np.stack([x, -z, y + 0.5], 1), atol=1e-12)
    pixel = project(camera, intrinsics(ReleasedConfig()))
    np.testing.assert_allclose(pixel, np.stack([x, -z], 1) / (y + 0.5)[:, None] * 355 + 112)
    np.testing.assert_allclose(extrinsics(0), [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.5], [0, 0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("view", range(len(CAMERAS)))
def test_every_camera_looks_at_the_origin_from_half_a_metre(view):
    matrix = extrinsics(view)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    np.testing.assert_allclose(to_camera(np.zeros(3), view), [0, 0, 0.5], atol=1e-12)
    _, y, z = POINTS.T  # NIMBLE's axes; Blender's world is (x, z, -y)
    depth = {0: y, 1: -y, 2: z, 3: -z}[view] + 0.5
    np.testing.assert_allclose(to_camera(POINTS, view)[:, 2], depth, atol=1e-12)


def test_size_moves_the_centre_but_not_the_focal_length(read):
    K = intrinsics(read(res_w=320, res_h=240))
    np.testing.assert_array_equal(K, [[355, 0, 160], [0, 355, 120], [0, 0, 1]])


def test_hdri_ratio_takes_the_first_of_the_list(read):
    def seen(ratio):
        config = read(hdri_ratio=ratio)
        return {draw_world(config, HDRIS, 0, rng(0, "tests", k)).hdri for k in range(200)}

    assert seen(1) == set(HDRIS)
    assert seen(0.35) == set(HDRIS[:3])  # indices 0..int(10 * 0.35 - 1)
    assert seen(0.01) == {HDRIS[0]}


@pytest.mark.parametrize("view", range(len(CAMERAS)))
def test_hdri_is_tilted_about_the_worlds_x_axis(read, view):
    worlds = [draw_world(read(), HDRIS, view, rng(0, "tests", k)) for k in range(300)]
    axis = extrinsics(view)[:3, :3] @ [1, 0, 0]  # in the camera
    turned = np.array([world.orientation @ axis for world in worlds])
    np.testing.assert_allclose(turned, np.tile([1.0, 0, 0], (300, 1)), atol=1e-9)
    ahead = np.array([world.orientation @ [0, 0, 1] for world in worlds])
    assert np.abs(np.mean(ahead, 0)).max() < 0.15  # any tilt: looks up, down and level alike
    assert all(world.strength == 1.0 for world in worlds)


def test_tilt_of_the_first_camera_is_a_pitch(read):
    world = draw_world(read(), HDRIS, 0, rng(0, "tests", 3))
    pitch = -np.arcsin((world.orientation @ [0, 0, 1])[2])
    candidates = [camera_orientation(pitch=angle) for angle in (pitch, np.pi - pitch)]
    assert min(np.abs(world.orientation - candidate).max() for candidate in candidates) < 1e-9


def test_colour_backgrounds(read):
    def draw(**keys):
        return draw_world(read(**keys), HDRIS, 0, rng(0, "tests"))

    assert draw(add_hdri_bg=False) == UNLIT
    colour = {"add_rgb_bg": True, "bg_color": [0.1, 0.2, 3], "bg_strength": 0.5}
    assert draw(add_hdri_bg=False, **colour) == PlainWorld((0.1, 0.2, 3.0), 0.5)
    both = draw(**colour)
    assert isinstance(both, Panorama) and both.strength == 0.5


@pytest.mark.parametrize("kind", ["POINT", "SUN", "SPOT", "AREA"])
def test_lamp_stands_in_the_cameras_frame(read, kind):
    assert lamps(read(), 0) == ()
    config = read(
        add_light=True,
        light_type=kind,
        light_location=[0.1, 0.2, 2.0],
        light_rot=[90, 0, 0],
        light_scale=[1, 2, 3],
        light_strength=7,
    )
    (lamp,) = lamps(config, 0)
    assert (lamp.kind, lamp.energy, lamp.scale) == (kind, 7.0, (1.0, 2.0, 3.0))
    np.testing.assert_allclose(lamp.position, [0.1, -0.2, -1.5])  # behind the camera at z = 0.5, which looks down
    # Blender's lamp shines along -z; turned 90 degrees about x along +y, which is up in the picture
    np.testing.assert_allclose(lamp.rotation @ [0, 0, 1], [0, -1, 0], atol=1e-12)
    (seen_from_below,) = lamps(config, 1)
    np.testing.assert_allclose(seen_from_below.position, [-0.1, -0.2, 2.5], atol=1e-12)


def test_wall_fills_the_picture_eight_metres_behind_the_hand(read, tmp_path):
    for name, shade in {"col": 200, "disp": 10, "nrm": 128, "rgh": 90}.items():
        Image.new("RGB", (8, 8), (shade,) * 3).save(tmp_path / f"{name}.jpg", quality=95)
    wall = read_wall(read(add_tex_bg=True, tex_bg_path=".").tex_bg_path)
    assert {key: int(np.median(pixels)) for key, pixels in wall.material.maps.items()} == {
        "colour": 200,
        "displacement": 10,
        "normal": 128,
        "roughness": 90,
    }
    assert (wall.material.displacement, wall.material.normal_strength) == (0.2, 1.5)
    np.testing.assert_allclose(np.ptp(wall.vertices, axis=0), [20, 20, 0])
    np.testing.assert_allclose(wall.vertices.mean(0), [0, 0, 8.5])
    corner = wall.vertices[wall.faces[0]]
    assert np.cross(corner[1] - corner[0], corner[2] - corner[0])[2] < 0  # seen from the front
    (tmp_path / "rgh.jpg").unlink()
    with pytest.raises(MissingAssetError, match=r"rgh\.jpg: .*key tex_bg_path"):
        read_wall(tmp_path)
