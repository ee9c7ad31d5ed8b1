from pathlib import Path

import numpy as np
import pytest
from handgap.core.errors import MissingAssetError
from handgap.core.seeds import rng
from handgap.hands.skin import step as skin_step
from handgap.hands.skin.bake import linear_to_srgb, srgb_to_linear
from handgap.hands.skin.detail import noise
from handgap.hands.skin.library import SkinLibrary
from handgap.hands.skin.map import rasterise

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "results" / "models" / "open_nimble.npz"
TONES = ROOT / "results" / "assets" / "skins"


def square(size: int):
    """A square of 20 x 10 cm in two triangles over the middle of the atlas."""
    uv = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])
    vertices = np.c_[(uv - 0.25) * [0.4, 0.2], np.zeros(4)]
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return rasterise(uv, faces, vertices, faces, size), vertices


def test_texels_lie_where_their_centres_say():
    size = 32
    texels, vertices = square(size)
    assert len(texels.cells) == (size // 2) ** 2
    row, column = np.divmod(texels.cells, size)
    uv = np.stack([(column + 0.5) / size, 1.0 - (row + 0.5) / size], -1)
    np.testing.assert_allclose(texels.interpolate(vertices)[:, :2], (uv - 0.25) * [0.4, 0.2], atol=1e-7)
    np.testing.assert_allclose(texels.metres, np.tile([0.4 / size, 0.2 / size], (len(row), 1)), rtol=1e-5)


def test_slope_is_the_slope_of_a_plane():
    texels, vertices = square(64)
    points = texels.interpolate(vertices)
    slope = texels.slope(0.3 * points[:, 0] - 0.7 * points[:, 1])
    row, column = np.divmod(texels.cells, 64)
    inner = (np.abs(row - 31.5) < 15) & (np.abs(column - 31.5) < 15)
    np.testing.assert_allclose(slope[inner], np.tile([0.3, -0.7], (inner.sum(), 1)), atol=1e-4)


def test_the_gutter_repeats_the_nearest_texel():
    texels, _ = square(16)
    image = texels.image(np.arange(len(texels.cells)))
    assert np.array_equal(image[0, 4:12], image[4, 4:12])
    assert np.array_equal(image[4:12, 15], image[4:12, 11])


def test_an_atlas_outside_the_texture_is_refused():
    uv = np.full((3, 2), 0.5)
    with pytest.raises(ValueError, match="covers no texel"):
        rasterise(uv, np.array([[0, 1, 2]]), np.zeros((3, 3)), np.array([[0, 1, 2]]), 8)


def test_noise_depends_on_the_point_alone():
    points = rng(0, "tests/points").uniform(-0.1, 0.1, (500, 3))
    whole = noise(rng(0, "tests/noise"), points, 0.003)
    part = noise(rng(0, "tests/noise"), points[100:200], 0.003)
    np.testing.assert_array_equal(whole[100:200], part)
    assert abs(whole.mean()) < 0.2 and 0.5 < whole.std() < 1.5


def test_srgb_round_trip():
    value = np.linspace(0.001, 1.0, 1000)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(value)), value, atol=1e-6)


def test_no_tone_map_says_how_to_get_them(tmp_path):
    with pytest.raises(MissingAssetError, match="fetch the asset 'skins'"):
        skin_step.bake_skins(MODEL, tmp_path, tmp_path / "out.h5")


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> tuple[SkinLibrary, Path, Path]:
    """Four small skins of two tones, baked twice."""
    if not (MODEL.is_file() and TONES.is_dir()):
        pytest.skip("results/models/open_nimble.npz and results/assets/skins are not made yet")
    folder = tmp_path_factory.mktemp("skins")
    tones = folder / "tones"
    tones.mkdir()
    for name in ("young_lightskinned_female_diffuse.png", "young_darkskinned_male_diffuse.png"):
        (tones / name).write_bytes((TONES / name).read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skin_step, "SIZE", 256)
        for name in ("a.h5", "b.h5"):
            skin_step.bake_skins(MODEL, tones, folder / name)
    return SkinLibrary(folder / "a.h5"), folder / "a.h5", folder / "b.h5"


def test_two_bakes_give_the_same_bytes(library):
    _, first, second = library
    assert first.read_bytes() == second.read_bytes()


def test_maps_are_skin(library):
    skins, *_ = library
    assert len(skins) == 4 and skins.names[0].startswith("young_darkskinned_male")
    dark, light = skins.maps(0), skins.maps(1)
    for maps in (dark, light):
        assert {name: pixels.shape for name, pixels in maps.items()} == {
            "diffuse": (256, 256, 3),
            "normal": (256, 256, 3),
            "roughness": (256, 256),
        }
        red, green, blue = maps["diffuse"].reshape(-1, 3).mean(0)
        assert red > green > blue
        assert maps["normal"][..., 2].mean() > 230
        assert 80 < maps["roughness"].mean() < 160
    assert light["diffuse"].mean() > 1.5 * dark["diffuse"].mean()


def test_two_skins_of_a_tone_differ(library):
    skins, *_ = library
    difference = skins.maps(1)["diffuse"].astype(float) - skins.maps(3)["diffuse"]
    assert np.abs(difference).mean() > 3.0
