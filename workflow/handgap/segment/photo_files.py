"""Folders of photos as people have them: which files are read, how, and why one cannot be."""

import errno
import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from handgap.core.errors import CorruptFileError
from handgap.core.images import DAMAGED
from handgap.segment.hand_table import FOLDERS, is_ours

READ = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
UNREADABLE = (".heic", ".heif", ".avif")  # phones' own formats: named in the report rather than passed over
DEEP = ("I;16", "I;16L", "I;16B", "I;16N")  # 16-bit grey
UNBOUNDED = ("I", "F")  # 32-bit pixels without a known range
OPENING = {  # what to do about a file that cannot be opened
    errno.ENOENT: "if it is a link, mend it or take it away: what it names is gone",
    errno.EACCES: "see who may read it",
    errno.EPERM: "see who may read it",
    errno.ENAMETOOLONG: "shorten its name",
}


def find_photos(folder: Path) -> list[Path]:
    """Photos of a folder and its subfolders by their suffix, sorted, without hidden ones and what a run has written."""
    found, suffixes = [], (*READ, *UNREADABLE)
    for root, folders, files in os.walk(folder):
        written = {name for table, names in FOLDERS.items() if is_ours(Path(root, table)) for name in names}
        folders[:] = [name for name in folders if name[0] != "." and name not in written]
        found += [Path(root, name) for name in files if name[0] != "." and name.lower().endswith(suffixes)]
    return sorted(found)


def photo_bytes(path: Path) -> bytes:
    """Content of a photo.

    Raises:
        CorruptFileError: it cannot be opened.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        cure = OPENING.get(error.errno, "mend it, or take it away")
        raise CorruptFileError(path, f"cannot be opened ({error.strerror})", cure) from error


def read_photo(path: Path, data: bytes) -> np.ndarray:
    """(H, W, 3) uint8 of any photo, the way up it is shown.

    EXIF rotation is applied, transparency laid over white, an animation's first frame taken, 16-bit grey scaled to 8.

    Args:
        path: the photo, for its suffix and messages.
        data: its bytes.

    Raises:
        CorruptFileError: no image, a truncated or too large one, or pixels without a known range.
    """
    if path.suffix.lower() in UNREADABLE:
        raise CorruptFileError(path, f"{path.suffix} photos cannot be read", "export it as JPEG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of sizes below the limit that is an error
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
            return _rgb(upright, path)
    except UnidentifiedImageError as error:
        raise CorruptFileError(path, "no image of a known kind", "take it away") from error
    except Image.DecompressionBombError as error:
        raise CorruptFileError(path, f"too large ({error})", "scale it down") from error
    except DAMAGED as error:
        raise CorruptFileError(path, f"not a readable image ({error})", "get it anew, or take it away") from error


def _rgb(image: Image.Image, path: Path) -> np.ndarray:
    if image.mode in UNBOUNDED:
        raise CorruptFileError(path, f"32-bit pixels ({image.mode})", "save it with 8 or 16 bits a channel")
    if image.mode in DEEP:
        grey = np.rint(np.asarray(image) / 257.0).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))
