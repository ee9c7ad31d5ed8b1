"""A shard that survives a kill: each finished sample is a file of its own until the last one is done."""

import io
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from handgap.core.files import written_whole
from handgap.core.progress import track

Row = dict[str, np.ndarray | np.generic | str | int | float | bool]
ENCODED = ("image", "mask", "depth")


def _save(path: Path, row: Row) -> None:
    """Write a row whole or not at all."""
    content = io.BytesIO()  # an archive on a full disk complains once more when it is closed
    np.savez(content, **row)
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        file.write(content.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def complete(ids: Sequence[int], make: Callable[[int], Row], state: Path, label: str) -> dict[str, object]:
    """Columns of a shard, making only the rows that an earlier, killed run has not left in `state`.

    Args:
        ids: ids of the shard's samples, in order.
        make: row of the k-th sample, as a function of k alone.
        state: folder of the finished rows; remove it with `discard` once the shard is written.
        label: for the progress display.

    Returns:
        Columns as `core.store.write_store` takes them.

    Raises:
        DiskFullError: no room for a row.
    """
    state.mkdir(parents=True, exist_ok=True)
    paths = [state / f"{number}.npz" for number in ids]
    for k, path in track(enumerate(paths), len(paths), label):
        if not path.exists():
            _save(path, make(k))
    rows = []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            rows.append({name: file[name] for name in file.files})
    return {name: _column(name, [row[name] for row in rows]) for name in rows[0]}


def _column(name: str, values: list[np.ndarray]) -> object:
    if name in ENCODED:
        return values
    if values[0].dtype.kind == "U":
        return [str(value) for value in values]
    return np.stack(values)


def discard(state: Path) -> None:
    """Forget the rows of a shard that has been written."""
    shutil.rmtree(state)
