"""A folder of people's own photos: masks, overlays and one table, made once and kept."""

import errno
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from handgap.core.errors import CorruptFileError, HandgapError, printable
from handgap.core.files import written_whole
from handgap.core.images import encode_jpeg
from handgap.core.progress import track
from handgap.segment.hand_table import TABLE, HandRow, is_ours, write_table
from handgap.segment.photo_files import MASKS, OVERLAYS, READ, find_photos, photo_bytes, read_photo
from handgap.segment.views import shrunk

OVERLAY_EDGE, OVERLAY_QUALITY = 1600, 90
STAMP = "handgap"  # text chunk of a mask: what it was made from, and its rows of the table


@dataclass(frozen=True)
class Outcome:
    """What became of a folder.

    Attributes:
        rows: of the table, in the order of the photos.
        unreadable: reasons why photos could not be read, each naming its file.
    """

    rows: list[HandRow]
    unreadable: list[CorruptFileError]

    def summary(self) -> str:
        """Counts, and each photo that could not be read with the reason."""
        photos = len({row.file for row in self.rows})
        hands = [row for row in self.rows if row.hand]
        shown = len({row.file for row in hands})
        valid = sum(row.valid for row in hands)
        lines = [
            f"photos: {photos}; hands: {len(hands)} in {shown} of them, {valid} valid; "
            f"without a hand: {photos - shown - len(self.unreadable)}; unreadable: {len(self.unreadable)}"
        ]
        return "\n".join([*lines, *map(str, self.unreadable)])


def photos_of(folder: Path, out: Path) -> list[Path]:
    """Photos of a folder and its subfolders that can be segmented into `out` without harm to what is there.

    Args:
        folder: of photos.
        out: need not be there.

    Raises:
        HandgapError: there is no such folder, there are no photos, or files in `out` that are not ours would be lost.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "no such folder"
        raise HandgapError(folder, problem, "name a folder of photos")
    photos = find_photos(folder)
    if not photos:
        raise HandgapError(folder, "no photos in it or its subfolders", f"known are {', '.join(READ)}")
    try:
        _require_harmless(folder, photos, out)
    except OSError as error:
        raise _unwritable(out, error) from error
    return photos


def _require_harmless(folder: Path, photos: Sequence[Path], out: Path) -> None:
    cure = "name another folder with --out, or move it away"
    ours = is_ours(out / TABLE)
    if not ours and (out / TABLE).exists():
        raise HandgapError(out / TABLE, "would be overwritten and is no table of `handgap segment`", cure)
    for photo in photos:
        mask, overlay = _products(out, _name(photo, folder))
        try:
            there = _there(photo, mask, overlay)
        except CorruptFileError:
            continue  # `segment_folder` says so in its row
        if there[0] and _note(mask) is None:
            raise HandgapError(mask, "would be overwritten and is no mask of `handgap segment`", cure)
        if there == [False, True] and not ours:
            raise HandgapError(overlay, "would be overwritten and is no overlay of `handgap segment`", cure)


def _unwritable(out: Path, error: OSError) -> HandgapError:
    return HandgapError(out, f"cannot be written ({error})", "name a folder that can")


def _name(photo: Path, folder: Path) -> str:
    """Name of a photo in the table, and of its mask and overlay."""
    return printable(photo.relative_to(folder).as_posix())


def _products(out: Path, name: str) -> tuple[Path, Path]:
    """Mask and overlay of a photo."""
    return out / MASKS / f"{name}.png", out / OVERLAYS / f"{name}.jpg"


def _there(photo: Path, *products: Path) -> list[bool]:
    """Which of a photo's products exist.

    Raises:
        CorruptFileError: the photo's name leaves no room for theirs.
    """
    try:
        return [product.exists() for product in products]
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise CorruptFileError(photo, "its name is too long for a mask to be named by", "shorten its name") from error


def segment_folder(
    folder: Path,
    photos: Sequence[Path],
    out: Path,
    segment: Callable[[np.ndarray, str], tuple[np.ndarray, list[HandRow]]],
    key: str,
    draw: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Outcome:
    """Segment photos of a folder; a photo whose mask is there, of the same bytes and key, is not done again.

    Writes `out/masks/FILE.png` (labels, the upright photo's size), `out/overlays/FILE.jpg` and `out/hands.csv`.

    Args:
        folder: of photos.
        photos: from `photos_of`.
        out: made if need be.
        segment: a `PhotoSegmenter`.
        key: names settings, weights and code.
        draw: paints labels (H, W) over an image (H, W, 3) uint8.

    Raises:
        HandgapError: none of the photos can be read, or `out` cannot be written.
    """
    rows, unreadable = [], []
    try:
        if not (out / TABLE).exists():
            write_table(out / TABLE, [])  # by which masks and overlays are known, also if this run is killed
        for photo in track(photos, len(photos), "segmenting"):
            name = _name(photo, folder)
            try:
                rows += _segment_file(photo, name, out, segment, key, draw)
            except CorruptFileError as error:
                unreadable.append(error)
                rows.append(HandRow(name, reason=f"unreadable: {error.problem}"))
        write_table(out / TABLE, rows)
    except OSError as error:
        raise _unwritable(out, error) from error
    if len(unreadable) == len(photos):
        raise HandgapError(folder, f"none of its {len(photos)} photos can be read", f"see {out / TABLE}")
    return Outcome(rows, unreadable)


def _segment_file(photo: Path, name: str, out: Path, segment: Callable, key: str, draw: Callable) -> list[HandRow]:
    """Rows of one photo, whose mask and overlay are written, or are there."""
    data = photo_bytes(photo)
    stamp = hashlib.sha256(data + key.encode()).hexdigest()
    mask, overlay = _products(out, name)
    if all(_there(photo, mask, overlay)) and (note := _note(mask)) and note.get("stamp") == stamp:
        return [replace(HandRow(**row), file=name) for row in note["rows"]]
    rgb = read_photo(photo, data)
    labels, rows = segment(rgb, name)
    small, _ = shrunk(rgb, OVERLAY_EDGE)
    shown = cv2.resize(labels, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    with written_whole(overlay) as temporary:
        temporary.write_bytes(encode_jpeg(draw(small, shown), OVERLAY_QUALITY))
    note = PngInfo()
    note.add_text(STAMP, json.dumps({"stamp": stamp, "rows": [asdict(row) for row in rows]}))
    with written_whole(mask) as temporary:
        Image.fromarray(labels).save(temporary, format="PNG", pnginfo=note)
    return rows


def _note(mask: Path) -> dict[str, object] | None:
    """What a mask of ours says of itself; None of any other file."""
    try:
        with Image.open(mask) as image:
            note = json.loads(image.info[STAMP])
    except (OSError, ValueError, SyntaxError, LookupError):
        return None
    return note if isinstance(note, dict) else None
