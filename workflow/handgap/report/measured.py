"""Whether the rows of a table may stand in one table: judged alike, on the same images, shown the same crop."""

from collections.abc import Mapping
from typing import Protocol

from handgap.core.errors import CorruptFileError

CROP = "; crop: "  # end of the protocol in a metrics file: what the network was shown
SEES_NOTHING = "none"


class Measured(Protocol):
    """A row of tidy metrics."""

    protocol: str
    n: int


def how_measured(rows: Mapping[str, Measured]) -> str:
    """Sentence of a caption: the protocol, and where networks were shown different crops, which.

    Args:
        rows: label -> a metric of that row, of one of its runs.

    Raises:
        CorruptFileError: alignment, root or fingertips differ, or the number of images.
    """
    (first, reference), *others = rows.items()
    how, _, crop = reference.protocol.partition(CROP)
    for label, row in others:
        if (other := row.protocol.partition(CROP)[0]) != how:
            problem = f"was judged by '{other}', and row '{first}' by '{how}'"
            raise CorruptFileError(f"row '{label}'", problem, "evaluate all runs of a table alike")
        if row.n != reference.n:
            problem = f"was tested on {row.n} images, and row '{first}' on {reference.n}"
            raise CorruptFileError(f"row '{label}'", problem, "evaluate all runs of a table on the same images")
    crops = {}
    for label, row in rows.items():
        crops.setdefault(row.protocol.partition(CROP)[2], []).append(label)
    crops.pop(SEES_NOTHING, None)
    if len(crops) < 2:
        return f"Protocol: {how}{CROP}{next(iter(crops), crop)}."
    shown = "; ".join(f"{crop or 'not stated'}: {', '.join(labels)}" for crop, labels in crops.items())
    return f"Protocol: {how}. Crops differ, and errors with them: {shown}."
