"""The sheet of one rendered shard: image, classes and joints of some samples, and whatever failed."""

from pathlib import Path

import numpy as np

from handgap.core.geometry import project
from handgap.core.images import decode_mask, decode_rgb
from handgap.core.store import Store
from handgap.report.draw import draw_mask, draw_skeleton
from handgap.report.sheets import Tile, spread

SHOWN = 12
FLAGGED = 3  # of those shown, at most
GAP = 4  # px


def shard_tiles(path: Path) -> tuple[list[Tile], str]:
    """Samples of a shard, and the sheet's second line.

    Args:
        path: shard of the render stage, either side.

    Returns:
        For at most `SHOWN` samples spread evenly over the shard, the image, the image with its classes and the image
        with its joints side by side, the sample's id below. Samples that failed are among them, grey, with their flag.
    """
    with Store(path) as store:
        ids, valid, flags = (store.column(name) for name in ("id", "valid", "flag"))
        names = [f"id {number}" for number in ids]
        if "sequence" in store and (store.column("sequence") != ids).any():
            moments = zip(names, store.column("sequence"), store.column("frame"), strict=True)
            names = [f"{name}: sequence {sequence}, frame {frame}" for name, sequence, frame in moments]
        failed, good = np.flatnonzero(~valid), np.flatnonzero(valid)
        rows = failed[:FLAGGED].tolist()
        if len(good):
            rows += good[spread(len(good), SHOWN - len(rows))].tolist()
        tiles = [_tile(store, row, names[row], str(flags[row])) for row in sorted(rows)]
    subtitle = f"{len(tiles)} of {len(ids)} samples: image, classes (hand green, arm blue, object orange), joints"
    return tiles, f"{subtitle}; {len(failed)} flagged" if len(failed) else subtitle


def _tile(store: Store, row: int, caption: str, flag: str) -> Tile:
    origin = f"{store.path}[{row}]"
    image = decode_rgb(store.column("image", row), origin)
    drawn = [image] * 3  # grey
    if not flag:
        classes = decode_mask(store.column("mask", row), origin)
        joints = project(store.column("joints", row), store.column("K", row))
        drawn = [image, draw_mask(image, classes), draw_skeleton(image, joints)]
    gap = np.full((len(image), GAP, 3), 255, np.uint8)
    first, *others = drawn
    wide = np.concatenate([first, *(part for picture in others for part in (gap, picture))], 1)
    return Tile(wide, f"{caption}: {flag}" if flag else caption)
