"""A look at a dataset: how many rows there are, and whether the labels of some of them make sense."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handgap.core.conventions import MIDDLE_MCP, WRIST, Side
from handgap.core.errors import HandgapError
from handgap.core.geometry import project
from handgap.core.images import decode_rgb
from handgap.core.provenance import settings_hash
from handgap.data.adapters.adapter import Adapter
from handgap.data.adapters.checks import finger_bend
from handgap.data.adapters.files import missing_of
from handgap.data.adapters.index import Index
from handgap.data.adapters.registry import adapter_code
from handgap.ingest.complete import RESIDUAL, Hands
from handgap.ingest.shard import flagged_columns


@dataclass(frozen=True)
class Look:
    """What was seen of a split.

    Attributes:
        split: its name.
        rows: how many it has.
        columns: the rows looked at, as in a shard.
        left: share of left hands among the valid ones.
        palm_mm: least, median and greatest length from wrist to middle knuckle.
        inside: share of joints that project into their picture.
        bend_deg: mean bend of the fingers, positive towards the palm.
        residual_mm: median and greatest distance between labels and the hand model posed with the parameters; nan
            without a model or parameters.
        flags: reasons of rows that are not valid, with their numbers.
    """

    split: str
    rows: int
    columns: dict[str, object]
    left: float
    palm_mm: tuple[float, float, float]
    inside: float
    bend_deg: float
    residual_mm: tuple[float, float]
    flags: Counter


def look_at(adapter: Adapter, split: str, folder: Path, hands: Hands, shown: int) -> Look:
    """Look at rows spread evenly over a split.

    Args:
        adapter: the dataset.
        split: one of its splits.
        folder: where the split's index is kept, and made if it is not there.
        hands: annotation hands; none to look at the labels alone.
        shown: at most so many rows.

    Raises:
        HandgapError: the folder is not this dataset, or a file of labels is faulty.
    """
    adapter.check(split)
    path = folder / f"{_fingerprint(adapter, split)}.h5"
    if not path.is_file():
        adapter.make_index(split, path)
    with Index(path) as index:
        rows = int(index.attrs["pictures"]) * len(adapter.hands)
        ids = np.unique(np.linspace(0, rows - 1, min(shown, rows)).round().astype(int)).tolist()
        columns, _ = flagged_columns(adapter, split, index, ids, hands)
    valid = np.flatnonzero(columns["valid"])
    flags = Counter(flag for flag in columns["flag"] if flag)
    if len(valid) == 0:
        nan = float("nan")
        return Look(split, rows, columns, nan, (nan,) * 3, nan, nan, (nan, nan), flags)
    joints, side = columns["joints"][valid].astype(np.float64), columns["side"][valid]
    palm = 1000.0 * np.linalg.norm(joints[:, MIDDLE_MCP] - joints[:, WRIST], axis=1)
    sizes = np.array([decode_rgb(columns["image"][row], columns["name"][row]).shape[1::-1] for row in valid])
    uv = project(joints, columns["K"][valid].astype(np.float64))
    residual = columns[RESIDUAL][valid]
    residual = residual[np.isfinite(residual)]
    return Look(
        split,
        rows,
        columns,
        float((side == Side.LEFT).mean()),
        (float(palm.min()), float(np.median(palm)), float(palm.max())),
        float(((uv >= 0) & (uv <= sizes[:, None])).all(-1).mean()),
        float(np.degrees(finger_bend(joints, side).mean())),
        (float(np.median(residual)), float(residual.max())) if len(residual) else (float("nan"),) * 2,
        flags,
    )


def present_splits(adapter: Adapter) -> list[str]:
    """Splits whose files are there.

    Raises:
        HandgapError: none; tells what the first one lacks.
    """
    present = [split for split in adapter.splits if not missing_of(adapter.root, adapter.needs(split))]
    if not present:
        adapter.check(adapter.splits[0])
        raise HandgapError(adapter.root, f"no split of {adapter.title} in it", "see docs/datasets.md")
    return present


def _fingerprint(adapter: Adapter, split: str) -> str:
    """Short hash of what an index depends on: settings, code, and size and time of the files in the folder."""
    entries = [path for path in adapter.root.iterdir()] + [adapter.root / need.path for need in adapter.needs(split)]
    listing = sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in set(entries))
    code = adapter_code(adapter.options)
    return settings_hash([adapter.options.model_dump(mode="json"), split, code, str(adapter.root.resolve()), listing])
