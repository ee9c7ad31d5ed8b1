"""Files that exist whole or not at all, and files of arrays read with their faults named."""

import errno
import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from handgap.core.errors import CorruptFileError, DiskFullError, MissingAssetError

_EPOCH = (1980, 1, 1, 0, 0, 0)
_STORED_AS = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}


def _beside(path: Path, process: object) -> Path:
    """Temporary name of a file; its own name stays out of it, as that may be as long as names can be."""
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.{process}.tmp")


def half_written(path: Path) -> list[Path]:
    """What processes that were killed have left of a file."""
    return list(path.parent.glob(_beside(path, "*").name))


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; it becomes `path` when the block ends without an error.

    Raises:
        DiskFullError: no room left; nothing of the file remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, os.getpid())
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        # HDF5 reports the cause in its text only
        if error.errno == errno.ENOSPC or "No space left" in str(error):
            raise DiskFullError(path, "no space left on the device", "free some space and start again") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def read_arrays(
    path: Path | str, names: Iterable[str] = (), cure: str = "", *, only: bool = False
) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file, by name.

    Args:
        path: the file.
        names: arrays it must have.
        cure: what to do about a file that is absent or faulty; without it, the file is one that the workflow makes.
        only: leave all others unread.

    Raises:
        MissingAssetError: there is no such file.
        CorruptFileError: it is truncated or no such file, or lacks one of the names.
    """
    path = Path(path)
    if not path.exists():
        raise MissingAssetError(path, "no such file", cure or f"make it: snakemake {path}")
    cure = cure or "delete it and run snakemake again: only it is made anew"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if not only or name in names}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise CorruptFileError(path, f"not a readable file of arrays ({error})", cure) from error
    if missing := set(names) - set(arrays):
        raise CorruptFileError(path, f"lacks {', '.join(sorted(missing))}", cure)
    return arrays


def write_npz(path: Path, arrays: dict[str, np.ndarray], *, compress: bool = True) -> None:
    """Write arrays as an `.npz` whose bytes depend on the arrays alone: by name, without dates.

    Args:
        path: the file.
        arrays: by name; float64 is kept as float32, int64 as int32, any other type as it is.
        compress: turn it off for what hardly shrinks and is read often.

    Raises:
        DiskFullError: no room left; nothing of the file remains.
    """
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(arrays):
            array = arrays[name].astype(_STORED_AS.get(arrays[name].dtype, arrays[name].dtype), copy=False)
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), buffer.getbuffer(), method)
