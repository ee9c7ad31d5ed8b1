"""Cycles against the labels' z-buffer: silhouettes at any K, same pixels twice, no trace of the picture before."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from handgap.core.conventions import MaskLabel
from handgap.core.errors import ConfigError, CorruptFileError, MissingAssetError
from handgap.render.labels import rasterise
from handgap.render.light import camera_orientation, expose, find_hdris, meter, share, tone_map, without_ringing
from handgap.render.spec import Lamp, Lens, MeshPart, Panorama, PlainWorld, SceneSpec, SkinMaterial, SurfaceMaterial
from scipy.ndimage import binary_erosion, distance_transform_edt

bpy = pytest.importorskip("bpy", reason="Blender's Python module is not installed")


class Skins:
    def maps(self, index):
        return {"diffuse": np.full((4, 4, 3), 60 + 40 * index, np.uint8), "roughness": np.full((4, 4), 128, np.uint8)}


def write_exr(path, pixels):
    """An environment map (H, W, 4); Blender's row 0 is the bottom."""
    image = bpy.data.images.new(path.stem, *pixels.shape[1::-1], float_buffer=True)
    image.pixels.foreach_set(pixels.ravel())
    image.filepath_raw, image.file_format = str(path), "OPEN_EXR"
    image.save()


@pytest.fixture(scope="module")
def hdri(tmp_path_factory):
    path = tmp_path_factory.mktemp("hdri") / "half.exr"
    pixels = np.ones((128, 256, 4), np.float32)
    pixels[64:, :, :3] = 0.0  # the lower half of the world shines
    write_exr(path, pixels)
    return path


@pytest.fixture(scope="module")
def renderer(hdri):
    from handgap.render.worker import Renderer

    with Renderer(Skins(), samples=4, threads=1) as made:
        yield made


