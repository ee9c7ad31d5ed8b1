"""A verb goes through people's photos: no file of others is overwritten, each photo is done once, one table is made."""

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from handgap.core.errors import CorruptFileError, HandgapError, printable
from handgap.core.progress import track
from handgap.segment.hand_table import ROWS, Row, is_ours, write_table
from handgap.segment.photo_files import READ, find_photos, photo_bytes, read_photo

OVERLAY_EDGE, OVERLAY_QUALITY = 1600, 90


class Photo(NamedTuple):
    """A photo, and its name in the table and in the files made of it: its path below the folder asked for."""

    path: Path
    name: str


@dataclass(frozen=True)
class Products:
    """What a verb writes into its folder.

    Attributes:
        verb: its name.
        table: name of its table, a key of `hand_table.ROWS`.
        files: what it makes of a photo -> where, "{}" standing for the photo's name. The first has a note in it.
        note: reads the note, which has the keys stamp and rows; None of a file that has none.
    """

    verb: str
    table: str
    files: dict[str, str]
    note: Callable[[Path], dict[str, object] | None]

    def of(self, photo: Photo, out: Path) -> list[Path]:
        """Files made of a photo."""
        return [out / pattern.format(photo.name) for pattern in self.files.values()]

    def there(self, photo: Photo, out: Path) -> list[bool]:
        """Which of them exist.

        Raises:
            CorruptFileError: the photo's name leaves no room for theirs.
        """
        try:
            return [product.exists() for product in self.of(photo, out)]
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            problem = f"its name is too long for a {next(iter(self.files))} to be named by"
            raise CorruptFileError(photo.path, problem, "shorten its name") from error

    def require_harmless(self, photos: Sequence[Photo], out: Path) -> None:
        """Make sure that nothing in `out` would be lost that the verb has not written.

        Raises:
            HandgapError: something would, or the folder cannot be looked at.
        """
        try:
            self._require_harmless(photos, out)
        except OSError as error:
            raise unwritable(out, error) from error

    def _require_harmless(self, photos: Sequence[Photo], out: Path) -> None:
        ours = is_ours(out / self.table)
        if not ours and (out / self.table).exists():
            raise self._foreign(out / self.table, "table")
        first, *others = self.files
        for photo in photos:
            try:
                is_there, *others_there = self.there(photo, out)
            except CorruptFileError:
                continue  # `run_photos` says so in its row
            noted, *others_made = self.of(photo, out)
            if is_there and self.note(noted) is None:
                raise self._foreign(noted, first)
            for product, what, exists in zip(others_made, others, others_there, strict=True):
                if exists and not is_there and not ours:
                    raise self._foreign(product, what)

    def _foreign(self, path: Path, what: str) -> HandgapError:
        problem = f"would be overwritten and is no {what} of `handgap {self.verb}`"
        return HandgapError(path, problem, "name another folder with --out, or move it away")


def unwritable(out: Path, error: OSError) -> HandgapError:
    """What to say of a folder that cannot be written."""
    return HandgapError(out, f"cannot be written ({error})", "name a folder that can")


def photos_in(folder: Path) -> list[Photo]:
    """Photos of a folder and its subfolders.

    Raises:
        HandgapError: there is no such folder, or no photo in it.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "no such folder"
        raise HandgapError(folder, problem, "name a folder of photos")
    found = find_photos(folder)
    if not found:
        raise HandgapError(folder, "no photos in it or its subfolders", f"known are {', '.join(READ)}")
    return [Photo(path, printable(path.relative_to(folder).as_posix())) for path in found]


def photos_at(paths: Sequence[Path]) -> list[Photo]:
    """Photos that are named, and those of folders that are; each once, named from the folder that holds them all.

    Raises:
        HandgapError: one of the paths is not there, or a folder without photos.
    """
    if len(paths) == 1 and paths[0].is_dir():
        return photos_in(paths[0])
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise HandgapError(path, "no such file or folder", "name photos, or folders of photos")
        found += [photo.path for photo in photos_in(path)] if path.is_dir() else [path]
    whole = {Path(os.path.abspath(path)): path for path in found}
    root = os.path.commonpath([path.parent for path in whole])
    return [Photo(path, printable(absolute.relative_to(root).as_posix())) for absolute, path in whole.items()]


@dataclass(frozen=True)
class Outcome:
    """What became of photos.

    Attributes:
        rows: of the table, in the order of the photos.
        unreadable: reasons why photos could not be read, each naming its file.
    """

    rows: list[Row]
    unreadable: list[CorruptFileError]

    def summary(self) -> str:
        """Counts, and each photo that could not be read with the reason."""
        photos = len({row.file for row in self.rows})
        hands = [row for row in self.rows if row.hand]
        shown = len({row.file for row in hands})
        marks = [row.valid for row in hands if hasattr(row, "valid")]
        valid = f", {sum(marks)} valid" if marks else ""
        lines = [
            f"photos: {photos}; hands: {len(hands)} in {shown} of them{valid}; "
            f"without a hand: {photos - shown - len(self.unreadable)}; unreadable: {len(self.unreadable)}"
        ]
        return "\n".join([*lines, *map(str, self.unreadable)])


def run_photos(
    photos: Sequence[Photo],
    out: Path,
    products: Products,
    make: Callable[[np.ndarray, Photo, str], list[Row]],
    key: str,
    label: str,
) -> Outcome:
    """Do photos one after the other and write the table; one whose files are there, of the same bytes and key, is done.

    Args:
        photos: checked with `Products.require_harmless`.
        out: made if need be.
        products: what is written.
        make: writes the files of a photo (H, W, 3) uint8, with a stamp for the note, and gives its rows.
        key: names settings, weights and code.
        label: of the progress.

    Raises:
        HandgapError: none of the photos can be read, or `out` cannot be written.
    """
    rows: list[Row] = []
    unreadable: list[CorruptFileError] = []
    table = out / products.table
    try:
        if not table.exists():
            write_table(table, [])  # by which the rest is known, also if this run is killed
        for photo in track(photos, len(photos), label):
            try:
                rows += _rows_of(photo, out, products, make, key)
            except CorruptFileError as error:
                unreadable.append(error)
                rows.append(ROWS[products.table](photo.name, reason=f"unreadable: {error.problem}"))
        write_table(table, rows)
    except OSError as error:
        raise unwritable(out, error) from error
    if len(unreadable) == len(photos):
        raise HandgapError(out, f"none of the {len(photos)} photos can be read", f"see {table}")
    return Outcome(rows, unreadable)


def _rows_of(photo: Photo, out: Path, products: Products, make: Callable, key: str) -> list[Row]:
    """Rows of one photo, whose files are made, or are there."""
    data = photo_bytes(photo.path)
    stamp = hashlib.sha256(data + key.encode()).hexdigest()
    noted = products.of(photo, out)[0]
    if all(products.there(photo, out)) and (note := products.note(noted)) and note.get("stamp") == stamp:
        return [replace(ROWS[products.table](**row), file=photo.name) for row in note["rows"]]
    return make(read_photo(photo.path, data), photo, stamp)
