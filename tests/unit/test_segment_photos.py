import csv
import os
from dataclasses import fields

import numpy as np
import pytest
import torch
from handgap.cli import app, segment
from handgap.core.config.segment import Segment
from handgap.core.conventions import MaskLabel, Side
from handgap.core.errors import CorruptFileError, HandgapError, MissingAssetError
from handgap.core.seeds import rng
from handgap.segment.boxes import prior_from_landmarks
from handgap.segment.detect import Sighting, sighting_of
from handgap.segment.photo_files import find_photos, photo_bytes, read_photo
from handgap.segment.photos import (
    HandRow,
    PhotoSegmenter,
    distinct,
    enlarged,
    seen_in,
    segment_folder,
    shrunk,
    window,
)
from handgap.segment.sam_layers import build_sam
from PIL import Image
from typer.testing import CliRunner

HEIGHT, WIDTH = 60, 90


def picture(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Red left half, blue right half, a white corner at the top left."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2, 0], rgb[:, width // 2 :, 2] = 200, 200
    rgb[: height // 4, : width // 4] = 255
    return rgb


def read(path):
    return read_photo(path, photo_bytes(path))


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif"])
def test_each_format_is_read(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture()).save(path, **({"quality": 95} if suffix in ("jpg", "jpeg", "webp") else {}))
    rgb = read(path)
    assert rgb.shape == (HEIGHT, WIDTH, 3) and rgb.dtype == np.uint8
    assert np.abs(rgb.astype(int) - picture()).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    # how a camera that was held so stores the upright picture (Exif 2.3, tag 0x0112)
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), picture())


def test_odd_pixels_become_colours(tmp_path):
    grey = picture().max(2)
    for name, image in {
        "grey": Image.fromarray(grey),
        "deep": Image.fromarray(grey.astype(np.uint16) * 257),
        "with_alpha": Image.merge("LA", [Image.fromarray(grey), Image.new("L", (WIDTH, HEIGHT), 255)]),
    }.items():
        image.save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read(tmp_path / f"{name}.png"), np.repeat(grey[..., None], 3, 2))
    Image.fromarray(picture()).quantize(8).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read(tmp_path / "palette.png"), picture())
    Image.fromarray(picture()).convert("CMYK").save(tmp_path / "press.jpg", quality=95)
    assert np.abs(read(tmp_path / "press.jpg").astype(int) - picture()).mean() < 6


def test_transparency_lies_over_white(tmp_path):
    image = Image.fromarray(picture()).convert("RGBA")
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, :10] = 0
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "a.png")
    rgb = read(tmp_path / "a.png")
    assert (rgb[:, :10] == 255).all() and (rgb[:, 10:] == picture()[:, 10:]).all()


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(picture()), Image.new("RGB", (WIDTH, HEIGHT), "green")]
    for suffix, options in (("gif", {}), ("webp", {"lossless": True})):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}"), picture())


