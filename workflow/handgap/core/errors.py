"""Errors that name the file, what is wrong with it and how to cure it."""

import os
import sys
from collections.abc import Callable


def printable(text: object) -> str:
    """Text that UTF-8 can hold: bytes of a file's name that are no UTF-8 are written as escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode()


class HandgapError(Exception):
    """A problem a person can cure.

    Args:
        what: the file or setting at fault.
        problem: what is wrong with it.
        cure: what to do about it.
    """

    def __init__(self, what: object, problem: str, cure: str):
        self.what, self.problem, self.cure = map(printable, (what, problem, cure))
        super().__init__(f"{self.what}: {self.problem}\n  cure: {self.cure}")


class ConfigError(HandgapError):
    """A key or value of the study's configuration is not valid."""


class MissingAssetError(HandgapError):
    """A file that must come from outside is absent."""


class CorruptFileError(HandgapError):
    """A file exists but is truncated, altered or not what its name says."""


class DiskFullError(HandgapError):
    """There is no room for a file that had to be written."""


def run_step(main: Callable[[], object]) -> None:
    """Run a step's entry point: a `HandgapError` becomes one clear message and exit status 1."""
    try:
        main()
    except HandgapError as error:
        sys.stdout.flush()
        print(f"handgap: error: {error}", file=sys.stderr)
        # bpy and CUDA keep threads that can hang a normal interpreter exit
        sys.stderr.flush()
        os._exit(1)
