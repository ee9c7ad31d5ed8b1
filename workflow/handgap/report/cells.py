"""What a table is made of, whatever fills it in and whatever prints it."""

from dataclasses import dataclass

LENGTHS = ("pa_mpjpe", "pa_mpvpe", "mpjpe", "st_mpjpe")  # metrics that have a unit
PER_MM = {"mm": 1.0, "cm": 0.1}


@dataclass(frozen=True)
class Cell:
    """A number as it is printed, and as it is kept.

    Attributes:
        value: unrounded; None prints a dash.
        interval: 95 % interval, unrounded.
        style: "length" (in the table's unit), "size", "share", "difference" or "percent".
    """

    value: float | None
    style: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Column:
    """Head of a column.

    Attributes:
        group: text it stands under.
        heading: its own text.
        name: in the CSV.
        count: test images it is about, where that is not all of them.
    """

    group: str
    heading: str
    name: str
    count: int | None = None


@dataclass(frozen=True)
class Table:
    """A finished table, not yet in any format.

    Attributes:
        name: of the experiment.
        title: first sentence of the caption.
        notes: the caption's other sentences.
        columns: heads, without the label's.
        labels: one per row.
        cells: one list per row, in the order of `columns`.
        unit: of the lengths; empty if there are none.
        last_apart: the last row is a reference for the others.
    """

    name: str
    title: str
    notes: tuple[str, ...]
    columns: tuple[Column, ...]
    labels: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    unit: str
    last_apart: bool = True
