"""Contact sheets: many samples on one page, with a title and a line under each picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from handgap.core.errors import CorruptFileError
from handgap.core.files import written_whole

GAP = 6
HEADER = 58
CAPTION = 20
INK, PALE, PAPER = (29, 35, 48), (90, 99, 115), (255, 255, 255)


@dataclass(frozen=True)
class Tile:
    """A picture (H, W, 3) uint8 and the line below it."""

    rgb: np.ndarray
    caption: str


def spread(count: int, shown: int) -> list[int]:
    """At most `shown` of `count` rows, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, shown)).round().astype(int)).tolist()


def contact_sheet(tiles: Sequence[Tile], title: str, subtitle: str, columns: int = 8, size: int = 224) -> Image.Image:
    """Lay tiles out row by row.

    Args:
        tiles: at least one; each is scaled to fit into size x size, the rows are as high as the highest.
        title: first line, large.
        subtitle: second line.
        columns: tiles in a row.
        size: px.

    Raises:
        CorruptFileError: there is nothing to show.
    """
    if not tiles:
        raise CorruptFileError(title, "no valid sample to show", "see the column 'flag' of its stores: handgap inspect")
    pictures = [Image.fromarray(tile.rgb) for tile in tiles]
    scales = [size / max(picture.size) for picture in pictures]
    pictures = [
        picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.LANCZOS)
        for picture, scale in zip(pictures, scales, strict=True)
    ]
    height = max(picture.height for picture in pictures)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    width = max(columns * (size + GAP) + GAP, 640)
    sheet = Image.new("RGB", (width, HEADER + rows * (height + CAPTION + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP + 2, 6), title, INK, ImageFont.load_default(24))
    draw.text((GAP + 2, 36), subtitle, PALE, ImageFont.load_default(14))
    small = ImageFont.load_default(13)
    for index, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        row, column = divmod(index, columns)
        left, top = GAP + column * (size + GAP), HEADER + row * (height + CAPTION + GAP)
        sheet.paste(picture, (left + (size - picture.width) // 2, top + (height - picture.height) // 2))
        draw.text((left + 2, top + height + 2), _fitted(tile.caption, size - 4, small), PALE, small)
    return sheet


def _fitted(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """The text, its end left out where it is wider than `width` px."""
    if font.getlength(text) <= width:
        return text
    return next(cut for n in range(len(text), -1, -1) if font.getlength(cut := f"{text[:n]}…") <= width)


def save_sheet(path: Path, sheet: Image.Image) -> None:
    """Write a sheet, whole or not at all: as PNG, or as a JPEG of a fifth of its size where the file is called .jpg."""
    options = {"format": "JPEG", "quality": 80} if path.suffix == ".jpg" else {"format": "PNG"}
    with written_whole(path) as temporary:
        sheet.save(temporary, optimize=True, **options)
