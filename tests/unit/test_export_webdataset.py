import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from handgap.core.images import decode_rgb
from handgap.export.formats import export_stores
from handgap.export.tar_shards import members
from labelled_hands import hands, meaning_hand, write_hands
from PIL import Image

from tests.conftest import ROOT


@pytest.fixture
def exported(tmp_path: Path):
    columns = hands(meaning_hand(tmp_path / "hand.npz"), range(5), left=[2], invalid=[3])
    store = write_hands(tmp_path / "a.h5", columns)
    out = tmp_path / "out"
    export_stores("webdataset", [store], out, split="val", code="c", table=ROOT / "config/assets.csv", per_file=2)
    return columns, out


def test_webdataset_reads_every_sample_back(exported) -> None:
    columns, out = exported
    shards = sorted(map(str, out.glob("val-*.tar")))
    assert [Path(shard).name for shard in shards] == [f"val-00000{k}.tar" for k in range(3)]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == [f"{k:09d}" for k in range(5)]
    for k, sample in enumerate(samples):
        labels = sample["json"]
        picture = sample["jpg" if k % 2 else "webp"]
        np.testing.assert_array_equal(np.asarray(picture), decode_rgb(columns["image"][k]))
        assert (labels["id"], labels["side"], labels["valid"]) == (k, "left" if k == 2 else "right", k != 3)
        np.testing.assert_allclose(labels["K"], columns["K"][k], atol=1e-7)
        np.testing.assert_allclose(labels["pose"], columns["pose"][k], atol=1e-7)
        np.testing.assert_array_equal(sample["vertices.npy"], columns["vertices"][k])
        assert labels["visibility"] == columns["visibility"][k].tolist()
        if k == 3:
            assert labels["flag"] == "out of the image" and labels["joints"] == [[None] * 3] * 21
        else:
            np.testing.assert_allclose(labels["joints"], columns["joints"][k], atol=1e-7)


def test_masks_and_depths_lie_beside_as_they_are(exported) -> None:
    columns, out = exported
    (raw,) = [s for s in webdataset.WebDataset(str(out / "val-000002.tar"), shardshuffle=False)]
    assert raw["mask.png"] == columns["mask"][4].tobytes()
    assert Image.open(io.BytesIO(raw["depth.png"])).getextrema() == (0, 500)


def test_members_are_sorted_and_tell_of_no_clock_and_no_user(exported) -> None:
    _, out = exported
    with tarfile.open(out / "val-000000.tar") as archive:
        entries = archive.getmembers()
    names = [entry.name for entry in entries]
    assert names == sorted(names) and len(names) == 10
    assert {(e.mtime, e.uid, e.gid, e.uname, e.gname, e.mode) for e in entries} == {(0, 0, 0, "", "", 0o644)}


def test_a_sample_without_masks_has_an_image_and_labels(tmp_path: Path) -> None:
    from handgap.export.records import Records

    columns = hands(meaning_hand(tmp_path / "hand.npz"), [1])
    for name in ("mask", "depth", "vertices"):
        del columns[name]
    (record,) = Records([write_hands(tmp_path / "a.h5", columns)])
    assert list(members(record)) == ["jpg", "json"]