def test_what_cannot_be_read_says_why(tmp_path):
    Image.fromarray(picture(400, 400)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    contents = {
        "half.jpg": whole[: len(whole) // 2],
        "empty.jpg": b"",
        "text.jpg": b"hello",
        "iphone.HEIC": b"ftypheic",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    for name, reason in {
        "half.jpg": "truncated",
        "empty.jpg": "no image of a known kind",
        "text.jpg": "no image of a known kind",
        "iphone.HEIC": "cannot be read",
        "float.tif": "32-bit",
        "absent.jpg": "cannot be opened",
    }.items():
        with pytest.raises(CorruptFileError, match=reason) as caught:
            read(tmp_path / name)
        assert name in caught.value.what


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(CorruptFileError, match="too large"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif", "bmp"])
def test_altered_bytes_give_an_image_or_a_reason(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if suffix in ("jpg", "png", "webp") else {}
    Image.fromarray(picture()).save(path, **options)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    generator = rng(0, f"test/photos/{suffix}")
    for _ in range(60):
        altered = data.copy()
        where = generator.integers(0, min(len(data), 400), generator.integers(1, 6))
        altered[where] = generator.integers(0, 256, len(where))
        try:
            assert read_photo(path, altered.tobytes()).shape[2] == 3
        except CorruptFileError as error:
            assert error.problem


def test_photos_are_found_by_suffix_in_all_folders(tmp_path):
    names = [
        "b.JPG",
        "a b/ü 手.png",
        "c.heic",
        ".hidden.png",
        ".thumbs/x.png",
        "notes.txt",
        "out/masks/b.JPG.png",
        "out/d.png",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path, tmp_path / "out")]
    assert found == ["a b/ü 手.png", "b.JPG", "c.heic", "out/d.png"]


def test_shrunk_keeps_what_fits_and_tells_its_scale():
    rgb = picture()
    same, scale = shrunk(rgb, WIDTH)
    assert (same == rgb).all() and (scale == 1).all()
    small, scale = shrunk(picture(1000, 2001), 200)
    assert small.shape == (100, 200, 3)
    np.testing.assert_allclose(scale, [200 / 2001, 100 / 1000])
    assert shrunk(np.zeros((1, 3000, 3), np.uint8), 100)[0].shape == (1, 100, 3)


def test_labels_grow_back_to_what_they_were():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:20, 5:30], labels[20:35, 5:30], labels[12:18, 20:25] = MaskLabel.HAND, MaskLabel.ARM, MaskLabel.OBJECT
    large = enlarged(labels, (400, 400))
    assert set(np.unique(large)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(large[5::10, 5::10], labels)
    np.testing.assert_array_equal(enlarged(labels, (40, 40)), labels)


def test_a_window_holds_all_boxes_and_stays_inside():
    boxes = np.array([[500.0, 320, 600, 380], [500, 320, 780, 380], [np.nan] * 4])
    left, top, right, bottom = window(boxes, (1000, 2000))
    assert left < 500 and top < 320 and right > 780 and bottom > 380
    assert right - left == bottom - top
    left, top, right, bottom = window(boxes, (390, 790))
    assert (right, bottom) == (790, 390) and left < 500
    assert window(boxes - 1e4, (390, 790)) == (0, 0, 1, 1)  # nothing of it in the picture


def landmarks(centre: tuple[float, float], size: float) -> np.ndarray:
    joints = np.zeros((21, 2))
    for finger in range(5):
        for k in range(4):
            joints[1 + 4 * finger + k] = [(finger - 2) * 0.2, -0.5 - 0.15 * k]
    return np.array(centre) + size * joints


def test_a_hand_seen_in_another_view_lies_where_it_did():
    prior = prior_from_landmarks(landmarks((60, 70), 40), 100, 120)
    sighting = sighting_of(prior, 0.05, 0.8, Side.LEFT)
    seen = seen_in(sighting, np.array([2.0, 2.0]), np.array([30.0, 10.0]), (200, 200), 0.05)
    np.testing.assert_allclose(seen.prior.joints, 2 * prior.joints - [30, 10])
    assert seen.side == Side.LEFT and not seen.prior.exact
    np.testing.assert_allclose(seen.boxes[0], 2 * sighting.boxes[0] - [30, 10, 30, 10], atol=4)
    text = Sighting(sighting.boxes, sighting.scores)
    moved = seen_in(text, np.array([2.0, 2.0]), np.array([30.0, 10.0]), (200, 200), 0.05)
    np.testing.assert_allclose(moved.boxes[0], 2 * sighting.boxes[0] - [30, 10, 30, 10])


def test_a_hand_seen_twice_is_one_hand():
    def hand(left: float, score: float) -> Sighting:
        boxes = np.full((3, 4), np.nan)
        boxes[0] = [left, 10, left + 50, 60]
        return Sighting(boxes, np.array([score, np.nan, np.nan]))

    kept = distinct(
        [hand(10, 0.5), hand(12, 0.9), hand(100, 0.7), Sighting(np.full((3, 4), np.nan), np.full(3, np.nan))]
    )
    assert [sighting.scores[0] for sighting in kept] == [0.9, 0.7]
    assert distinct([]) == []


class RedSegmenter:
    """Answers every question with what is red."""

    def embed(self, images):
        return [image[..., 0] > 100 for image in images]

    def decode(self, embedding, size, prompts):
        count = len(prompts.boxes if prompts.boxes is not None else prompts.points)
        logits = np.where(embedding, 5.0, -5.0)[None, None].repeat(count, 0).repeat(3, 1)
        return logits, np.full((count, 3), 0.9)


class RedFinder:
    """A hand box around each red blob, given as boxes in shares of the image."""

    def __init__(self, *boxes):
        self.boxes = np.array(boxes, float).reshape(-1, 4)

    def __call__(self, row, rgb):
        height, width = rgb.shape[:2]
        found = []
        for box in self.boxes * [width, height, width, height]:
            boxes = np.full((3, 4), np.nan)
            boxes[:2] = box
            found.append(Sighting(boxes, np.array([0.9, 0.9, np.nan]), None, Side.RIGHT))
        return found


SETTINGS = Segment(boxes="grounding_dino")


@pytest.mark.parametrize("size", [(90, 60), (3000, 4000), (480, 2600)])
def test_masks_lie_on_the_hands_of_a_photo_of_any_size(size):
    rgb = np.zeros((*size, 3), np.uint8)
    truth = np.zeros(size, bool)
    height, width = size
    for left, top in ((0.1, 0.2), (0.6, 0.5)):
        truth[int(top * height) : int((top + 0.3) * height), int(left * width) : int((left + 0.25) * width)] = True
    rgb[truth] = [255, 0, 0]
    finder = RedFinder([0.1, 0.2, 0.35, 0.5], [0.6, 0.5, 0.85, 0.8])
    labels, rows = PhotoSegmenter(finder, RedSegmenter(), SETTINGS)(rgb, "a.jpg")
    hand = labels == MaskLabel.HAND
    assert (hand & truth).sum() / (hand | truth).sum() > 0.97
    assert [row.hand for row in rows] == [1, 2] and all(row.valid for row in rows)
    assert sum(row.hand_px for row in rows) == hand.sum()
    np.testing.assert_allclose([rows[0].left, rows[0].bottom], [0.1 * width, 0.5 * height], atol=0.01 * max(size))


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
    photos = PhotoSegmenter(finder or RedFinder([0.05, 0.1, 0.5, 0.9]), RedSegmenter(), SETTINGS)

    def segment(rgb, name):
        calls.append(name)
        return photos(rgb, name)

    return segment_folder(folder, out, segment, key, lambda rgb, labels: rgb), calls


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
    assert list(rows[0]) == [field.name for field in fields(HandRow)]
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
    (out / "masks" / "same.jpg.png").write_bytes(b"cut off")
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
    (tmp_path / "empty").mkdir()
    with pytest.raises(HandgapError, match="no photos in it"):
        run(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "empty" / "a.jpg").write_bytes(b"")
    with pytest.raises(HandgapError, match="none of its 1 photos can be read"):
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
    with pytest.raises(MissingAssetError, match=r"no groundingdino_swint_ogc\.pth there"):
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
