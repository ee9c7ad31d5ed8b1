"""The curves of a training run as a file."""

import csv
from pathlib import Path

from handgap.core.files import written_whole


def write_curves(path: Path, curves: list[dict[str, float]]) -> None:
    """Write one row per epoch as CSV."""
    names = dict.fromkeys(name for row in curves for name in row)  # not every epoch need have a validation
    with written_whole(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in curves)
