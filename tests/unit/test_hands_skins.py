from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.core.seeds import rng
from handgap.hands.skin import step as skin_step
from handgap.hands.skin.bake import linear_to_srgb, srgb_to_linear
from handgap.hands.skin.detail import noise
from handgap.hands.skin.map import rasterise
from handgap.hands.skin.model import TextureModel, TextureSet, texture_pca
from handgap.hands.skin.people import People
from handgap.hands.skin.skins import SkinLibrary

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


def texture_file(path: Path, **changes: object) -> Path:
    """A texture model of 5 x 4 texels, three components and NIMBLE's three maps."""
    g = rng(0, "tests/textures")
    arrays = {"licence": np.array("test"), "source": np.array("test")}
    for name in ("diffuse", "normal", "specular"):
        arrays[f"{name}_mean"] = g.uniform(0.3, 0.7, (5, 4, 3)).astype(np.float32)
        arrays[f"{name}_basis"] = g.normal(size=(3, 5, 4, 3)).astype(np.float32)
        arrays[f"{name}_std"] = g.uniform(0.02, 0.2, 3).astype(np.float32)
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})
    return path


def test_maps_follow_the_formula(tmp_path):
    path = texture_file(tmp_path / "textures.npz")
    arrays, coefficients = dict(np.load(path)), np.array([[1.5, -2.0, 0.3], [0.0, 0.0, 0.0]], np.float32)
    model = TextureModel.load(path)
    found = model(torch.from_numpy(coefficients))
    assert list(found) == ["diffuse", "normal", "specular"]
    clamped = 0
    for name, maps in found.items():
        for b, row, column, channel in np.ndindex(2, 5, 4, 3):
            value = float(arrays[f"{name}_mean"][row, column, channel])
            for k in range(3):
                weight = float(coefficients[b, k]) * float(arrays[f"{name}_std"][k])
                value += weight * float(arrays[f"{name}_basis"][k, row, column, channel])
            clamped += not 0.0 <= value <= 1.0
            assert maps[b, row, column, channel] == pytest.approx(min(max(value, 0.0), 1.0), abs=1e-6)
    assert clamped > 5
    pixels = model.maps(coefficients[0])
    for name, maps in found.items():
        assert pixels[name].dtype == np.uint8 and np.array_equal(pixels[name], np.rint(255 * maps[0].numpy()))


def test_texture_gradients_are_those_of_differences(tmp_path):
    model = TextureModel.load(texture_file(tmp_path / "textures.npz")).double()
    weights = torch.from_numpy(rng(0, "tests/weights").normal(size=(5, 4, 3)))
    start = torch.tensor([[0.2, -0.1, 0.15]], dtype=torch.float64, requires_grad=True)

    def loss(coefficients: torch.Tensor) -> torch.Tensor:
        return (model(coefficients)["diffuse"] * weights).sum()

    assert torch.autograd.gradcheck(loss, start)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"diffuse_std": None}, "lacks diffuse_std"),
        ({"normal_basis": None}, "do not fit together"),
        ({"normal_basis": np.zeros((3, 4, 5, 3))}, "do not fit together"),
    ],
)
def test_a_texture_file_that_is_none_is_refused(tmp_path, changes, problem):
    path = texture_file(tmp_path / "textures.npz", **changes)
    with pytest.raises(CorruptFileError, match=problem) as error:
        TextureModel.load(path)
    assert str(path) in str(error.value)


def test_an_absent_or_truncated_texture_file_is_named(tmp_path):
    with pytest.raises(MissingAssetError, match=r"none\.npz"):
        TextureModel.load(tmp_path / "none.npz")
    path = texture_file(tmp_path / "textures.npz")
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(CorruptFileError, match=str(path)):
        TextureModel.load(path)


def test_random_textures_are_normal_cut_at_two(tmp_path):
    textures = TextureSet(TextureModel.load(texture_file(tmp_path / "textures.npz")), seed=3)
    drawn = np.stack([textures.coefficients(k) for k in range(3000)])
    assert drawn.dtype == np.float32 and np.abs(drawn).max() <= 2.0
    assert np.abs(drawn.mean(0)).max() < 0.05
    np.testing.assert_allclose(drawn.std(0), 0.880, atol=0.03)  # of a normal distribution cut at two
    assert np.array_equal(textures.coefficients(17), drawn[17])
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.06


