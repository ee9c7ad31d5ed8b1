"""How the environment stands round the camera, and the synthetic side's options of light and material."""

from pathlib import Path

import numpy as np
import pytest
from handgap.core.config.render import Render
from handgap.core.conventions import Side
from handgap.render.light import (
    AUTOMATIC,
    BRIGHTEST,
    LEVEL,
    LUMINANCE,
    MIDDLE_GREY,
    SHEEN,
    SKIN,
    camera_orientation,
    draw_light,
    meter,
    white_balance,
)
from handgap.render.released import NORMAL_STRENGTH, ReleasedConfig, draw_world

MAPS = [Path(f"{k}.exr") for k in range(5)]


def orientations(rotation, count=400):
    return np.stack([draw_light(np.random.default_rng(k), MAPS, rotation).orientation for k in range(count)])


def test_vertical_rotation_keeps_the_horizon_level_on_average():
    turns = orientations("vertical")
    heading = turns @ [0.0, 0.0, 1.0]
    azimuth = np.arctan2(heading[:, 1], heading[:, 0])
    assert np.histogram(azimuth, 4, (-np.pi, np.pi))[0].min() > 70
    up = turns.transpose(0, 2, 1) @ [0.0, 0.0, 1.0]  # the map's zenith in the camera, whose y points down
    assert (up[:, 1] < -0.5).mean() > 0.95


def test_released_rotation_is_any_tilt_about_the_cameras_x_axis():
    turns = orientations("released")
    np.testing.assert_allclose(turns[:, :, 0], np.tile([1.0, 0.0, 0.0], (len(turns), 1)), atol=1e-12)
    theirs = [draw_world(ReleasedConfig(), MAPS, 0, np.random.default_rng(k)).orientation for k in range(400)]
    for family in (turns, np.stack(theirs)):  # the same rotations, each quarter as often
        tilt = np.arctan2(family[:, 2, 2], family[:, 1, 2])
        assert np.histogram(tilt, 4, (-np.pi, np.pi))[0].min() > 70
        np.testing.assert_allclose(family[:, :, 0], turns[:, :, 0], atol=1e-12)
    assert (
        draw_light(np.random.default_rng(3), MAPS, "released").hdri == draw_light(np.random.default_rng(3), MAPS).hdri
    )


def test_level_camera_looks_at_the_horizon():
    np.testing.assert_array_equal(camera_orientation(), LEVEL)
    np.testing.assert_allclose(camera_orientation(azimuth=np.pi / 2) @ [0, 0, 1], [-1, 0, 0], atol=1e-12)


class Fit:
    """A fit's shard of one valid sample."""

    def __init__(self, side):
        self.side = side

    def column(self, name):
        columns = {
            "id": np.array([7]),
            "side": np.array([self.side]),
            "K": np.array([[[355.0, 0, 112], [0, 355.0, 112], [0, 0, 1]]]),
            "render_pose": np.zeros((1, 60)),
            "render_shape": np.zeros((1, 20)),
            "render_trans": np.array([[0.0, 0.0, 0.5]]),
        }
        return columns.get(name, np.ones(1))


def synthetic_scene(side=Side.RIGHT, **settings):
    pytest.importorskip("bpy", reason="Blender's Python module is not installed")
    from handgap.render.synthetic import SyntheticShard

    model = Path(__file__).parents[2] / "results" / "models" / "open_nimble.npz"
    if not model.exists():
        pytest.skip("needs results/models/open_nimble.npz (snakemake makes it)")
    return SyntheticShard(Fit(side), model, None, MAPS, Render(**settings), 0, "proxyfrei/train").scene(0)


def test_left_hands_are_mirror_images_and_not_inside_out():
    right, left = (synthetic_scene(side).parts[0] for side in (Side.RIGHT, Side.LEFT))
    np.testing.assert_array_equal(left.vertices, right.vertices * np.float32([-1, 1, 1]))
    np.testing.assert_array_equal(left.uv[left.uv_faces[:, ::-1]], right.uv[right.uv_faces])
    volumes = [np.linalg.det((part.vertices - part.vertices.mean(0))[part.faces]).sum() for part in (right, left)]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-4) and volumes[0] > 0


def test_plain_material_is_the_papers():
    skin, plain = (synthetic_scene(subsurface=on).parts[0].material for on in (True, False))
    assert skin.subsurface and skin.normal_strength == 1.0 and 0.9 <= skin.roughness_gain <= 1.25
    assert not plain.subsurface and plain.normal_strength == NORMAL_STRENGTH == 1.5 and plain.roughness_gain == 1.0
    assert plain.skin == skin.skin


