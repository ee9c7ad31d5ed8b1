"""`handgap render folder`: a folder in HandSynthesis' layout becomes a store; the release's own samples as judge."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from handgap.core.conventions import MaskLabel
from handgap.core.errors import ConfigError, HandgapError
from handgap.core.geometry import project
from handgap.core.images import decode_depth, decode_mask, decode_rgb
from handgap.core.store import Store
from nimble_folder import egg, labels, write_hand
from PIL import Image
from typer.testing import CliRunner

bpy = pytest.importorskip("bpy", reason="Blender's Python module is not installed")

from handgap.render.cli import app  # noqa: E402
from handgap.render.worker import Renderer  # noqa: E402

SMALL = {"res_w": 80, "res_h": 64, "add_hdri_bg": False, "add_rgb_bg": True}
SAMPLES = Path(__file__).parents[3] / "shared/data/nimble_samples"


@pytest.fixture
def hands(tmp_path):
    for name in ("00000003", "00000010"):
        write_hand(tmp_path / "hands" / name)
    (tmp_path / "hands/readme.txt").write_text("no hand")
    return tmp_path / "hands"


@pytest.fixture
def hdri(tmp_path):
    folder = tmp_path / "maps"
    folder.mkdir()
    image = bpy.data.images.new("grey", 32, 16, float_buffer=True)
    image.pixels.foreach_set(np.full(32 * 16 * 4, 0.7, np.float32))
    image.filepath_raw, image.file_format = str(folder / "grey.hdr"), "HDR"
    image.save()
    return folder


def run(hands, out, *options, **keys):
    """The verb with one sample per pixel; `keys` are of a released configuration. The columns written."""
    arguments = ["folder", str(hands), str(out), "--samples", "1", "--threads", "1", *map(str, options)]
    if keys:
        config = out.parent / "config_syn_data.json"
        config.write_text(json.dumps(keys))
        arguments += ["--released-config", str(config)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with Store(out) as store:
        store.verify()
        return {name: store.column(name) for name in store.names}


def test_released_camera_and_labels(hands, hdri, tmp_path):
    columns = run(hands, tmp_path / "out.h5", "--hdri-dir", hdri)
    assert columns["id"].tolist() == [3, 10] and columns["name"].tolist() == ["00000003", "00000010"]
    assert columns["valid"].all() and set(columns["flag"]) == {""} and set(columns["hdri"]) == {"maps/grey"}
    np.testing.assert_array_equal(columns["K"][0], [[355, 0, 112], [0, 355, 112], [0, 0, 1]])
    for name, points in zip(("joints", "vertices"), labels(), strict=True):
        x, y, z = points.T / 1000
        np.testing.assert_allclose(columns[name][1], np.stack([x, -z, y + 0.5], 1), atol=1e-6)
    mask, depth = decode_mask(columns["mask"][0]), decode_depth(columns["depth"][0])
    x, y, z = egg()[0].T / 1000  # without the stray vertices
    outline = project(np.stack([x, -z, y + 0.5], 1), columns["K"][0].astype(float))
    rows, cols = np.nonzero(mask == MaskLabel.HAND)
    box = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(box, [*outline.min(0), *outline.max(0)], atol=1.0)
    assert depth[mask > 0].min() == pytest.approx(0.48, abs=2e-3) and depth[mask == 0].max() == 0
    picture = decode_rgb(columns["image"][0])
    assert picture.shape == (224, 224, 3) and picture[mask > 0].std() > 1 and columns["visibility"].any()


def test_picture_agrees_with_its_mask(hands, tmp_path):
    columns = run(hands, tmp_path / "out.h5", **SMALL | {"res_w": 160, "res_h": 128})
    picture, mask = decode_rgb(columns["image"][0]), decode_mask(columns["mask"][0]) > 0
    assert picture.shape == (128, 160, 3) and columns["K"][0, :2, 2].tolist() == [80, 64]
    assert ((picture.mean(2) < picture[0, 0].mean() - 10) == mask).mean() > 0.98


def test_metres_and_millimetres_are_one(hands, tmp_path):
    write_hand(tmp_path / "small/a", scale=0.001)
    first, second = (run(f, tmp_path / f"{f.name}.h5", **SMALL) for f in (hands, tmp_path / "small"))
    np.testing.assert_array_equal(decode_mask(first["mask"][0]), decode_mask(second["mask"][0]))
    np.testing.assert_allclose(first["joints"][0], second["joints"][0], atol=1e-6)


def test_what_fails_keeps_its_place_with_the_reason(hands, tmp_path):
    (write_hand(hands / "bad_map") / "diffuse.png").write_bytes(b"\x89PNG")
    (write_hand(hands / "flat_uv") / "skin.obj").write_text(
        re.sub(r"(?m)^vt .*$", "vt 0.5 0.5", (hands / "00000003/skin.obj").read_text())
    )
    (write_hand(hands / "nan_joints") / "joints.json").write_text("[" + ", ".join(["[NaN, 0, 0]"] * 21) + "]")
    behind = write_hand(hands / "behind")
    for name in ("joints.json", "manov.json"):
        points = np.array(json.loads((behind / name).read_text())) - [0, 900, 0]
        (behind / name).write_text(json.dumps(points.tolist()))
    moved = [
        f"v {float(x)} {float(y) - 900} {float(z)}" if key == "v" else f"{key} {x} {y} {z}"
        for key, x, y, z in ([*line.split(), "", "", ""][:4] for line in (behind / "skin.obj").read_text().splitlines())
    ]
    (behind / "skin.obj").write_text("\n".join(moved))
    columns = run(hands, tmp_path / "out.h5", **SMALL)
    flags = dict(zip(columns["name"], columns["flag"], strict=True))
    assert columns["id"].tolist() == [0, 1, 2, 3, 4, 5] and columns["valid"].tolist() == [True] * 2 + [False] * 4
    assert flags["bad_map"].startswith("diffuse.png: ") and flags["flat_uv"].endswith("that span no area")
    assert flags["nan_joints"] == "joints.json: numbers that are not finite"
    assert flags["behind"] == "no pixel shows the hand"
    assert not columns["joints"][2:].any() and not decode_mask(columns["mask"][4]).any()


def test_a_hand_without_annotation_vertices_is_drawn_beside_others(hands, tmp_path):
    (hands / "00000003/manov.json").unlink()
    columns = run(hands, tmp_path / "out.h5", **SMALL)
    without, having = columns["vertices"]
    assert columns["valid"].all() and np.isnan(without).all() and np.isfinite(having).all()


def test_maps_need_not_be_of_one_size(hands, tmp_path):
    Image.new("RGB", (1, 1), (90, 90, 90)).save(hands / "00000003/spec.png")
    assert run(hands, tmp_path / "out.h5", **SMALL)["valid"].all()


def test_nothing_usable_is_one_error(tmp_path):
    with pytest.raises(HandgapError, match="no such folder"):
        run(tmp_path / "none", tmp_path / "out.h5", **SMALL)
    (tmp_path / "hands").mkdir()
    with pytest.raises(HandgapError, match="no sub-folder"):
        run(tmp_path / "hands", tmp_path / "out.h5", **SMALL)
    (write_hand(tmp_path / "hands/a") / "joints.json").unlink()
    (tmp_path / "hands/b").mkdir()
    with pytest.raises(HandgapError, match=r"joints\.json: no such file; skin\.obj: no such file"):
        run(tmp_path / "hands", tmp_path / "out.h5", **SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"hands", "config_syn_data.json"}


def test_switches_of_the_configuration(hands, tmp_path):
    for folder in hands.glob("0*"):
        (folder / "manov.json").unlink()
        (folder / "normal.png").unlink()
    columns = run(hands, tmp_path / "out.h5", **SMALL, if_depth=False, if_seg=False, add_hand_tex=False)
    assert columns["valid"].all() and not {"mask", "depth", "vertices"} & set(columns)


def test_views_are_drawn_with_their_extrinsics(hands, tmp_path):
    for name in map(str, range(11, 19)):
        write_hand(hands / name)
    columns = run(hands, tmp_path / "out.h5", **SMALL | {"res_w": 16, "res_h": 16}, multi_view=True)
    assert set(columns["view"]) == {0, 1, 2, 3}
    world = labels()[0][:, [0, 2, 1]] * [0.001, 0.001, -0.001]
    for joints, matrix in zip(columns["joints"], columns["extrinsics"], strict=True):
        np.testing.assert_allclose(joints, world @ matrix[:3, :3].T + matrix[:3, 3], atol=1e-6)


def test_wall_lamp_and_skin_are_seen(hands, hdri, tmp_path):
    for name, shade in {"col": (200, 20, 20), "disp": (9, 9, 9), "nrm": (128, 128, 255), "rgh": (90, 90, 90)}.items():
        Image.new("RGB", (8, 8), shade).save(tmp_path / f"{name}.jpg")

    def draw(name, *options, **keys):
        columns = run(hands, tmp_path / f"{name}.h5", "--hdri-dir", hdri, *options, **SMALL | keys)
        hand = decode_mask(columns["mask"][0]) > 0
        picture = decode_rgb(columns["image"][0]).astype(float)
        return picture[hand].mean(0), picture[~hand].mean(0), decode_depth(columns["depth"][0])[~hand]

    plain, background, depth = draw("plain")
    assert not depth.any() and np.ptp(background) < 1
    _, background, depth = draw("wall", add_tex_bg=True, tex_bg_path=".")
    assert background[0] > 2 * background[1] and np.unique(depth).tolist() == [8.5]
    lit, background, _ = draw("lit", add_rgb_bg=False, add_light=True, light_location=[0, 0, 2], light_strength=500)
    dark, same, _ = draw("dark", add_rgb_bg=False, add_light=True, light_location=[0, 0, 2], light_strength=0)
    np.testing.assert_allclose(background, same, atol=1.0)
    assert lit.mean() > 2 * dark.mean()
    photoreal = draw("photoreal", "--skin", "photoreal")[0]
    assert np.abs(photoreal - plain).max() > 1 and np.abs(draw("again")[0] - plain).max() == 0


def test_killed_run_goes_on_to_the_same_bytes(hands, tmp_path, monkeypatch):
    run(hands, tmp_path / "whole.h5", **SMALL)
    drawn = []
    original = Renderer.filmic

    def dies_at_the_second(self, spec):
        drawn.append(spec.sample_id)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return original(self, spec)

    monkeypatch.setattr(Renderer, "filmic", dies_at_the_second)
    with pytest.raises((KeyboardInterrupt, AssertionError)):
        run(hands, tmp_path / "killed.h5", "--state", tmp_path / "state", **SMALL)
    assert not (tmp_path / "killed.h5").exists()
    run(hands, tmp_path / "killed.h5", "--state", tmp_path / "state", **SMALL)
    assert drawn == [3, 10, 10]
    assert (tmp_path / "killed.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert not list((tmp_path / "state").iterdir())


def test_rows_among_the_hands_are_no_hands(hands):
    for rest in (".out.h5.0.rows", ".out.h5.1.rows"):
        (hands / rest).mkdir()
    assert run(hands, hands / "out.h5", **SMALL)["name"].tolist() == ["00000003", "00000010"]


def test_faulty_calls_are_explained(hands, tmp_path):
    with pytest.raises(ConfigError, match="SAMPLES_DIR"):
        CliRunner().invoke(app, ["folder"], catch_exceptions=False)
    for out in (tmp_path, hands / "readme.txt" / "out.h5"):
        with pytest.raises(ConfigError, match=f"OUT {out}: a folder, or below a file"):
            CliRunner().invoke(app, ["folder", str(hands), str(out)], catch_exceptions=False)
    with pytest.raises(ConfigError, match=r"config_syn_data\.json: hdri_bg_path"):
        run(hands, tmp_path / "out.h5", hdri_bg_path="nowhere")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    if not SAMPLES.is_dir():
        pytest.skip("the release's samples are not in ../shared/data/nimble_samples")
    return run(SAMPLES, tmp_path_factory.mktemp("published") / "out.h5", add_hdri_bg=False, add_rgb_bg=True)


@pytest.mark.parametrize("name", ["00000000", "00000003"])
def test_agrees_with_the_published_render(published, name):
    k = published["name"].tolist().index(name)
    ours = decode_mask(published["mask"][k]) == MaskLabel.HAND
    theirs = np.asarray(Image.open(SAMPLES / name / "render_mask.png")) > 127
    assert (ours & theirs).sum() / (ours | theirs).sum() >= 0.95
    K = published["K"][k].astype(float)
    column, row = np.floor(project(published["joints"][k].astype(float), K)).astype(int).T
    assert theirs[row, column].all()
    depth = decode_depth(published["depth"][k])
    assert 0.41 <= depth[ours].min() < depth[ours].max() <= 0.58  # reference 1.2
    assert published["valid"][k] and published["vertices"][k].shape == (778, 3)
