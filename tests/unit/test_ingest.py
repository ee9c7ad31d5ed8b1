"""Imported datasets from the command line: index, shards, and the look that `handgap inspect-dataset` takes."""

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest
from dataset_freihand import write_freihand
from dataset_hands import make_hands, models
from handgap.cli import app
from handgap.core.config import imported
from handgap.core.config.imported import IMPORTED, FreiHand
from handgap.core.conventions import Side
from handgap.core.errors import CorruptFileError, HandgapError, MissingAssetError
from handgap.core.store import Store
from handgap.data.adapters.adapter import Adapter
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.registry import ADAPTERS, adapter_class, open_adapter, sides_of
from handgap.data.samples import Samples
from handgap.ingest import step
from handgap.ingest.shard import imported_columns
from PIL import Image
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
PROVENANCE = ("--study", "t", "--seed", "0", "--code", "c")


@pytest.fixture(scope="module")
def freihand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("freihand")
    found = models(folder)
    train, test = make_hands(found[Side.RIGHT], 3), make_hands(found[Side.RIGHT], 2, seed=1)
    write_freihand(folder / "FreiHAND", found[Side.RIGHT], train, test, released=False)
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(step.app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def settings(root: Path) -> str:
    return json.dumps({"kind": "freihand", "root": str(root), "splits": {"train": 1}})


def import_shard(root: Path, out: Path, first: int = 0, count: int = 12) -> Path:
    index = out.parent / f"{out.stem}.index"
    run("index", "--settings", settings(root), "--split", "train", "--out", index)
    options = ("--settings", settings(root), "--split", "train", "--first", first, "--count", count)
    hand = root.parent / "toy.npz"
    run("shard", index, *options, "--hand", hand, "--out", out, *PROVENANCE)
    return out


def test_steps_write_a_shard_that_training_reads(freihand: Path, tmp_path: Path) -> None:
    shard = import_shard(freihand / "FreiHAND", tmp_path / "a.h5", 3, 4)
    with Store(shard) as store:
        assert store.column("id").tolist() == [3, 4, 5, 6]
        assert store.attrs["dataset"] == "FreiHAND" and "research only" in store.attrs["licence"]
        store.verify()
    samples = Samples([shard], masks=True)
    assert samples[2].image.shape == (224, 224, 3) and samples[2].mask.max() == 1


def test_same_files_same_bytes_wherever_they_lie(freihand: Path, tmp_path: Path) -> None:
    shards = []
    for name in ("here", "elsewhere"):
        root = shutil.copytree(freihand, tmp_path / name) / "FreiHAND"
        (root / "training/rgb/00000004.jpg").unlink()
        shards.append(import_shard(root, tmp_path / f"{name}.h5"))
    assert shards[0].read_bytes() == shards[1].read_bytes()
    with Store(shards[0]) as store:
        assert store.column("flag", 4) == "training/rgb/00000004.jpg: no such picture"


def test_a_step_says_what_was_imported(freihand: Path, tmp_path: Path) -> None:
    shutil.copytree(freihand, tmp_path / "copy")
    root = tmp_path / "copy/FreiHAND"
    (root / "training/rgb/00000001.jpg").unlink()
    run("index", "--settings", settings(root), "--split", "train", "--out", tmp_path / "i.h5")
    options = ("--settings", settings(root), "--split", "train", "--first", 0, "--count", 4)
    said = run("shard", tmp_path / "i.h5", *options, "--out", tmp_path / "a.h5", *PROVENANCE)
    assert "4 rows, 1 not valid" in said and "1 x training/rgb/00000001.jpg: no such picture" in said


def test_a_killed_index_leaves_nothing(freihand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(IndexWriter, "finish", killed)
    adapter = open_adapter(FreiHand(kind="freihand", root=str(freihand / "FreiHAND")))
    with pytest.raises(KeyboardInterrupt):
        adapter.make_index("train", tmp_path / "index.h5")
    assert list(tmp_path.iterdir()) == []


def test_inspect_dataset_counts_checks_and_draws(freihand: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--state", str(tmp_path / "state"), "--hand", str(freihand / "toy.npz")]
    result = CliRunner().invoke(app, ["inspect-dataset", "freihand", str(freihand / "FreiHAND"), *options])
    assert result.exit_code == 0, result.output
    assert "splits: {train: 12, test: 2}" in result.output
    assert "research only" in result.output and "FreiHAND_pub_v2_eval.zip is not there" in result.output
    assert "0.00 (to 0.00)" in result.output  # the hand model against the labels
    with Image.open("freihand.png") as sheet:
        assert sheet.width > 1000
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "state").iterdir()}
    assert len(made) == 2
    CliRunner().invoke(app, ["inspect-dataset", "freihand", str(freihand / "FreiHAND"), *options])
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "state").iterdir()}  # used again


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["cats"], "cats"),
        (["freihand", "--options", "{nope"], "no JSON"),
        (["freihand", "--split", "val"], "no such split"),
    ],
)
def test_inspect_dataset_refuses_what_makes_no_sense(freihand: Path, arguments: list[str], match: str) -> None:
    name, *options = arguments
    result = CliRunner().invoke(app, ["inspect-dataset", name, str(freihand / "FreiHAND"), *options])
    assert isinstance(result.exception, HandgapError) and match in str(result.exception)


