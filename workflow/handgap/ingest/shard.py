"""One shard of an imported dataset: read, complete, check."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handgap.core.conventions import Side
from handgap.core.errors import CorruptFileError
from handgap.data.adapters.adapter import Adapter
from handgap.data.adapters.checks import label_faults
from handgap.data.adapters.index import Index
from handgap.data.adapters.shard import read_rows
from handgap.hands.annotation_hand import AnnotationHand
from handgap.ingest.complete import Hands, complete

MOST = 0.5  # share of faulty rows above which it is the dataset that is wrong, not a row of it


def load_hands(right: Path | None, left: Path | None) -> Hands:
    """Annotation hands by side.

    Raises:
        MissingAssetError, CorruptFileError: a file is absent or no such model.
    """
    return {
        side: AnnotationHand.load(path) for side, path in ((Side.RIGHT, right), (Side.LEFT, left)) if path is not None
    }


def imported_columns(adapter: Adapter, split: str, index: Index, ids: Sequence[int], hands: Hands) -> dict[str, object]:
    """Columns of a shard, as `core.store.write_store` takes them: those of `flagged_columns`.

    Raises:
        CorruptFileError: the split has fewer rows, or most of these are faulty: then the files are not what they
            should be, and the most frequent fault is told.
        ConfigError: see `complete`.
    """
    columns, faulty = flagged_columns(adapter, split, index, ids, hands)
    labelled = int((columns["valid"] | faulty).sum())
    if faulty.sum() > MOST * labelled:
        bad = np.flatnonzero(faulty)
        common = Counter(_kind(columns["flag"][row]) for row in bad).most_common(1)[0][0]
        row = next(row for row in bad if _kind(columns["flag"][row]) == common)
        problem = f"{len(bad)} of {labelled} samples from id {ids[0]} on are faulty; "
        problem += f"{columns['name'][row]}: {columns['flag'][row]}"
        raise CorruptFileError(adapter.root, problem, f"compare its layout with docs/datasets.md ({adapter.title})")
    return columns


def flagged_columns(
    adapter: Adapter, split: str, index: Index, ids: Sequence[int], hands: Hands
) -> tuple[dict[str, object], np.ndarray]:
    """Rows of a split, completed and checked.

    A row is valid if its picture can be read and its labels pass `data.adapters.checks`; otherwise `flag` says why.

    Args:
        adapter: the dataset.
        split: one of its splits.
        index: that split's index.
        ids: rows, increasing.
        hands: annotation hands that complete the labels; none to keep what the files have.

    Returns:
        Columns, and (N,) bool: rows where something is wrong that points to the files, not to this label alone nor to
        one that the dataset leaves out.

    Raises:
        CorruptFileError: the split has fewer rows.
        ConfigError: see `complete`.
    """
    rows = read_rows(adapter, split, index, ids)
    columns = complete(adapter, rows, hands)
    flags, faulty = list(columns["flag"]), rows.faulty.copy()
    found = label_faults(*(columns[name] for name in ("joints", "vertices", "K", "side")))
    for row, fault in enumerate(found):
        if fault.reason and not flags[row]:
            flags[row], faulty[row] = fault.reason, fault.systematic
    columns["flag"], columns["valid"] = flags, np.array([not flag for flag in flags])
    return columns, faulty


def _kind(flag: str) -> str:
    """A flag without its numbers and paths."""
    return "".join(character for character in flag.rpartition(": ")[2] if not character.isdigit())


def summary(columns: dict[str, object]) -> str:
    """What was imported, and why some rows are not valid, in lines."""
    flags = [flag for flag in columns["flag"] if flag]
    lines = [f"{len(columns['id'])} rows, {len(flags)} not valid"]
    lines += [f"  {count} x {reason}" for reason, count in Counter(flags).most_common(20)]
    return "\n".join(lines)
