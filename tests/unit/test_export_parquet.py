import io
import json
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import yaml
from handgap.core.images import decode_mask, decode_rgb
from handgap.export.card import size_category
from handgap.export.formats import export_stores
from labelled_hands import hands, meaning_hand, write_hands
from PIL import Image

from tests.conftest import ROOT

OPTIONS = {"split": "val", "code": "c0de", "table": ROOT / "config/assets.csv", "per_file": 2}


@pytest.fixture
def exported(tmp_path: Path):
    columns = hands(meaning_hand(tmp_path / "hand.npz"), range(5), left=[2], invalid=[3])
    out = tmp_path / "out"
    export_stores("parquet", [write_hands(tmp_path / "a.h5", columns)], out, **OPTIONS)
    return columns, out


def header(out: Path) -> dict:
    return yaml.safe_load((out / "README.md").read_text().split("---\n")[1])


def test_pyarrow_reads_every_sample_back_to_the_last_bit(exported) -> None:
    columns, out = exported
    names = sorted(path.name for path in (out / "data").iterdir())
    assert names == [f"val-0000{k}-of-00003.parquet" for k in range(3)]
    table = pyarrow.dataset.dataset(out / "data").to_table()
    assert table.column("id").to_pylist() == list(range(5))
    assert table.column("side").to_pylist() == [0, 0, 1, 0, 0]
    assert table.column("valid").to_pylist() == [True, True, True, False, True]
    assert table.column("flag").to_pylist()[3] == "out of the image"
    for name in ("K", "joints", "vertices", "pose", "shape", "trans", "visibility", "residual_mm"):
        np.testing.assert_array_equal(np.array(table.column(name).to_pylist(), columns[name].dtype), columns[name])
    for k, (image, mask) in enumerate(
        zip(table.column("image").to_pylist(), table.column("mask").to_pylist(), strict=True)
    ):
        assert image["path"] == f"{k:09d}.{'jpg' if k % 2 else 'webp'}"
        picture = Image.open(io.BytesIO(image["bytes"])).convert("RGB")
        np.testing.assert_array_equal(np.asarray(picture), decode_rgb(columns["image"][k]))
        np.testing.assert_array_equal(Image.open(io.BytesIO(mask["bytes"])), decode_mask(columns["mask"][k]))


def test_the_files_name_the_features_where_datasets_looks(exported) -> None:
    _, out = exported
    schema = pq.read_schema(out / "data/val-00000-of-00003.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["image"] == {"_type": "Image"}
    assert features["joints"] == {"shape": [21, 3], "dtype": "float32", "_type": "Array2D"}
    assert features["side"] == {"names": ["right", "left"], "_type": "ClassLabel"}
    assert schema.field("joints").type.value_type.value_type == pyarrow.float32()


def test_the_cards_header_agrees_with_the_files(exported) -> None:
    _, out = exported
    head = header(out)
    (split,) = head["dataset_info"]["splits"]
    files = list((out / "data").iterdir())
    assert split["name"] == "val" and split["num_examples"] == 5
    assert split["num_bytes"] == sum(path.stat().st_size for path in files)
    (config,) = head["configs"]
    assert sorted(out.glob(config["data_files"][0]["path"])) == sorted(files)
    assert [entry["name"] for entry in head["dataset_info"]["features"]] == pq.read_schema(files[0]).names
    assert head["size_categories"] == ["n<1K"]
    assert (out / head["license_link"]).is_file()


def test_the_card_says_what_the_images_are_and_their_licences(exported) -> None:
    _, out = exported
    text = (out / "README.md").read_text()
    assert "The images are synthetic: renders of a hand model." in text
    assert "5 samples, 1 of them not valid, 1 left hands" in text
    assert "hdri_bpy (bpy 4.5.15): CC0-1.0 (Poly Haven)" in text
    assert "| `joints` | 21 x 3 x float32 | metres, OpenCV camera frame" in text


def test_a_row_group_is_small_whatever_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = hands(meaning_hand(tmp_path / "hand.npz"), range(5))
    monkeypatch.setattr("handgap.export.parquet.ROWS", 2)
    export_stores("parquet", [write_hands(tmp_path / "a.h5", columns)], tmp_path / "out", **OPTIONS | {"per_file": 100})
    file = pq.ParquetFile(tmp_path / "out/data/val-00000-of-00001.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [2, 2, 1]


@pytest.mark.parametrize(("count", "name"), [(1, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**8, "n>10M")])
def test_size_categories_are_the_hubs(count: int, name: str) -> None:
    assert size_category(count) == name
