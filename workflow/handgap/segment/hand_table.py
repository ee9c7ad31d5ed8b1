"""The table of a folder of photos, `hands.csv`: what a row says, and how a table of ours is told from another's."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from handgap.core.files import written_whole

TABLE = "hands.csv"


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


COLUMNS = [field.name for field in fields(HandRow)]


def is_ours(table: Path) -> bool:
    """Whether a file is there and begins as `write_table` begins it."""
    if not table.is_file():
        return False
    with table.open("rb") as file:
        return file.readline().rstrip() == ",".join(COLUMNS).encode()


def write_table(table: Path, rows: Sequence[HandRow]) -> None:
    """Write a table; without rows, its header."""
    with written_whole(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
