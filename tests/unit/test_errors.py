"""Whatever is wrong with its inputs or its disk, a step ends in one clear error and leaves nothing behind."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from handgap.core import errors
from handgap.core.images import encode_mask, encode_rgb
from handgap.core.store import write_store
from handgap.render.shard import complete
from toys import toy_hand, toy_store

ROOT = Path(__file__).parents[2]
PROVENANCE = {"study": "t", "seed": 0, "code": "c", "config": "s"}
COMMON = ("--study", "t", "--seed", "0", "--code", "c")
NETWORK = json.dumps({"architecture": "simplehand", "backbone": "test_efficientnet", "pretrained": False})
TRAIN = json.dumps({"image_size": 64, "batch": 2, "epochs": 1})
BLENDER = pytest.mark.skipif(find_spec("bpy") is None, reason="Blender's Python module is not installed")
ANNOTATION_HAND, RENDER_HAND = "open_mano.npz", "open_nimble.npz"


class Exit(BaseException):
    """Stands in for the end of the process."""


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a step's command line that must end in one clear error; its text."""

    def leave(status: int) -> None:
        raise Exit(status)

    def check(module: str, *arguments: object) -> str:
        app = import_module(module).app
        monkeypatch.setattr(sys, "argv", [module, *map(str, arguments)])
        monkeypatch.setattr(errors.os, "_exit", leave)
        with pytest.raises(Exit) as ended:
            errors.run_step(app)
        assert ended.value.args == (1,)
        text = capfd.readouterr().err
        assert text.count("handgap: error: ") == 1 and text.count("cure: ") == 1
        assert "Traceback" not in text
        return text[text.index("handgap: error: ") :]

    return check


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good inputs of every step but the render hand, of four drawn hands."""
    folder = tmp_path_factory.mktemp("inputs")
    hand = toy_hand(folder / "hand.npz")
    toy_store(folder / "real.h5", hand, range(4))
    side = {
        "id": np.arange(4),
        "image": [encode_rgb(np.zeros((8, 8, 3), np.uint8))] * 4,
        "mask": [encode_mask(np.zeros((8, 8), np.uint8))] * 4,
        "valid": np.ones(4, bool),
        "flag": [""] * 4,
    }
    write_store(folder / "masks.h5", side, **PROVENANCE)
    (folder / "sky.exr").touch()
    write_store(folder / "skins.h5", {"id": np.arange(2), "name": ["a", "b"]}, **PROVENANCE)
    flat = {"diffuse_mean": np.zeros((4, 4, 3)), "diffuse_basis": np.zeros((2, 4, 4, 3)), "diffuse_std": np.ones(2)}
    np.savez(folder / "textures.npz", **flat)
    return folder


def cut(path: Path, folder: Path) -> Path:
    """The first half of a file, under its name in another folder."""
    folder.mkdir(exist_ok=True)
    broken = folder / path.name
    broken.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return broken


def train(files: Path, real: Path, model: Path, **changes: object) -> list[object]:
    options = {"network": NETWORK, "annotation-hand": files / "hand.npz", "settings": TRAIN, "run-seed": 0}
    options |= {"state": model.parent / "state", "out": model, "curves": model.with_suffix(".csv")} | changes
    source = json.dumps({"synthetic": False, "shards": [str(real)]})
    return ["--source", source, *(text for key, value in options.items() for text in (f"--{key}", value)), *COMMON]


def evaluate(pred: Path, truth: Path, out: Path, settings: str = "{}") -> list[object]:
    keys = ("--run", "r", "--network", "n", "--recipe", "r", "--run-seed", "0", "--dataset", "d", "--split", "t")
    return ["--pred", pred, "--truth", truth, "--out", out, *keys, "--settings", settings, *COMMON]


def compose(synthetic: Path, real: Path, masks: Path, out: Path, composition: str = "{}") -> list[object]:
    options = ("--real", real, "--masks", masks, "--variant", "own", "--composition", composition)
    return [synthetic, *options, "--out", out, *COMMON]


def synthetic(fit: Path, textures: Path, out: Path, settings: str = "{}") -> list[object]:
    options = ("--render-hand", fit.with_name(RENDER_HAND), "--textures", textures, "--hdri-dir", fit.parent)
    options += ("--dataset", "d", "--split", "t", "--state", out.parent / "state", "--settings", settings)
    return ["synthetic", fit, *options, "--out", out, *COMMON]


def proxy(skins: Path, hand: Path, out: Path, settings: str = "{}", dataset: str = "{}") -> list[object]:
    options = ("--dataset", "d", "--split", "train", "--first", 0, "--count", 1, "--dataset-settings", dataset)
    options += ("--objects", '["procedural"]')
    options += ("--render-hand", hand, "--annotation-hand", hand, "--skins", skins, "--hdri-dir", skins.parent)
    return ["proxy", *options, "--state", out.parent / "state", "--settings", settings, "--out", out, *COMMON]


# a step's module -> its command line around one shard, all else being good
TAKES_A_SHARD = {
    "render.step": lambda files, shard, out: synthetic(shard, files / "textures.npz", out),
    "compose.step": lambda files, shard, out: compose(shard, files / "masks.h5", files / "masks.h5", out),
    "train.step": lambda files, shard, out: train(files, shard, out),
    "train.predict_step": lambda files, shard, out: [shard, "--mean-of", files / "real.h5", "--out", out, *COMMON],
    "evaluate.step": lambda files, shard, out: evaluate(files / "real.h5", shard, out),
}
STEPS = [pytest.param(step, marks=BLENDER if step == "render.step" else ()) for step in TAKES_A_SHARD]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("broken", [True, False], ids=["truncated", "absent"])
def test_a_bad_shard_is_named(files: Path, tmp_path: Path, fail: Callable[..., str], step: str, broken: bool) -> None:
    given, out = tmp_path / "given", tmp_path / "out" / "out.file"
    shard = cut(files / "real.h5", given) if broken else given / "real.h5"
    text = fail(f"handgap.{step}", *TAKES_A_SHARD[step](files, shard, out))
    assert str(shard) in text
    assert ("not a readable HDF5 file" if broken else "no such store") in text
    assert not out.parent.exists()


@pytest.mark.parametrize("broken", [True, False], ids=["truncated", "absent"])
@pytest.mark.parametrize("step", ["hands.fit.step", "segment.step"])
def test_a_bad_shard_is_named_where_assets_are_read_first(
    made: Path, files: Path, tmp_path: Path, fail: Callable[..., str], step: str, broken: bool
) -> None:
    shard = cut(files / "real.h5", tmp_path / "given") if broken else tmp_path / "given" / "real.h5"
    models, options = made / "models", ("--settings", "{}", "--out", tmp_path / "out" / "out.h5", *COMMON)
    hands = ("--annotation-hand", models / ANNOTATION_HAND)
    text = fail(
        f"handgap.{step}",
        *(("masks",) if step == "segment.step" else ()),
        *(shard, *hands, *options),
        *(
            ("--weights", made / "assets/mobilesam/mobile_sam.pt")
            if step == "segment.step"
            else ("--render-hand", models / RENDER_HAND)
        ),
    )
    assert str(shard) in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("broken", [True, False], ids=["truncated", "absent"])
@pytest.mark.parametrize("step", ["hands.fit.step", "segment.step", "train.step", "train.predict_step", "render.step"])
def test_a_bad_hand_model_is_named(
    files: Path, tmp_path: Path, fail: Callable[..., str], step: str, broken: bool, request: pytest.FixtureRequest
) -> None:
    hand = cut(files / "hand.npz", tmp_path / "given") if broken else tmp_path / "given" / "hand.npz"
    out, real = tmp_path / "out" / "out.file", files / "real.h5"
    if step == "render.step":
        pytest.importorskip("bpy", reason="Blender's Python module is not installed")
        arguments = proxy(files / "skins.h5", hand, out)
    elif step == "train.step":
        arguments = train(files, real, out, **{"annotation-hand": hand})
    elif step == "train.predict_step":
        arguments = [real, "--model", files / "none.pt", "--annotation-hand", hand, "--out", out, *COMMON]
    elif step == "segment.step":
        weights = request.getfixturevalue("made") / "assets/mobilesam/mobile_sam.pt"
        options = ("--weights", weights, "--annotation-hand", hand, "--settings", "{}", "--out", out)
        arguments = ["masks", real, *options, *COMMON]
    else:
        arguments = [real, "--render-hand", hand, "--annotation-hand", hand, "--settings", "{}", "--out", out, *COMMON]
    assert str(hand) in fail(f"handgap.{step}", *arguments)
    assert not out.parent.exists()


def test_a_missing_manual_asset_comes_with_the_way_to_get_it(tmp_path: Path, fail: Callable[..., str]) -> None:
    table = ROOT / "config/assets.csv"
    with open(table, newline="") as file:
        manual = next(row for row in csv.DictReader(file) if row["kind"] == "manual")
    marker = tmp_path / manual["id"] / "asset.json"
    text = fail("handgap.assets.step", "fetch", manual["id"], "--table", table, "--out", marker)
    assert str(marker.parent) in text and manual["how_to_get"] in text
    assert not marker.exists()


def test_backbone_weights_that_are_not_there_are_named(files: Path, tmp_path: Path, fail: Callable[..., str]) -> None:
    network = json.dumps({"architecture": "simplehand"})
    changes = {"network": network, "weights": tmp_path / "efficientnet_lite0"}
    text = fail("handgap.train.step", *train(files, files / "real.h5", tmp_path / "out" / "m.pt", **changes))
    assert str(tmp_path / "efficientnet_lite0") in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("settings", ['{"sise": 64}', '{"size": '], ids=["unknown key", "no JSON"])
@pytest.mark.parametrize("step", [step for step in STEPS if step.values != ("train.predict_step",)])
def test_bad_settings_are_named(
    files: Path, tmp_path: Path, fail: Callable[..., str], step: str, settings: str
) -> None:
    out, real = tmp_path / "out" / "out.file", files / "real.h5"
    arguments, option = {
        "render.step": (synthetic(real, files / "textures.npz", out, settings), "--settings"),
        "compose.step": (compose(real, real, real, out, settings), "--composition"),
        "train.step": (train(files, real, out, network=settings), "--network"),
        "evaluate.step": (evaluate(real, real, out, settings), "--settings"),
    }[step]
    assert f"error: {option}: " in fail(f"handgap.{step}", *arguments)
    assert not out.parent.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_message_can_be_printed_whatever_a_file_is_called() -> None:
    error = errors.HandgapError("bad\udce9.jpg", "no image: bad\udce9", "mend bad\udce9")
    assert str(error).encode() == b"bad\\udce9.jpg: no image: bad\\udce9\n  cure: mend bad\\udce9"


def test_full_disk_while_rows_are_rendered(small_disk: Path) -> None:
    def row(k: int) -> dict[str, object]:
        return {"id": np.int64(k), "noise": np.random.default_rng(k).normal(size=12_000)}

    with pytest.raises(errors.DiskFullError, match=r"2\.npz: no space left"):
        complete(range(4), row, small_disk / "state", "test")
    assert sorted(path.name for path in (small_disk / "state").iterdir()) == ["0.npz", "1.npz"]


@pytest.mark.parametrize("full", ["state", "out"])
def test_full_disk_while_training(
    files: Path, tmp_path: Path, small_disk: Path, fail: Callable[..., str], full: str
) -> None:
    out, state = tmp_path / "out" / "model.pt", tmp_path / "state"
    changes = {"state": small_disk / "state"} if full == "state" else {"out": small_disk / "model.pt", "state": state}
    text = fail("handgap.train.step", *train(files, files / "real.h5", out, **changes))
    assert str(small_disk) in text and "no space left" in text
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    if full == "out":
        assert [path.name for path in state.iterdir()] == ["last.ckpt"]


NO_BLENDER = """
import pkgutil, sys
from importlib import import_module

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("bpy", "mathutils"):
            raise ImportError(f"{name} is forbidden here")

sys.meta_path.insert(0, Forbidden())
import handgap

refused = []
for module in pkgutil.walk_packages(handgap.__path__, "handgap."):
    try:
        import_module(module.name)
    except ImportError as error:
        assert "is forbidden here" in str(error), f"{module.name}: {error}"
        refused.append(module.name)
print(*refused)
"""


def test_only_the_blender_worker_needs_blender() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_BLENDER], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "workflow")}
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {
        f"handgap.render.{name}"
        for name in ("cache", "folder", "materials", "proxyreal", "scene", "step", "synthetic", "worker")
    } | {"handgap.report.hands_step"}