def test_plain_material_wears_no_roughness_map():
    pytest.importorskip("bpy", reason="Blender's Python module is not installed")
    from handgap.render.materials import MaterialBook
    from handgap.render.spec import MeshPart, SkinMaterial
    from handgap.render.synthetic import WithoutRoughness

    class Skins:
        def maps(self, index):
            grey = np.full((4, 4, 3), 90, np.uint8)
            return {"diffuse": grey, "normal": grey, "specular": grey, "roughness": grey[..., 0]}

    uv = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    faces = np.array([[0, 1, 2]])
    part = MeshPart("hand", np.eye(3), faces, 1, SkinMaterial(0, False, 1.0, NORMAL_STRENGTH), uv, faces)
    bsdf = next(
        node
        for node in MaterialBook(WithoutRoughness(Skins())).of(part, 300.0).node_tree.nodes
        if "Roughness" in node.inputs
    )
    assert bsdf.inputs["Roughness"].default_value == pytest.approx(0.5) and not bsdf.inputs["Roughness"].links
    assert bsdf.inputs["Specular IOR Level"].links and bsdf.inputs["Subsurface Weight"].default_value == 0.0
    assert bsdf.inputs["Normal"].links[0].from_node.inputs["Strength"].default_value == pytest.approx(1.5)


def test_rotation_of_the_maps_is_the_studys():
    orientation = synthetic_scene(hdri_rotation="released").light.orientation
    np.testing.assert_allclose(orientation[:, 0], [1.0, 0.0, 0.0], atol=1e-12)
    assert abs(synthetic_scene().light.orientation[0, 0]) < 0.999


def lit(albedo, light, background=0.3):
    """A hand of one colour in the middle of a grey room, and where it is."""
    hand = np.zeros((40, 40), bool)
    hand[10:30, 10:30] = True
    return np.where(hand[..., None], (albedo + SHEEN) * light, background * np.asarray(light)), hand


@pytest.mark.parametrize("albedo", [SKIN, np.array([0.2, 0.08, 0.04]), np.array([0.72, 0.45, 0.34])])
def test_white_balance_takes_the_lights_colour_away_whatever_the_skin_and_the_background(albedo):
    light = np.array([1.6, 1.0, 0.5])
    for background in (0.3, np.array([0.05, 0.4, 0.03])):
        linear, hand = lit(albedo, light, background)
        np.testing.assert_allclose(white_balance(linear, hand, 1.0, albedo), light[1] / light)
        np.testing.assert_allclose(white_balance(linear, hand, 0.5, albedo), np.sqrt(light[1] / light))
        np.testing.assert_array_equal(white_balance(linear, hand, 0.0, albedo), 1.0)
    np.testing.assert_array_equal(white_balance(linear, np.zeros_like(hand), 1.0), 1.0)


def test_fair_and_dark_skin_keep_most_of_their_difference():
    exposed = []
    for luminance in (0.08, 0.45):
        albedo = np.full(3, luminance)
        linear, hand = lit(albedo, 7.0 * np.ones(3))
        exposed.append((linear[hand] @ LUMINANCE).mean() * meter(linear, hand, albedo, weight=1.0))
    dark, fair = (value + SHEEN for value in (0.08, 0.45))
    assert exposed[1] / exposed[0] == pytest.approx((fair / dark) ** (1.0 - AUTOMATIC))
    linear, hand = lit(np.full(3, MIDDLE_GREY - SHEEN), 7.0 * np.ones(3))  # skin as bright as the card reads as it
    assert meter(linear, hand, np.full(3, MIDDLE_GREY - SHEEN), weight=1.0) == pytest.approx(1.0 / 7.0)


def test_skin_in_a_beam_of_light_is_not_burnt_out():
    linear, hand = lit(SKIN, np.ones(3))
    linear[10:12, 10:30] *= 40.0  # a tenth of the hand
    exposed = linear * meter(linear, hand)
    assert np.quantile(exposed[hand] @ LUMINANCE, 0.95) == pytest.approx(BRIGHTEST)


def test_two_lights_of_opposite_colours_leave_no_cast():
    linear, hand = lit(SKIN, np.ones(3))
    linear[10:20] *= [1.0, 1.0, 0.2]
    linear[20:30] *= [1.0, 1.0, 1.8]
    np.testing.assert_allclose(white_balance(linear, hand, 1.0), 1.0)
