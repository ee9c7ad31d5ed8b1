import numpy as np
from handgap.core.conventions import MaskLabel
from handgap.core.images import encode_mask, encode_rgb
from handgap.core.store import write_store
from handgap.report.gallery import failure_tiles

COUNT, SIZE = 6, 32


def shard(path, masks, **columns):
    ids = {"id": np.arange(COUNT) + 100, "mask": [encode_mask(mask) for mask in masks]}
    write_store(path, ids | columns, study="t", seed=0, code="c", config="k")
    return path


def test_failures_are_the_invalid_the_worst_and_the_invented(tmp_path):
    truth = np.zeros((COUNT, SIZE, SIZE), np.uint8)
    truth[:, 4:20, 4:20], truth[:, 20:30, 4:20] = MaskLabel.HAND, MaskLabel.ARM
    truth[3, 22:28, 22:28] = MaskLabel.OBJECT
    found = truth.copy()
    found[1] = 0
    found[2, 4:12] = 0  # half of the hand
    found[4, 22:28, 22:28] = MaskLabel.OBJECT  # there is none
    image = [encode_rgb(np.full((SIZE, SIZE, 3), 90, np.uint8))] * COUNT
    real = shard(tmp_path / "real.h5", truth, image=image)
    flags = ["", "not found", "", "", "", ""]
    masks = shard(tmp_path / "masks.h5", found, flag=flags, valid=np.array([not flag for flag in flags]))
    tiles = failure_tiles([real], [masks], shown=1)
    exact, answers = [tile.caption for tile in tiles[::2]], [tile.caption for tile in tiles[1::2]]
    assert answers == ["not found", "hand: IoU 0.50", "arm: IoU 1.00", "object: IoU 1.00", "no object there"]
    assert exact == ["id 101: exact", "id 102: exact", "id 100: exact", "id 103: exact", "id 104: exact"]
    assert (tiles[0].rgb != tiles[1].rgb).any()
