import csv
import os

import numpy as np
import pytest
import torch
from handgap.cli import app, segment
from handgap.core.errors import CorruptFileError, HandgapError, MissingAssetError
from handgap.core.provenance import modules_of
from handgap.segment.hand_table import COLUMNS, TABLE, is_ours
from handgap.segment.photo_folder import photos_of, segment_folder
from handgap.segment.photos import PhotoSegmenter
from handgap.segment.sam_layers import build_sam
from PIL import Image
from test_segment_photos import SETTINGS, RedFinder, RedSegmenter, picture
from typer.testing import CliRunner


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "my photos"
    (photos / "trip").mkdir(parents=True)
    Image.fromarray(picture()).save(photos / "same.jpg", quality=95)
    Image.fromarray(picture()).save(photos / "same.png")
    Image.fromarray(picture(30, 40)).save(photos / "trip" / "größe 手.webp", lossless=True)
    (photos / "broken.jpg").write_bytes(b"x")
    return photos


def run(folder, out, key="k", finder=None):
    calls = []
    hands = PhotoSegmenter(finder or RedFinder([0.05, 0.1, 0.5, 0.9]), RedSegmenter(), SETTINGS)

    def segment(rgb, name):
        calls.append(name)
        return hands(rgb, name)

    return segment_folder(photos_of(folder, out), out, segment, key, lambda rgb, labels: rgb), calls


def table(out):
    with (out / "hands.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_gives_masks_overlays_and_a_table(folder, tmp_path):
    out = tmp_path / "new" / "out"
    outcome, calls = run(folder, out)
    assert calls == ["same.jpg", "same.png", "trip/größe 手.webp"]
    for name, size in (("same.jpg", (90, 60)), ("same.png", (90, 60)), ("trip/größe 手.webp", (40, 30))):
        with Image.open(out / "masks" / f"{name}.png") as mask, Image.open(out / "overlays" / f"{name}.jpg") as overlay:
            assert mask.mode == "L" and mask.size == size and overlay.format == "JPEG"
            assert set(np.unique(np.asarray(mask))) <= {0, 1, 2, 3}
    rows = table(out)
    assert list(rows[0]) == COLUMNS
    assert [row["file"] for row in rows] == ["broken.jpg", *calls]
    assert rows[0]["valid"] == "False" and rows[0]["reason"].startswith("unreadable: no image")
    assert rows[1]["side"] == "right" and int(rows[1]["hand_px"]) > 0
    assert "unreadable: 1" in outcome.summary() and "broken.jpg" in outcome.summary()


def test_a_second_run_does_only_what_has_changed(folder, tmp_path):
    out = folder / "out"  # inside the folder: its masks are no photos
    first, _ = run(folder, out)
    before = (out / "hands.csv").read_bytes()
    again, calls = run(folder, out)
    assert calls == [] and again.rows == first.rows and (out / "hands.csv").read_bytes() == before
    Image.fromarray(picture()[::-1]).save(folder / "same.png")
    (out / "overlays" / "same.jpg.jpg").unlink()
    assert run(folder, out)[1] == ["same.jpg", "same.png"]
    assert len(run(folder, out, key="other settings")[1]) == 3


def test_a_photo_without_a_hand_has_an_empty_mask_and_a_row(folder, tmp_path):
    outcome, _ = run(folder, tmp_path / "out", finder=RedFinder())
    row = table(tmp_path / "out")[1]
    assert row["hand"] == "0" and row["valid"] == "False" and row["reason"] == "no hand found"
    assert not np.asarray(Image.open(tmp_path / "out" / "masks" / "same.jpg.png")).any()
    assert "without a hand: 3" in outcome.summary()


def test_folders_without_photos_are_errors(folder, tmp_path):
    with pytest.raises(HandgapError, match="no such folder"):
        run(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(HandgapError, match="is a file"):
        run(folder / "same.jpg", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HandgapError, match="no photos in it"):
        run(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "empty" / "a.jpg").write_bytes(b"")
    with pytest.raises(HandgapError, match="none of the 1 photos can be read"):
        run(tmp_path / "empty", tmp_path / "out")
    assert table(tmp_path / "out")[0]["file"] == "a.jpg"


def test_an_out_that_cannot_be_written_is_an_error(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HandgapError, match="cannot be written"):
        run(folder, tmp_path / "file")
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(HandgapError, match="cannot be written"):
        run(folder, tmp_path / "locked")


def test_the_verb_asks_for_weights_it_lacks(folder, tmp_path):
    with pytest.raises(MissingAssetError, match=r"no sam_vit_h_4b8939\.pth there\n.*segment-anything"):
        segment(folder, tmp_path / "out", segmenter="vit_h", weights=tmp_path)
    (tmp_path / "mobile_sam.pt").touch()
    with pytest.raises(MissingAssetError, match=r"groundingdino_swint_ogc\.pth there\n.*the folder that holds all"):
        segment(folder, tmp_path / "out", boxes="grounding_dino", weights=tmp_path / "mobile_sam.pt")


def test_the_verb_runs_from_photos_to_table(tmp_path):
    pytest.importorskip("mediapipe", reason="no palm detector installed")
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture()).save(tmp_path / "photos" / "a.jpg")
    torch.save(build_sam("mobilesam", 1024).state_dict(), tmp_path / "mobile_sam.pt")
    arguments = [str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--weights", str(tmp_path)]
    result = CliRunner().invoke(app, ["segment", *arguments], catch_exceptions=False)
    assert result.exit_code == 0 and "photos: 1; hands: 0" in result.output
    assert table(tmp_path / "out")[0]["reason"] == "no hand found"


def test_the_folder_is_looked_at_before_the_weights(tmp_path):
    with pytest.raises(HandgapError, match="no such folder"):
        segment(tmp_path / "nowhere", tmp_path / "out", weights=tmp_path)


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "content"),
    [("hands.csv", b"my own labels\n"), ("masks/same.jpg.png", None), ("overlays/same.jpg.jpg", None)],
)
def test_files_of_others_are_not_overwritten(folder, name, content):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes((folder / "same.png").read_bytes() if content is None else content)
    before = files_of(folder)
    with pytest.raises(HandgapError, match=rf"{name}: would be overwritten.*\n.*--out"):
        run(folder, folder)
    assert files_of(folder) == before


