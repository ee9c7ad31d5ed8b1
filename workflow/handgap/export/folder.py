"""Folders that exist whole or not at all, and files written piece by piece whose bytes depend on the data alone."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from handgap.core.errors import ConfigError, DiskFullError

MANIFEST = "PROVENANCE.json"  # written last: a folder without it is no export
DIGITS = 7  # after the point: a tenth of a micrometre, where float32 metres end


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Give a new folder beside `out` to write to; it becomes `out` when the block ends without an error.

    What a killed export to the same folder has left is removed; so only one may run at a time.

    Raises:
        ConfigError: `out` is a file, or a folder with something else than an export in it.
        DiskFullError: no room left; nothing of the export remains.
    """
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise ConfigError(f"--out {out}", "is there and is no export", "name a new folder, or an export to replace")
    out.parent.mkdir(parents=True, exist_ok=True)
    new, old = (out.with_name(f".{out.name[:200]}.{what}") for what in ("part", "old"))
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        if out.exists():
            os.replace(out, old)
        os.replace(new, out)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(out, "no space left on the device", "free some space and start again") from error
        raise
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


def plain(value: object) -> object:
    """A column's value as JSON knows it: arrays as nested lists, rounded to `DIGITS`; numbers that are none as null."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind != "f":
            return value.tolist()
        rounded = np.round(value.astype(np.float64), DIGITS) + 0.0  # no -0.0
        if np.isfinite(rounded).all():
            return rounded.tolist()
        return np.where(np.isfinite(rounded), rounded, None).tolist()
    return value


def dumps(value: object, indent: int | None = None) -> str:
    """JSON text without not-a-number."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, indent=indent)


class JsonList:
    """A JSON list in a file of its own, item by item."""

    def __init__(self, path: Path):
        self._file = path.open("w", encoding="utf-8")
        self._file.write("[")
        self._separator = ""

    def append(self, value: object) -> None:
        """Add one item, as `plain` makes it."""
        self._file.write(self._separator + dumps(plain(value)))
        self._separator = ",\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self._file.write("]\n")
        self._file.close()