def scene(hdri, K, width, height, material=None, pitch=0.0, **options):
    mesh = trimesh.creation.capsule(height=0.12, radius=0.03)
    mesh.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1.0, 0.6, 0.2]))
    vertices = mesh.vertices + np.array([0.01, 0.02, 0.5])
    material = material or SurfaceMaterial((0.0, 0.0, 0.0), specular=0.0)
    uv, uv_faces = np.array([[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]), np.tile([0, 1, 2], (len(mesh.faces), 1))
    hand = MeshPart("hand", vertices, mesh.faces, MaskLabel.HAND, material, uv, uv_faces)
    return SceneSpec(0, K, width, height, [hand], Panorama(hdri, camera_orientation(pitch=pitch)), seed=3, **options)


@pytest.mark.parametrize("number", range(4))
def test_silhouette_agrees_with_labels(renderer, hdri, number):
    generator = np.random.default_rng(number)
    width, height = (int(v) for v in generator.integers(120, 200, 2))
    fx = generator.uniform(200, 400)
    centre = np.array([width, height]) / 2 + generator.uniform(-20, 20, 2)
    K = np.array([[fx, 0, centre[0]], [0, fx * generator.uniform(0.8, 1.25), centre[1]], [0, 0, 1]])
    spec = scene(hdri, K, width, height, pitch=np.pi / 2)
    drawn = renderer.render(spec).mean(2) < 0.5
    face, _ = rasterise(spec.parts[0].vertices, spec.parts[0].faces, K, width, height)
    labelled = face >= 0
    edges = [mask & ~binary_erosion(mask) for mask in (drawn, labelled)]
    distances = [distance_transform_edt(~edges[1 - k])[edges[k]] for k in (0, 1)]
    assert np.percentile(np.concatenate(distances), 95) <= 1.0
    assert (drawn & labelled).sum() / (drawn | labelled).sum() > 0.97


def lamp(kind, position, rotation=((1, 0, 0), (0, 1, 0), (0, 0, 1))):
    return Lamp(kind, 5.0, np.array(position, float), np.array(rotation, float))


K0 = np.array([[250.0, 0, 60], [0, 250.0, 50], [0, 0, 1]])


def test_same_pixels_whatever_was_drawn_before(renderer, hdri):
    skin, other = scene(hdri, K0, 120, 100, SkinMaterial(0)), scene(hdri, K0, 120, 100, SkinMaterial(1))
    first = renderer.render(skin)
    cloth = SurfaceMaterial((0.5, 0.1, 0.1), pattern="image", image=np.full((8, 8, 3), 90, np.uint8), bump=0.001)
    lit = replace(scene(hdri, K0, 70, 60), light=PlainWorld((0.2, 0.3, 0.4)), lamps=[lamp("SPOT", [0, 0, 0])])
    for spec in (other, scene(hdri, K0, 90, 80, cloth, lens=Lens(2.8, 0.3)), lit):
        assert renderer.render(spec).shape == (spec.height, spec.width, 3)
    np.testing.assert_array_equal(renderer.render(skin), first)
    assert renderer.render(other).mean() > first.mean()


@pytest.mark.parametrize("shape", [(256, 4, 3), (256, 4, 1), (256, 4)])
def test_maps_reach_blender_unchanged(shape):
    from handgap.render.materials import _image

    pixels = np.random.default_rng(0).permutation(np.resize(np.arange(256, dtype=np.uint8), np.prod(shape)))
    pixels = pixels.reshape(shape)
    image = _image("map", pixels, colour=False)
    values = np.empty(256 * 4 * 4, np.float32)
    image.pixels.foreach_get(values)
    bpy.data.images.remove(image)
    shown = np.rint(255.0 * values.reshape(256, 4, 4)[::-1])
    np.testing.assert_array_equal(shown[..., :3], np.broadcast_to(pixels.reshape(256, 4, -1), (256, 4, 3)))
    assert (shown[..., 3] == 255).all()


def test_cache_keeps_the_images_used_last_within_its_limit():
    from handgap.render.cache import ImageCache

    loaded = []

    def load(key):
        loaded.append(key)
        size = 1024 if key == "big" else 512
        return {"map": bpy.data.images.new(f"cached {key}", size, size)}  # 4 MiB or 1 MiB

    cache = ImageCache(load, 3)
    for key in ("a", "b", "c", "a", "d", "a", "b", "big", "big"):
        assert cache.get(key)["map"].name == f"cached {key}"
    assert loaded == ["a", "b", "c", "d", "b", "big"]
    assert [image.name for image in bpy.data.images if image.name.startswith("cached")] == ["cached big"]
    bpy.data.images.remove(bpy.data.images["cached big"])


class Preferences:
    """Of Cycles, on a machine with some GPUs; each kind's list of devices ends with the CPU, as Blender's does."""

    def __init__(self, **gpus):
        cpu = SimpleNamespace(type="CPU", name="cpu", use=True)
        self.lists = {
            kind: [*(SimpleNamespace(type=kind, name=n, use=False) for n in gpus[kind]), cpu] for kind in gpus
        }
        self.compute_device_type = "NONE"

    def get_devices_for_type(self, kind):
        return self.lists.get(kind, [])

    def used(self, kind):
        return [device.name for device in self.lists[kind] if device.use]


def test_all_visible_gpus_are_used_by_optix_first_and_without_the_cpu():
    from handgap.render.worker import enable_gpu

    both = Preferences(OPTIX=["a", "b"], CUDA=["a", "b", "old"])
    assert enable_gpu(both) and both.compute_device_type == "OPTIX" and both.used("OPTIX") == ["a", "b"]
    old = Preferences(OPTIX=[], CUDA=["old"])
    assert enable_gpu(old) and old.compute_device_type == "CUDA" and old.used("CUDA") == ["old"]
    for none in (Preferences(), Preferences(OPTIX=[], CUDA=[])):
        assert not enable_gpu(none) and none.compute_device_type == "NONE"


def test_without_a_gpu_cycles_draws_on_the_cpu(renderer):
    preferences = bpy.context.preferences.addons["cycles"].preferences
    kinds = {device.type for kind in ("OPTIX", "CUDA") for device in preferences.get_devices_for_type(kind)}
    assert bpy.context.scene.cycles.device == ("GPU" if kinds & {"OPTIX", "CUDA"} else "CPU")


def test_up_is_up(renderer, hdri):
    picture = renderer.render(scene(hdri, K0, 120, 100))
    assert picture[5].mean() == pytest.approx(0.0, abs=0.01) and picture[-5].mean() == pytest.approx(1.0, abs=0.01)


RIGHTWARDS = ((0, 0, 1), (0, 1, 0), (-1, 0, 0))  # the lamp's z axis is the picture's x


@pytest.mark.parametrize(
    ("source", "lit_side"),
    [
        (lamp("POINT", [-0.3, 0, 0.4]), "left"),
        (lamp("POINT", [0.3, 0, 0.4]), "right"),
        (lamp("SPOT", [-0.3, 0, 0.5], RIGHTWARDS), "left"),
        (lamp("AREA", [-0.3, 0, 0.5], RIGHTWARDS), "left"),
        (lamp("SUN", [0, 0, 0], RIGHTWARDS), "left"),
        (lamp("SPOT", [0.3, 0, 0.5], RIGHTWARDS), "none"),
    ],
)
def test_lamps_shine_from_where_they_stand(renderer, hdri, source, lit_side):
    white = SurfaceMaterial((0.8, 0.8, 0.8), specular=0.0)
    spec = replace(scene(hdri, K0, 120, 100, white), light=PlainWorld((0.0, 0.0, 0.0)), lamps=[source])
    seen = renderer.render(spec).mean(2)
    left, right = seen[:, :65].mean(), seen[:, 65:].mean()
    assert {"left": left > 2 * right, "right": right > 2 * left, "none": seen.max() < 1e-3}[lit_side]


def test_plain_world_is_its_colour(renderer, hdri):
    spec = replace(scene(hdri, K0, 120, 100), light=PlainWorld((0.2, 0.4, 0.8), 0.5))
    np.testing.assert_allclose(renderer.render(spec)[2, 2], [0.1, 0.2, 0.4], atol=0.01)
    assert renderer.filmic(spec).dtype == np.uint8 and renderer.filmic(spec).shape == (100, 120, 3)


def test_orientation_is_a_rotation_that_looks_down_with_pitch():
    turn = camera_orientation(azimuth=0.3, pitch=0.4, roll=0.2)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    assert (turn @ [0, 0, 1])[2] == pytest.approx(-np.sin(0.4))


def test_ringing_of_a_panorama_is_mended_and_nothing_else_changed():
    sky = np.random.default_rng(0).uniform(0.4, 0.6, (40, 80, 3))
    ringing = sky.copy()
    ringing[10:13, [0, 79]], ringing[20, 30, 1] = -5.0, -0.1
    mended = without_ringing(ringing)
    bad = (ringing < 0).any(2)
    np.testing.assert_array_equal(mended[~bad], sky[~bad])
    assert (mended[bad] > 0.4).all() and (mended[bad] < 0.6).all()
    assert not without_ringing(np.full((4, 4, 3), -1.0)).any()


def test_meter_makes_exposure_independent_of_the_light():
    generator = np.random.default_rng(0)
    light = generator.lognormal(size=(20, 20, 3))
    subject = np.zeros((20, 20), bool)
    subject[5:15, 5:15] = True
    np.testing.assert_array_equal(expose(light, subject, 0.0), expose(light * 4.0, subject, 0.0))
    assert meter(light * 4.0, subject) == pytest.approx(meter(light, subject) / 4.0)
    assert expose(light, subject, 1.0).mean() > expose(light, subject, 0.0).mean()


def test_tone_curve_is_monotone_and_bounded():
    tones = tone_map(np.linspace(0, 50, 5000))
    assert (np.diff(tones) >= 0).all() and tones[0] == 0 and tones[-1] <= 1
    assert tone_map(np.array(0.18)) == pytest.approx(0.4614, abs=1e-3)  # IEC 61966-2-1


def test_missing_inputs_are_named(tmp_path, renderer):
    with pytest.raises(MissingAssetError, match=str(tmp_path)):
        find_hdris([tmp_path])
    with pytest.raises(MissingAssetError, match="no such environment map"):
        renderer.render(scene(tmp_path / "none.exr", K0, 60, 50))
    (tmp_path / "damaged.exr").write_bytes(b"no map")
    with pytest.raises(CorruptFileError, match=r"damaged\.exr: .*cannot read"):
        renderer.render(scene(tmp_path / "damaged.exr", K0, 60, 50))
    overflowed = np.ones((32, 64, 4), np.float32)
    overflowed[4, 4] = np.inf
    write_exr(tmp_path / "sun.exr", overflowed)
    with pytest.raises(CorruptFileError, match=r"sun\.exr: .*not finite"):
        renderer.render(scene(tmp_path / "sun.exr", K0, 60, 50))
    skewed = K0.copy()
    skewed[0, 1] = 5.0
    with pytest.raises(ConfigError, match="skew"):
        renderer.render(scene(tmp_path / "none.exr", skewed, 60, 50))


def test_share_of_a_study():
    assert [share(26, ratio) for ratio in (1.0, 0.5, 0.001)] == [26, 13, 1]
