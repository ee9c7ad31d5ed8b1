"""Files that exist whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handgap.core.errors import DiskFullError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; it becomes `path` when the block ends without an error.

    Raises:
        DiskFullError: no room left; nothing of the file remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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