def test_photos_that_lie_where_masks_go_are_photos_until_a_run_has_written_there(folder):
    (folder / "masks").mkdir()
    Image.fromarray(picture()).save(folder / "masks" / "mine.png")
    assert "masks/mine.png" in run(folder, folder)[1]


def test_what_earlier_runs_have_written_is_no_photo(folder, tmp_path):
    first = run(folder, folder)[1]
    assert run(folder, folder / "second")[1] == first
    assert run(folder, tmp_path / "third")[1] == first
    assert run(folder, folder)[1] == []


def test_a_killed_run_has_marked_its_folder(folder):
    class Killed(BaseException):
        pass

    def segment(rgb, name):
        if name == "trip/größe 手.webp":
            raise Killed
        return np.zeros(rgb.shape[:2], np.uint8), []

    with pytest.raises(Killed):
        segment_folder(photos_of(folder, folder), folder, segment, "k", lambda rgb, labels: rgb)
    assert is_ours(folder / TABLE) and (folder / "masks" / "same.jpg.png").exists()
    assert run(folder, folder)[1] == ["trip/größe 手.webp"]


def test_a_name_may_be_as_long_as_its_masks_can_be_and_a_longer_one_is_a_fault_of_its_photo(folder, tmp_path):
    for length in (247, 252):
        Image.fromarray(picture()).save(folder / f"{'n' * length}.png"[-length:])
    outcome, calls = run(folder, tmp_path / "out")
    assert [len(name) for name in calls if name[0] == "n"] == [247]
    rows = {len(row["file"]): row for row in table(tmp_path / "out")}
    assert rows[247]["valid"] == "True" and rows[252]["reason"].endswith("too long for a mask to be named by")
    assert "cure: shorten its name" in outcome.summary()


def test_a_name_that_is_no_text_is_told_as_text(folder, tmp_path):
    with open(os.path.join(os.fsencode(folder), b"bad\xe9.jpg"), "wb") as file:
        file.write(b"x")
    outcome, _ = run(folder, tmp_path / "out")
    assert "bad\\udce9.jpg: no image" in outcome.summary()
    outcome.summary().encode("utf-8")


@pytest.mark.parametrize("module", ["segment.palm", "segment.grounding_dino", "segment.masks", "report.draw"])
def test_masks_are_made_anew_when_code_behind_them_has_changed(folder, tmp_path, monkeypatch, module):
    """The key that the verb gives holds each module that decides about a mask or an overlay."""
    covered = set()

    def spy(name):
        covered.update(modules_of(f"handgap.{name}"))
        return name

    monkeypatch.setattr("handgap.core.provenance.code_of", spy)
    (tmp_path / "mobile_sam.pt").write_bytes(b"no weights")
    with pytest.raises(CorruptFileError):
        segment(folder, tmp_path / "out", "mobilesam", "palm", tmp_path)
    assert f"handgap.{module}" in covered
