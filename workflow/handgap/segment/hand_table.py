"""Tables of photos: what a row says, which folders lie beside a table, and how one of ours is told from another's."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from handgap.core.files import written_whole

TABLE, PREDICTIONS = "hands.csv", "predictions.csv"


@dataclass(frozen=True)
class Row:
    """What every row begins with: a hand in a photo, or a photo without hands.

    Attributes:
        file: path of the photo; of `handgap segment`, in its folder.
        hand: 1, 2, ... the most certain first; 0 for a photo without hands.
        side: "right" or "left", empty if the finder does not tell.
        left, top, right, bottom: the hand's box, px of the upright photo.
        finder_score: the finder's confidence.
    """

    file: str
    hand: int = 0
    side: str = ""
    left: float | None = None
    top: float | None = None
    right: float | None = None
    bottom: float | None = None
    finder_score: float | None = None


@dataclass(frozen=True)
class HandRow(Row):
    """One row of `handgap segment`'s table: a hand, or the reason why a photo has none.

    Attributes:
        hand_score, hand_arm_score, object_score: the segmenter's confidence in each mask.
        hand_px, arm_px, object_px: areas, px.
        valid: the masks are to be used.
        reason: why they are not.
        no_arm, no_object: why there is no mask of these.
    """

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


@dataclass(frozen=True)
class PoseRow(Row):
    """One row of `handgap predict`'s table: a hand, or the reason why a photo has none.

    Attributes:
        x, y, z: joint 9 in the camera frame, metres.
        reprojection_px: mean distance of the projected joints from the network's 2D joints, px of the photo.
        reason: why there is no hand.
    """

    x: float | None = None
    y: float | None = None
    z: float | None = None
    reprojection_px: float | None = None
    reason: str = ""


ROWS: dict[str, type[Row]] = {TABLE: HandRow, PREDICTIONS: PoseRow}
# beside each table, what a run has written
FOLDERS = {TABLE: ("masks", "overlays"), PREDICTIONS: ("joints", "meshes", "overlays")}
COLUMNS = [field.name for field in fields(HandRow)]


def _columns(table: Path) -> list[str]:
    return [field.name for field in fields(ROWS[table.name])]


def is_ours(table: Path) -> bool:
    """Whether a file is there and begins as `write_table` begins one of its name."""
    if not table.is_file():
        return False
    with table.open("rb") as file:
        return file.readline().rstrip() == ",".join(_columns(table)).encode()


def write_table(table: Path, rows: Sequence[Row]) -> None:
    """Write a table, whose name is a key of `ROWS`; without rows, its header."""
    with written_whole(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _columns(table))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
