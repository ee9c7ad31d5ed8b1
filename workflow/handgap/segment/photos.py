"""People's own photos: every hand of every photo of a folder, as masks, overlays and one table."""

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torchvision.ops import nms

from handgap.core.config.segment import Segment
from handgap.core.conventions import MaskLabel
from handgap.core.errors import CorruptFileError, HandgapError
from handgap.core.files import written_whole
from handgap.core.images import encode_jpeg
from handgap.core.progress import track
from handgap.segment.boxes import prior_from_landmarks
from handgap.segment.detect import HAND, HELD, WHOLE, Finder, Sighting, sighting_of
from handgap.segment.masks import HandSegmenter, Segmented
from handgap.segment.photo_files import READ, find_photos, photo_bytes, read_photo
from handgap.segment.sam import Segmenter

MAX_HANDS = 10  # of a photo, by the palm detector
FINDER_EDGE = 1280  # px; photos are shrunk to it for the finder, which shrinks them further
WINDOW_EDGE = 448  # px; a hand's window is shrunk to it for the segmenter, and its masks grow back
AROUND = 0.15  # of the window's edge, left around hand and arm
SAME = 0.6  # IoU of two hand boxes that are one hand
OVERLAY_EDGE, OVERLAY_QUALITY = 1600, 90
STAMP = "handgap"  # text chunk of a mask: what it was made from, and its rows of the table
RANK = (MaskLabel.BACKGROUND, MaskLabel.ARM, MaskLabel.HAND, MaskLabel.OBJECT)  # the last lies on top
ORDER = np.argsort(RANK)  # place of each label in it


@dataclass(frozen=True)
class HandRow:
    """One row of the table: a hand, or the reason why a photo has none.

    Attributes:
        file: path in the folder.
        hand: 1, 2, ... the most certain first; 0 for a photo without hands.
        side: "right" or "left", empty if the finder does not tell.
        left, top, right, bottom: the hand's box, px of the upright photo.
        finder_score, hand_score, hand_arm_score, object_score: confidence of the finder, and of the segmenter in each
            mask.
        hand_px, arm_px, object_px: areas, px.
        valid: the masks are to be used.
        reason: why they are not.
        no_arm, no_object: why there is no mask of these.
    """

    file: str
    hand: int = 0
    side: str = ""
    left: float | None = None
    top: float | None = None
    right: float | None = None
    bottom: float | None = None
    finder_score: float | None = None
    hand_score: float | None = None
    hand_arm_score: float | None = None
    object_score: float | None = None
    hand_px: int = 0
    arm_px: int = 0
    object_px: int = 0
    valid: bool = False
    reason: str = ""
    no_arm: str = ""
    no_object: str = ""


class PhotoSegmenter:
    """Labels of photos of any size, whose hands are looked for.

    A hand is segmented in a window around it and its forearm, so that its size in the photo does not matter.

    Args:
        finder: of hands.
        segmenter: answers the prompts.
        settings: the segment stage's.
    """

    def __init__(self, finder: Finder, segmenter: Segmenter, settings: Segment):
        self._finder, self._segmenter, self._margin = finder, segmenter, settings.box_margin
        self._hands = HandSegmenter(segmenter, settings)

    def __call__(self, rgb: np.ndarray, file: str) -> tuple[np.ndarray, list[HandRow]]:
        """Labels (H, W) uint8 `MaskLabel` of all valid hands of a photo (H, W, 3) uint8, and the rows of its hands."""
        labels, rows = np.zeros(rgb.shape[:2], np.uint8), []
        small, scale = shrunk(rgb, FINDER_EDGE)
        for sighting in distinct(self._finder(0, small)):
            boxes = sighting.boxes / np.tile(scale, 2)
            left, top, right, bottom = window(boxes, rgb.shape[:2])
            view, zoom = shrunk(rgb[top:bottom, left:right], WINDOW_EDGE)
            seen = seen_in(sighting, zoom / scale, zoom * np.array([left, top]), view.shape[:2], self._margin)
            found = self._hands(self._segmenter.embed(view[None])[0], view.shape[:2], seen)
            grown = enlarged(found.labels, (bottom - top, right - left))
            rows.append(_row(file, len(rows) + 1, sighting, boxes[HAND], found, grown))
            if not found.flag:
                part = labels[top:bottom, left:right]
                part[:] = np.where(np.take(ORDER, grown) > np.take(ORDER, part), grown, part)
        return labels, rows or [HandRow(file, reason="no hand found")]


def shrunk(rgb: np.ndarray, edge: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) with its longer edge at most `edge` px, and its scale (2,) along x and y."""
    height, width = rgb.shape[:2]
    factor = edge / max(height, width)
    if factor >= 1.0:
        return np.ascontiguousarray(rgb), np.ones(2)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.array(size) / (width, height)


def enlarged(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels grown to `size` (H, W): at each pixel the class with the greatest share around it."""
    shares = [cv2.resize(255 * (labels == label).astype(np.uint8), size[::-1]) for label in RANK]
    return np.array(RANK, np.uint8)[np.argmax(shares, axis=0)]


