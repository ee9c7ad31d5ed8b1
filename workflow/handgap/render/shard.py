"""A shard that survives a kill: each finished sample is a file of its own until the shard is written."""

import errno
import fcntl
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from handgap.core.errors import HandgapError
from handgap.core.files import half_written, written_whole
from handgap.core.progress import track

Row = dict[str, np.ndarray | np.generic | str | int | float | bool]
ENCODED = ("image", "mask", "depth")
LOCK = "lock"
DIGEST_BYTES = 32
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what network file systems that have none say


@contextmanager
def kept(state: Path, out: Path) -> Iterator[None]:
    """The folder of a shard's finished rows, which one process at a time may use; gone when the block ends well.

    Args:
        state: folder that outlives a kill.
        out: the shard, written within the block; what killed processes left of it half-written goes too.

    Raises:
        HandgapError: another process works on this shard.
    """
    state.mkdir(parents=True, exist_ok=True)
    with open(state / LOCK, "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
        except BlockingIOError as error:
            raise HandgapError(out, f"another process works on it (in {state})", "wait for it, or stop it") from error
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
        for half in half_written(out):
            half.unlink()
        yield
        shutil.rmtree(state)


def complete(ids: Sequence[int], make: Callable[[int], Row], rows: Path, label: str) -> dict[str, object]:
    """Columns of a shard, making only the rows that an earlier, killed run has not left.

    Args:
        ids: ids of the shard's samples, in order.
        make: row of the k-th sample, as a function of k alone.
        rows: folder of finished rows, named by all that they depend on; within a folder that is `kept`.
        label: for the progress display.

    Returns:
        Columns as `core.store.write_store` takes them.

    Raises:
        DiskFullError: no room for a row.
    """
    paths = [rows / f"{number}.npz" for number in ids]
    for k, path in track(enumerate(paths), len(paths), label):
        if _load(path) is None:
            _save(path, make(k))
    found = [_load(path) for path in paths]
    return {name: _column(name, [row[name] for row in found]) for name in found[0]}


def _save(path: Path, row: Row) -> None:
    """Write a row whole or not at all: an archive with its sha256 behind it."""
    archive = io.BytesIO()  # an archive on a full disk complains once more when it is closed
    np.savez(archive, **row)
    content = archive.getvalue()
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        file.write(content + hashlib.sha256(content).digest())
        file.flush()
        os.fsync(file.fileno())


def _load(path: Path) -> dict[str, np.ndarray] | None:
    """A finished row, or None where there is none or its bytes are damaged, by a power cut say."""
    if not path.exists():
        return None
    data = path.read_bytes()
    content, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _column(name: str, values: list[np.ndarray]) -> object:
    if name in ENCODED:
        return values
    if values[0].dtype.kind == "U":
        return [str(value) for value in values]
    return np.stack(values)