def test_every_kind_has_an_adapter_settings_and_a_line_in_the_docs() -> None:
    kinds = {get_args(section.model_fields["kind"].annotation)[0]: section for section in IMPORTED}
    assert list(ADAPTERS) == list(kinds)
    table = (ROOT / "docs/datasets.md").read_text()
    for kind in kinds:
        adapter = adapter_class(kind)
        assert f"| `{kind}` |" in table and adapter.title in table, kind
        assert issubclass(adapter, Adapter) and adapter.licence and adapter.source and adapter.splits
    assert sides_of(FreiHand(kind="freihand", root="/x")) == ["right"]
    assert sides_of(imported.Rhd(kind="rhd", root="/x")) == []


def test_an_index_is_opened_without_being_read(tmp_path: Path) -> None:
    path, count = tmp_path / "long.h5", 50_000
    with h5py.File(path, "w") as file:
        writer = IndexWriter(file, Path("list.txt"))
        for first in range(0, count, 10_000):
            names = [f"some/folder/{first + k:08d}" for k in range(10_000)]
            writer.append(name=names, values=np.full((10_000, 16), first, np.float32))
        writer.finish()
        file.attrs["pictures"] = count
    tracemalloc.start()
    with Index(path) as index:
        assert index.column("name", count - 1) == f"some/folder/{count - 1:08d}"
        assert index.column("values", slice(19_999, 20_001))[:, 0].tolist() == [10_000, 20_000]
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000  # of 5 MB


def test_indices_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError):
        Index(tmp_path / "nowhere.h5")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF")
    with pytest.raises(CorruptFileError, match=r"cut\.h5: not a readable index"):
        Index(tmp_path / "cut.h5")


def test_one_picture_missing_of_a_thousand(tmp_path: Path) -> None:
    """A thousand rows of one label, one picture of which is gone: 999 stay."""
    found = models(tmp_path)
    hands = make_hands(found[Side.RIGHT], 1)
    root = write_freihand(tmp_path / "FreiHAND", found[Side.RIGHT], hands, hands)
    for name in ("K", "xyz", "verts", "mano"):
        path = root / f"training_{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) * 1000))
    picture, mask = (root / f"training/{kind}/00000000.jpg" for kind in ("rgb", "mask"))
    for number in range(1000):
        for source in (picture, mask):
            target = source.with_name(f"{number:08d}.jpg")
            if number != 617 and not target.exists():
                target.hardlink_to(source)
    (root / "training/rgb/00000617.jpg").unlink(missing_ok=True)
    mask.with_name("00000617.jpg").hardlink_to(mask)
    adapter = open_adapter(FreiHand(kind="freihand", root=str(root), colour_versions=1))
    adapter.make_index("train", tmp_path / "i.h5")
    with Index(tmp_path / "i.h5") as index:
        got = imported_columns(adapter, "train", index, range(1000), {})
    assert np.flatnonzero(~got["valid"]).tolist() == [617]
    assert got["flag"][617] == "training/rgb/00000617.jpg: no such picture"
