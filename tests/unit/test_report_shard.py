"""The sheet of a shard: image, classes and joints side by side, failures among them, captions that fit."""

import numpy as np
import pytest
from handgap.core.conventions import MaskLabel
from handgap.core.images import encode_mask, encode_rgb
from handgap.core.store import write_store
from handgap.report.draw import FINGER_COLOURS, MASK_COLOURS
from handgap.report.shard_sheet import GAP, SHOWN, shard_tiles
from handgap.report.sheets import contact_sheet, save_sheet
from PIL import Image

SIZE = 32
K = np.array([[30.0, 0, 16], [0, 30.0, 16], [0, 0, 1]], np.float32)
NOTHING = "no pixel shows the hand"


@pytest.fixture
def shard(tmp_path):
    def write(count, failed=(), **columns):
        classes = np.zeros((SIZE, SIZE), np.uint8)
        classes[4:12, 4:12] = MaskLabel.HAND
        joints = np.tile([0.0, 0.0, 0.5], (count, 21, 1)).astype(np.float32)
        joints[:, 1] = [0.2, 0.1, 0.5]  # of the thumb, at pixel (28, 22)
        valid = np.array([k not in failed for k in range(count)])
        base = {
            "id": np.arange(count) + 100,
            "image": [encode_rgb(np.full((SIZE, SIZE, 3), 200, np.uint8))] * count,
            "mask": [encode_mask(classes)] * count,
            "joints": joints,
            "K": np.tile(K, (count, 1, 1)),
            "valid": valid,
            "flag": ["" if good else NOTHING for good in valid],
        }
        path = tmp_path / "shard.h5"
        write_store(path, base | columns, study="toy", seed=0, code="", config="")
        return path

    return write


def test_image_classes_and_joints_stand_side_by_side(shard):
    tiles, subtitle = shard_tiles(shard(2))
    assert [tile.caption for tile in tiles] == ["id 100", "id 101"] and subtitle.startswith("2 of 2 samples")
    wide = tiles[0].rgb
    assert wide.shape == (SIZE, 3 * SIZE + 2 * GAP, 3)
    plain, classes, joints = (wide[:, left : left + SIZE] for left in (k * (SIZE + GAP) for k in range(3)))
    assert (plain == 200).all()
    tinted = (classes != 200).any(2)
    assert tinted[4:12, 4:12].all() and tinted.sum() == 64
    assert tuple(classes[4, 4]) == MASK_COLOURS[MaskLabel.HAND]
    assert tuple(joints[22, 28]) == FINGER_COLOURS["thumb"]


def test_failures_are_shown_grey_with_their_flag_and_counted(shard):
    tiles, subtitle = shard_tiles(shard(60, failed=(7, 8, 30, 59)))
    captions = [tile.caption for tile in tiles]
    assert len(tiles) == SHOWN and subtitle.endswith("; 4 flagged")
    assert [caption for caption in captions if NOTHING in caption] == [f"id {k}: {NOTHING}" for k in (107, 108, 130)]
    assert captions[0] == "id 100" and captions[-1] == "id 158" and captions == sorted(captions)
    assert {tile.rgb.shape for tile in tiles} == {(SIZE, 3 * SIZE + 2 * GAP, 3)}
    assert len(shard_tiles(shard(2, failed=(0, 1)))[0]) == 2


def test_frames_of_a_grasp_sequence_say_where_they_belong(shard):
    number = np.arange(4) + 100
    tiles, _ = shard_tiles(shard(4, sequence=number // 24, frame=number % 24))
    assert [tile.caption for tile in tiles][:2] == ["id 100: sequence 4, frame 4", "id 101: sequence 4, frame 5"]
    tiles, _ = shard_tiles(shard(4, sequence=number, frame=np.zeros(4, int)))
    assert tiles[0].caption == "id 100"


def test_sheet_of_wide_tiles_has_low_rows_and_small_bytes(shard, tmp_path):
    tiles, subtitle = shard_tiles(shard(24, failed=(3,)))
    sheet = contact_sheet(tiles, "toy", subtitle, columns=3, size=240)
    assert sheet.height < 58 + 4 * 120
    save_sheet(tmp_path / "sheet.jpg", sheet)
    assert Image.open(tmp_path / "sheet.jpg").format == "JPEG"
    assert (tmp_path / "sheet.jpg").stat().st_size < 200_000


def test_long_captions_stay_in_their_column(shard):
    tiles, _ = shard_tiles(shard(2, failed=(0,)))
    page = np.asarray(contact_sheet(tiles, "toy", "", columns=2, size=60))
    assert (page[-20:, 64:70] == 255).all()  # between the first caption's column and the second's
