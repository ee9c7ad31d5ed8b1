"""A folder of people's own photos: masks, overlays and one table, made once and kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from handgap.core.files import written_whole
from handgap.core.images import encode_jpeg
from handgap.segment.hand_table import TABLE, HandRow
from handgap.segment.photo_run import (
    OVERLAY_EDGE,
    OVERLAY_QUALITY,
    Outcome,
    Photo,
    Products,
    photos_in,
    run_photos,
)
from handgap.segment.views import shrunk

STAMP = "handgap"  # text chunk of a mask: what it was made from, and its rows of the table


def _note(mask: Path) -> dict[str, object] | None:
    """What a mask of ours says of itself; None of any other file."""
    try:
        with Image.open(mask) as image:
            note = json.loads(image.info[STAMP])
    except (OSError, ValueError, SyntaxError, LookupError):
        return None
    return note if isinstance(note, dict) else None


PRODUCTS = Products("segment", TABLE, {"mask": "masks/{}.png", "overlay": "overlays/{}.jpg"}, _note)


def photos_of(folder: Path, out: Path) -> list[Photo]:
    """Photos of a folder and its subfolders that can be segmented into `out` without harm to what is there.

    Args:
        folder: of photos.
        out: need not be there.

    Raises:
        HandgapError: there is no such folder, there are no photos, or files in `out` that are not ours would be lost.
    """
    photos = photos_in(folder)
    PRODUCTS.require_harmless(photos, out)
    return photos


def segment_folder(
    photos: Sequence[Photo],
    out: Path,
    segment: Callable[[np.ndarray, str], tuple[np.ndarray, list[HandRow]]],
    key: str,
    draw: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Outcome:
    """Segment photos of a folder; a photo whose mask is there, of the same bytes and key, is not done again.

    Writes `out/masks/FILE.png` (labels, the upright photo's size), `out/overlays/FILE.jpg` and `out/hands.csv`.

    Args:
        photos: from `photos_of`.
        out: made if need be.
        segment: a `PhotoSegmenter`.
        key: names settings, weights and code.
        draw: paints labels (H, W) over an image (H, W, 3) uint8.

    Raises:
        HandgapError: none of the photos can be read, or `out` cannot be written.
    """

    def make(rgb: np.ndarray, photo: Photo, stamp: str) -> list[HandRow]:
        labels, rows = segment(rgb, photo.name)
        mask, overlay = PRODUCTS.of(photo, out)
        small, _ = shrunk(rgb, OVERLAY_EDGE)
        shown = cv2.resize(labels, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        with written_whole(overlay) as temporary:
            temporary.write_bytes(encode_jpeg(draw(small, shown), OVERLAY_QUALITY))
        note = PngInfo()
        note.add_text(STAMP, json.dumps({"stamp": stamp, "rows": [asdict(row) for row in rows]}))
        with written_whole(mask) as temporary:
            Image.fromarray(labels).save(temporary, format="PNG", pnginfo=note)
        return rows

    return run_photos(photos, out, PRODUCTS, make, key, "segmenting")