def distinct(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Sightings with a hand in the picture, the most certain first, none of the same hand twice."""
    seen = [sighting for sighting in sightings if not np.isnan(sighting.boxes[HAND]).any()]
    if not seen:
        return []
    boxes, scores = (np.stack([getattr(s, name)[HAND] for s in seen]) for name in ("boxes", "scores"))
    return [seen[index] for index in nms(torch.from_numpy(boxes), torch.from_numpy(scores), SAME)]


def window(boxes: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom px of a square around boxes (3, 4) and some more, as far as the image (H, W) reaches."""
    low, high = np.nanmin(boxes[:, :2], 0), np.nanmax(boxes[:, 2:], 0)
    half = (0.5 + AROUND) * (high - low).max()
    centre = (low + high) / 2.0
    limit = np.array(size[::-1])
    left, top = np.clip(np.floor(centre - half), 0, limit - 1).astype(int)
    right, bottom = np.clip(np.ceil(centre + half), (left + 1, top + 1), limit).astype(int)
    return int(left), int(top), int(right), int(bottom)


def seen_in(
    sighting: Sighting, factor: np.ndarray, shift: np.ndarray, size: tuple[int, int], margin: float
) -> Sighting:
    """A sighting in another view of its image, in which a point p lies at `factor * p - shift`, both (2,) px.

    Args:
        sighting: from landmarks or from boxes alone.
        factor, shift: of the view.
        size: (H, W) of the view.
        margin: see `sighting_of`.
    """
    if sighting.prior:
        prior = prior_from_landmarks(sighting.prior.joints * factor - shift, *size)
        return sighting_of(prior, margin, float(sighting.scores[HAND]), sighting.side)
    limit = np.tile(size[::-1], 2)
    return replace(sighting, boxes=np.clip(sighting.boxes * np.tile(factor, 2) - np.tile(shift, 2), 0, limit))


def _rounded(values: np.ndarray, digits: int) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), digits) for value in values]


def _row(file: str, number: int, sighting: Sighting, box: np.ndarray, found: Segmented, labels: np.ndarray) -> HandRow:
    side = sighting.side.name.lower() if sighting.side is not None else ""
    areas = [int((labels == label).sum()) for label in (MaskLabel.HAND, MaskLabel.ARM, MaskLabel.OBJECT)]
    scores = _rounded(np.array([sighting.scores[HAND], *found.scores]), 4)
    reasons = found.flag, found.reasons[WHOLE], found.reasons[HELD]
    return HandRow(file, number, side, *_rounded(box, 1), *scores, *areas, not found.flag, *reasons)


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


def segment_folder(
    folder: Path,
    out: Path,
    segment: Callable[[np.ndarray, str], tuple[np.ndarray, list[HandRow]]],
    key: str,
    draw: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Outcome:
    """Segment every photo of a folder; a photo whose mask is there, of the same bytes and key, is not done again.

    Writes `out/masks/FILE.png` (labels, the upright photo's size), `out/overlays/FILE.jpg` and `out/hands.csv`.

    Args:
        folder: of photos.
        out: made if need be.
        segment: a `PhotoSegmenter`.
        key: names settings, weights and code.
        draw: paints labels (H, W) over an image (H, W, 3) uint8.

    Raises:
        HandgapError: there are no photos, none can be read, or `out` cannot be written.
    """
    if not folder.is_dir():
        raise HandgapError(folder, "no such folder", "name a folder of photos")
    photos = find_photos(folder, out)
    if not photos:
        raise HandgapError(folder, "no photos in it or its subfolders", f"known are {', '.join(READ)}")
    rows, unreadable = [], []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for photo in track(photos, len(photos), "segmenting"):
            name = photo.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode()
            try:
                rows += _segment_file(photo, name, out, segment, key, draw)
            except CorruptFileError as error:
                unreadable.append(error)
                rows.append(HandRow(name, reason=f"unreadable: {error.problem}"))
        _write_table(out / "hands.csv", rows)
    except OSError as error:
        raise HandgapError(out, f"cannot be written ({error})", "name a folder that can") from error
    if len(unreadable) == len(photos):
        raise HandgapError(folder, f"none of its {len(photos)} photos can be read", f"see {out / 'hands.csv'}")
    return Outcome(rows, unreadable)


def _segment_file(photo: Path, name: str, out: Path, segment: Callable, key: str, draw: Callable) -> list[HandRow]:
    """Rows of one photo, whose mask and overlay are written, or are there."""
    data = photo_bytes(photo)
    stamp = hashlib.sha256(data + key.encode()).hexdigest()
    mask, overlay = out / "masks" / f"{name}.png", out / "overlays" / f"{name}.jpg"
    if overlay.exists() and (rows := _finished(mask, stamp)):
        return [replace(row, file=name) for row in rows]
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


def _finished(mask: Path, stamp: str) -> list[HandRow]:
    """Rows of a mask that was made from the same things; none if it was not, or is no such mask."""
    if not mask.exists():
        return []
    try:
        with Image.open(mask) as image:
            note = json.loads(image.info.get(STAMP, "{}"))
    except (OSError, ValueError):
        return []
    return [HandRow(**row) for row in note["rows"]] if note.get("stamp") == stamp else []


def _write_table(path: Path, rows: Sequence[HandRow]) -> None:
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(HandRow)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
