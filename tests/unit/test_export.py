"""What all formats share."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from handgap.core.errors import ConfigError, CorruptFileError
from handgap.core.store import Store
from handgap.export import records as records_module
from handgap.export.folder import MANIFEST, JsonList, plain
from handgap.export.formats import export_stores
from handgap.export.origin import kind_of
from handgap.export.records import Records
from handgap.export.step import app
from labelled_hands import hands, meaning_hand, write_hands
from typer.testing import CliRunner

from tests.conftest import ROOT

TABLE = ROOT / "config/assets.csv"
OPTIONS = {"split": "train", "code": "c0de", "table": TABLE}
FORMATS = ("freihand", "coco", "webdataset", "parquet")


@pytest.fixture
def hand(tmp_path: Path):
    return meaning_hand(tmp_path / "hand.npz")


@pytest.fixture
def stores(tmp_path: Path, hand) -> list[Path]:
    first, second = hands(hand, range(3), left=[1], invalid=[2]), hands(hand, [7, 5])
    return [write_hands(tmp_path / "a.h5", first), write_hands(tmp_path / "b.h5", second)]


def tree(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_stores_give_the_same_bytes_in_place_of_an_earlier_export(name, stores, tmp_path: Path) -> None:
    options = OPTIONS | {"annotation_hand": tmp_path / "hand.npz", "per_file": 2}
    out = tmp_path / "out"
    export_stores(name, stores, out, **options)
    first = tree(out)
    (out / "stale.txt").write_text("of an earlier export")
    export_stores(name, stores, out, **options)
    assert tree(out) == first and MANIFEST in first
    assert not any(path.name.startswith(".out") for path in tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_that_fails_leaves_the_earlier_one_and_nothing_else(name, stores, hand, tmp_path: Path) -> None:
    options = OPTIONS | {"annotation_hand": tmp_path / "hand.npz"}
    out = tmp_path / "out"
    export_stores(name, stores, out, **options)
    before = tree(out)
    broken = hands(hand, range(3))
    broken["joints"][2, 4] = np.nan
    path = write_hands(tmp_path / "broken.h5", broken)
    with pytest.raises(CorruptFileError, match=r"broken\.h5\[2\]: column 'joints' is not finite"):
        export_stores(name, [path], out, **options)
    assert tree(out) == before
    with pytest.raises(CorruptFileError):
        export_stores(name, [path], tmp_path / "new", **options)
    assert not any(path.name in ("new", ".new.part", ".out.part") for path in tmp_path.iterdir())


def test_a_killed_exports_rest_is_cleared_away(stores, tmp_path: Path) -> None:
    (tmp_path / ".out.part/images").mkdir(parents=True)
    export_stores("coco", stores, tmp_path / "out", **OPTIONS)
    assert not (tmp_path / ".out.part").exists()


def test_a_folder_that_is_no_export_is_left_alone(stores, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="is no export"):
        export_stores("coco", stores, tmp_path / "out", **OPTIONS)
    assert (tmp_path / "out/thesis.txt").read_text() == "years of work"


def test_provenance_names_stores_counts_and_the_assets_licences(stores, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_stores("coco", stores, out, **OPTIONS)
    content = json.loads((out / MANIFEST).read_text())
    counts = {"read": 5, "valid": 4, "written": 4, "not_valid": 1, "left_hands": 1, "mirrored": 0}
    assert content["samples"] == counts
    assert [source["file"] for source in content["sources"]] == ["a.h5", "b.h5"]
    with Store(stores[0]) as store:
        assert content["sources"][0]["content"] == store.digest
    assert content["sources"][0]["parents"] == ["ab" * 32]
    assert {content["sources"][0][name] for name in ("study", "code", "config")} == {"toy", "c0de", "c0f"}
    assert [asset["id"] for asset in content["assets"]] == ["hdri_bpy"]
    assert "CC0-1.0 (Poly Haven)" in (out / "LICENCES.md").read_text()
    assert str(tmp_path) not in (out / MANIFEST).read_text()


def test_assets_named_by_a_person_replace_those_found_and_must_be_known(stores, tmp_path: Path) -> None:
    export_stores("coco", stores, tmp_path / "out", assets=["freihand"], **OPTIONS)
    text = (tmp_path / "out/LICENCES.md").read_text()
    assert "FreiHAND licence (research only)" in text and "Poly Haven" not in text
    with pytest.raises(ConfigError, match="--asset nothing: no such asset"):
        export_stores("coco", stores, tmp_path / "out", assets=["nothing"], **OPTIONS)


def test_proxy_real_images_are_called_so(hand, tmp_path: Path) -> None:
    columns = hands(hand, range(2))
    del columns["residual_mm"]
    columns["render_pose"] = np.zeros((2, 60), np.float32)
    path = write_hands(tmp_path / "a.h5", columns, object_creators="A. Carpenter")
    export_stores("coco", [path], tmp_path / "out", **OPTIONS)
    text = (tmp_path / "out/LICENCES.md").read_text()
    assert "proxy-real" in text and "They are not real images" in text
    assert "A. Carpenter" in text and "objects_sweethome3d" in text
    for file, key in ((MANIFEST, "images"), ("annotations/hand_keypoints_train.json", "info")):
        assert "not real images" in str(json.loads((tmp_path / "out" / file).read_text())[key])


def test_a_datasets_own_licence_goes_along(hand, tmp_path: Path) -> None:
    columns = hands(hand, range(2))
    for name in ("residual_mm", "hdri"):
        del columns[name]
    path = write_hands(tmp_path / "a.h5", columns, dataset="HandsOfMine", licence="research only")
    export_stores("parquet", [path], tmp_path / "out", **OPTIONS)
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["datasets"] == {"HandsOfMine": "research only"}
    assert "| HandsOfMine | | research only |" in (tmp_path / "out/LICENCES.md").read_text()
    assert "- HandsOfMine: research only" in (tmp_path / "out/README.md").read_text()


def test_labels_that_a_dataset_has_not_are_nan_throughout_or_a_fault(hand, tmp_path: Path) -> None:
    columns = hands(hand, range(3))
    for name in ("vertices", "pose", "shape"):
        columns[name][1] = np.nan
    path, options = write_hands(tmp_path / "a.h5", columns), OPTIONS | {"annotation_hand": tmp_path / "hand.npz"}
    for name in FORMATS:
        export_stores(name, [path], tmp_path / name, **options)
    for what in ("verts", "mano"):
        entries = json.loads((tmp_path / f"freihand/training_{what}.json").read_text())
        assert [entry is None for entry in entries] == [False, True, False]
    columns["pose"][2, 7] = np.nan
    with pytest.raises(CorruptFileError, match=r"b\.h5\[2\]: column 'pose' is not finite"):
        export_stores("coco", [write_hands(tmp_path / "b.h5", columns)], tmp_path / "out", **OPTIONS)


@pytest.mark.parametrize(
    ("names", "attributes", "kind"),
    [
        (["hdri", "render_pose"], {}, "proxy-real"),
        (["hdri", "render_pose", "residual_mm"], {}, "synthetic"),
        (["hdri", "extrinsics"], {}, "synthetic"),
        (["hdri", "render_pose", "residual_mm"], {"variant": "own"}, "composed"),
        (["joints"], {}, "dataset"),
    ],
)
def test_what_images_are_follows_from_what_their_stage_writes(names, attributes, kind, tmp_path: Path) -> None:
    columns = {"id": np.arange(2)} | dict.fromkeys(names, np.zeros(2))
    assert kind_of(Records([write_hands(tmp_path / "a.h5", columns, **attributes)])) == kind


def test_ids_that_repeat_other_columns_and_missing_ones_are_refused(hand, stores, tmp_path: Path) -> None:
    again = write_hands(tmp_path / "again.h5", hands(hand, [2, 9]))
    with pytest.raises(ConfigError, match="1 sample ids repeat, first 2"):
        Records([*stores, again])
    other = hands(hand, [11])
    del other["depth"]
    with pytest.raises(ConfigError, match="column 'depth' is not as in"):
        Records([*stores, write_hands(tmp_path / "other.h5", other)])
    bare = hands(hand, [11])
    del bare["joints"]
    with pytest.raises(ConfigError, match="no column 'joints'"):
        export_stores("coco", [write_hands(tmp_path / "bare.h5", bare)], tmp_path / "out", **OPTIONS)


def test_samples_pass_block_by_block(hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_hands(tmp_path / "a.h5", hands(hand, range(7)))
    monkeypatch.setattr(records_module, "BLOCK", 3)
    asked = []
    column = Store.column

    def watched(self, name, *rows):
        asked.append((name, *rows))
        return column(self, name, *rows)

    monkeypatch.setattr(Store, "column", watched)
    samples = Records([path])
    asked.clear()
    stream = iter(samples)
    assert next(stream).id == 0
    assert [rows[0].stop for name, *rows in asked if name == "joints"] == [3]
    assert [record.id for record in stream] == [1, 2, 3, 4, 5, 6]
    assert [rows[0].stop for name, *rows in asked if name == "joints"] == [3, 6, 7]


def test_numbers_become_json_without_noise(tmp_path: Path) -> None:
    assert plain(np.array([0.1, -0.0, np.nan], np.float32)) == [0.1, 0.0, None]
    assert plain(np.uint8(3)) == 3 and plain(np.array([True])) == [True] and plain("text") == "text"
    with JsonList(tmp_path / "list.json") as items:
        for value in ([1], np.float32(0.25)):
            items.append(value)
    assert json.loads((tmp_path / "list.json").read_text()) == [[1], 0.25]


def test_the_verb_says_what_it_did(stores, tmp_path: Path) -> None:
    arguments = ["freihand", *map(str, stores), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--annotation-hand", str(tmp_path / "hand.npz")])
    assert result.exit_code == 0, result.output
    assert "4 samples, 1 not valid, 1 left hands mirrored" in result.stdout
    assert "per_file" not in (tmp_path / "out" / MANIFEST).read_text()