def test_principal_components_against_a_singular_value_decomposition():
    g = rng(0, "tests/people")
    people = {"diffuse": g.uniform(0, 1, (7, 11, 3)).astype(np.float32), "roughness": g.uniform(0, 1, (7, 11, 1))}
    people["roughness"] = people["roughness"].astype(np.float32)
    arrays = texture_pca(people, 4)
    together = np.concatenate([people[name].reshape(7, -1) for name in people], 1).astype(np.float64)
    _, values, directions = np.linalg.svd(together - together.mean(0), full_matrices=False)
    steps = [
        (arrays[f"{name}_basis"] * arrays[f"{name}_std"][:, None, None]).reshape(4, -1)
        for name in ("diffuse", "roughness")
    ]
    found, expected = np.concatenate(steps, 1), directions[:4] * values[:4, None] / np.sqrt(6)
    cosine = (found * expected).sum(1) / np.linalg.norm(expected, axis=1) ** 2
    np.testing.assert_allclose(np.abs(cosine), 1.0, atol=1e-4)
    for name, values_ in people.items():
        np.testing.assert_allclose(arrays[f"{name}_mean"], values_.mean(0), atol=1e-6)
        np.testing.assert_allclose((arrays[f"{name}_basis"] ** 2).mean((1, 2)), 1.0, rtol=1e-4)


@pytest.mark.parametrize("kind", ["dark", "light"])
def test_no_tone_map_says_how_to_get_them(tmp_path, kind):
    other = "light" if kind == "dark" else "dark"
    for name in (
        f"old_{other}skinned_male_diffuse",
        f"old_{other}skinned_male_diffuse2",
        f"old_{kind}skinned_male_diffuse",
    ):
        (tmp_path / f"{name}.png").touch()
    with pytest.raises(MissingAssetError, match=f"no two .*{kind}skinned(.|\\s)*fetch the asset 'skins'"):
        People({}, tmp_path, 256, 0)


@pytest.fixture(scope="module")
def baked(tmp_path_factory) -> tuple[Path, Path]:
    """Two folders of the same: textures of 256 texels and four skins, out of four tone maps."""
    if not (MODEL.is_file() and TONES.is_dir()):
        pytest.skip("results/models/open_nimble.npz and results/assets/skins are not made yet")
    folder = tmp_path_factory.mktemp("skins")
    tones = folder / "tones"
    tones.mkdir()
    for kind in ("light", "dark"):
        for path in sorted(TONES.glob(f"young_{kind}skinned_*_diffuse.png")):
            (tones / path.name).write_bytes(path.read_bytes())
    folders = folder / "a", folder / "b"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skin_step, "SIZE", 256)
        patch.setattr(skin_step, "PEOPLE", 24)
        for out in folders:
            skin_step.bake_skins(MODEL, tones, out / "textures.npz", out / "skins.h5")
    return folders


