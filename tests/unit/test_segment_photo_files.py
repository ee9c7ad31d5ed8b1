import os

import numpy as np
import pytest
from handgap.core.errors import CorruptFileError
from handgap.core.seeds import rng
from handgap.segment.hand_table import TABLE, write_table
from handgap.segment.photo_files import find_photos, photo_bytes, read_photo
from PIL import Image
from test_segment_photos import HEIGHT, WIDTH, picture


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
        "out/overlays/b.JPG.jpg",
        "out/d.png",
        "masks/mine.jpg",
        "second/masks/b.JPG.png",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for written in ("out", "second"):
        write_table(tmp_path / written / TABLE, [])
    (tmp_path / TABLE).write_text("my own labels\n")
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path)]
    assert found == ["a b/ü 手.png", "b.JPG", "c.heic", "masks/mine.jpg", "out/d.png"]


def test_what_cannot_be_opened_comes_with_its_own_cure(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CorruptFileError, match=r"No such file.*\n.*link"):
        photo_bytes(tmp_path / "gone.jpg")
    (tmp_path / "locked.jpg").touch(mode=0)
    if not os.access(tmp_path / "locked.jpg", os.R_OK):  # root may read everything
        with pytest.raises(CorruptFileError, match="who may read it"):
            photo_bytes(tmp_path / "locked.jpg")
