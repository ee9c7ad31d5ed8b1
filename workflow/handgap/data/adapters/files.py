"""Files of datasets: layouts that are checked, pictures as bytes, labels with their shapes checked."""

import io
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from handgap.core.errors import CorruptFileError, HandgapError
from handgap.core.images import DAMAGED
from handgap.core.json_stream import walk_json

LISTED = 12  # names found that a message lists
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}  # first bytes of JPEG and PNG, and what must be near the end
_TAIL = 64
GREY = 118  # of stand-in pictures: middle grey in sRGB


class Need(NamedTuple):
    """Something that must be in a dataset's folder: a file, or a folder if its path ends in a slash."""

    path: str
    download: str  # what it comes with


def missing_of(root: Path, needs: Sequence[Need]) -> list[Need]:
    """What is not there."""
    return [
        need
        for need in needs
        if not ((root / need.path).is_dir() if need.path.endswith("/") else (root / need.path).is_file())
    ]


def check_layout(root: Path, needs: Sequence[Need], what: str, source: str) -> None:
    """See whether a folder has what a dataset needs.

    Raises:
        HandgapError: what was expected where, what was found, and how to get it.
    """
    if not root.is_dir():
        raise HandgapError(root, f"no such folder, expected: {what}", f"give the folder of the dataset ({source})")
    missing = missing_of(root, needs)
    if not missing:
        return
    found = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    listed = ", ".join(found[:LISTED]) + (f" and {len(found) - LISTED} more" if len(found) > LISTED else "")
    problem = f"not {what}: no {', '.join(need.path for need in missing)}; found {listed or 'nothing'}"
    inner = [path for path in root.iterdir() if path.is_dir() and not missing_of(path, needs)]
    if inner:
        raise HandgapError(root, problem, f"give {inner[0]}, which has them")
    downloads = dict.fromkeys(need.download for need in missing)
    raise HandgapError(root, problem, f"unpack {', '.join(downloads)} there ({source})")


def read_picture(path: Path) -> tuple[np.ndarray | None, str]:
    """Bytes of a JPEG or PNG as they are, or None and what is wrong: absent, empty, no picture, cut off."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return None, f"{path}: no such picture" if isinstance(error, FileNotFoundError) else f"{path}: {error.strerror}"
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.getexif()
    except (*DAMAGED, Image.DecompressionBombError):
        return None, f"{path}: no picture ({len(data)} bytes)"
    end = _ENDS.get(data[:2])
    if end and end not in data[-_TAIL:]:
        return None, f"{path}: cut off after {len(data)} bytes"
    return np.frombuffer(data, np.uint8), ""


def read_pixels(path: Path) -> tuple[np.ndarray | None, str]:
    """Pixels of a picture with labels, as stored, or None and what is wrong."""
    try:
        with Image.open(path) as image:
            return np.asarray(image), ""
    except FileNotFoundError:
        return None, f"{path}: no such picture"
    except (*DAMAGED, Image.DecompressionBombError) as error:
        return None, f"{path}: cannot be decoded ({error})"


def stand_in(size: tuple[int, int]) -> np.ndarray:
    """Bytes of a grey PNG of (width, height) px, for a picture that cannot be read."""
    stream = io.BytesIO()
    Image.new("RGB", size, (GREY,) * 3).save(stream, "PNG", compress_level=9)
    return np.frombuffer(stream.getvalue(), np.uint8)


def read_lines(path: Path, cure: str) -> list[str]:
    """Lines of a list of samples, without empty ones.

    Raises:
        CorruptFileError: it is not text, or empty.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise CorruptFileError(path, f"not a text file ({error})", cure) from error
    if not lines:
        raise CorruptFileError(path, "no sample in it", cure)
    return lines


def read_frames(path: Path, cure: str) -> list[str]:
    """Lines `sequence/frame` of a list of samples.

    Raises:
        CorruptFileError: a line is something else, or there is none.
    """
    names = read_lines(path, cure)
    for name in names:
        if name.count("/") != 1:
            raise CorruptFileError(path, f"'{name}' is not sequence/frame", cure)
    return names


def shaped(value: object, shape: tuple[int, ...], path: Path, entry: object, cure: str) -> np.ndarray:
    """Numbers as float32 of a shape.

    Raises:
        CorruptFileError: they have another one, or are no numbers.
    """
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise CorruptFileError(path, f"entry {entry} is no array of numbers ({error})", cure) from error
    if array.shape != shape:
        raise CorruptFileError(path, f"entry {entry} has shape {array.shape}, expected {shape}", cure)
    return array


def json_columns(
    files: dict[str, tuple[Path, tuple[int, ...]]], piece: int, cure: str
) -> Iterator[dict[str, np.ndarray]]:
    """Parallel JSON lists, read side by side in pieces.

    Args:
        files: name -> file with a list, and the shape of each of its entries.
        piece: entries at once.
        cure: what to do about a faulty file.

    Yields:
        name -> (at most `piece`, *shape) float32.

    Raises:
        MissingAssetError, CorruptFileError: a file is absent, truncated, has an entry of another shape, or the lists
            differ in length.
    """
    streams = [walk_json(path, 1, cure) for path, _ in files.values()]
    rows: list[list[np.ndarray]] = []
    for number, entries in enumerate(zip_longest(*streams)):
        row = []
        for entry, (path, shape) in zip(entries, files.values(), strict=True):
            if entry is None:
                raise CorruptFileError(path, f"has {number} entries, fewer than the files beside it", cure)
            row.append(shaped(entry[-1], shape, path, number, cure))
        rows.append(row)
        if len(rows) == piece:
            yield {name: np.stack(column) for name, column in zip(files, zip(*rows, strict=True), strict=True)}
            rows = []
    if rows:
        yield {name: np.stack(column) for name, column in zip(files, zip(*rows, strict=True), strict=True)}