def test_two_bakes_give_the_same_bytes(baked):
    first, second = baked
    for name in ("textures.npz", "skins.h5"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_maps_are_skin(baked):
    skins, model = SkinLibrary(baked[0] / "skins.h5"), TextureModel.load(baked[0] / "textures.npz")
    assert [name[:18] for name in skins.names] == ["young_darkskinned_", "young_lightskinned"] * 2
    assert all("_male_" in name for name in skins.names)  # the female ones are the texture model's
    dark, light = skins.maps(0), skins.maps(1)
    for maps in (dark, light, model.maps(np.zeros(model.n_coefficients))):
        assert {name: pixels.shape[:2] for name, pixels in maps.items()} == dict.fromkeys(
            ("diffuse", "normal", "roughness"), (256, 256)
        )
        red, green, blue = maps["diffuse"].reshape(-1, 3).mean(0)
        assert red > green > blue
        assert maps["normal"][..., 2].mean() > 230
        assert 80 < maps["roughness"].mean() < 160
    assert light["diffuse"].mean() > 1.5 * dark["diffuse"].mean()


def test_blotches_of_proxyreal_people_are_their_own(baked):
    """The texture model moves along one pattern of blotches; a proxy-real skin is far from all it can make."""
    arrays = dict(np.load(baked[0] / "textures.npz"))
    mean, basis = arrays["diffuse_mean"].reshape(-1), arrays["diffuse_basis"].reshape(10, -1).astype(np.float64)
    skin = SkinLibrary(baked[0] / "skins.h5").maps(1)["diffuse"].reshape(-1) / 255.0 - mean
    left = skin - basis.T @ np.linalg.lstsq(basis.T, skin, None)[0]
    assert 255.0 * left.std() > 3.0


@pytest.fixture(scope="module")
def model(made) -> TextureModel:
    return TextureModel.load(made / "models" / "open_nimble_textures.npz")


def hand_texels(size: int) -> np.ndarray:
    """(size, size) bool: texels of the hand without forearm and caps."""
    arrays = dict(np.load(MODEL))
    on_hand = ~arrays["arm_faces"]
    faces, uv_faces = arrays["faces_forearm"][on_hand], arrays["uv_faces_forearm"][on_hand]
    covered = np.zeros(size * size, bool)
    covered[rasterise(arrays["uv"], uv_faces, arrays["v_template"], faces, size).cells] = True
    return covered.reshape(size, size)


def lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB (N, 3) in 0..1 -> CIE L*a*b*."""
    return cv2.cvtColor(rgb[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]


def test_the_palette_covers_light_to_dark_and_nothing_but_skin(model):
    textures, on_hand = TextureSet(model, seed=0), torch.from_numpy(hand_texels(1024).ravel())
    mean, basis = (model.get_buffer(f"diffuse_{part}").flatten(-3, -2)[..., ::7, :] for part in ("mean", "basis"))
    mean, basis = mean[on_hand[::7]], basis[:, on_hand[::7]] * model.diffuse_std[:, None, None]
    colours = []
    for k in range(300):
        pixels = mean + torch.einsum("k,kmc->mc", torch.from_numpy(textures.coefficients(k)), basis)
        assert ((pixels < 0) | (pixels > 1)).float().mean() < 0.01
        pixels = pixels.clamp(0, 1).numpy()
        _, a, b = lab(pixels).T
        # red to yellow at every texel, never green, blue or purple: Lab hue of skin lies about 30 to 80 degrees
        hue = np.degrees(np.arctan2(b, a))
        assert np.percentile(hue, 0.5) > 25 and np.percentile(hue, 99.5) < 85
        colours.append(lab(pixels.mean(0, keepdims=True))[0])
    lightness, a, b = np.transpose(colours)
    # individual typology angle (Chardon et al. 1991): dark below -30, light above 41 degrees
    angle = np.degrees(np.arctan2(lightness - 50, b))
    assert angle.min() < -40 and angle.max() > 50
    groups = np.histogram(angle, [-90, -30, 10, 28, 41, 90])[0]
    assert (groups > 0.05 * len(angle)).all()
    hue = np.degrees(np.arctan2(b, a))
    assert hue.min() > 40 and hue.max() < 70


def test_random_textures_are_as_sharp_as_baked_people(made, model):
    """Details lie at the same places on everybody, so that the mean of people does not blur them."""
    covered = hand_texels(1024)
    inner = cv2.erode(covered.astype(np.uint8), np.ones((9, 9))) > 0

    def sharpness(pixels: np.ndarray) -> float:
        grey = pixels.astype(np.float32).mean(-1)
        return float(np.std((grey - cv2.GaussianBlur(grey, (0, 0), 2.0))[inner]) / grey[inner].mean())

    skins, textures = SkinLibrary(made / "models" / "open_nimble_skins.h5"), TextureSet(model, seed=0)
    for name in ("diffuse", "normal"):
        baked = np.median([sharpness(skins.maps(k)[name]) for k in range(0, 20, 2)])
        drawn = np.median([sharpness(textures.maps(k)[name]) for k in range(10)])
        assert 0.75 * baked < drawn < 1.5 * baked


def test_the_hand_takes_most_of_what_the_atlas_uses():
    if not MODEL.is_file():
        pytest.skip("results/models/open_nimble.npz is not made yet")
    arrays = dict(np.load(MODEL))
    faces = np.vstack([arrays["faces_forearm"], arrays["faces_stump"]])
    uv_faces = np.vstack([arrays["uv_faces_forearm"], arrays["uv_faces_stump"]])
    used = rasterise(arrays["uv"], uv_faces, arrays["v_template"], faces, 1024).cells.size / 1024**2
    hand = hand_texels(1024).mean()
    assert hand > 0.35 and hand > 0.85 * used
