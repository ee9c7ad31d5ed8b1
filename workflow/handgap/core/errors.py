"""Errors that name the file, what is wrong with it and how to cure it."""

import os
import sys
from collections.abc import Callable


class HandgapError(Exception):
    """A problem a person can cure.

    Args:
        what: the file or setting at fault.
        problem: what is wrong with it.
        cure: what to do about it.
    """

    def __init__(self, what: object, problem: str, cure: str):
        self.what, self.problem, self.cure = str(what), problem, cure
        super().__init__(f"{self.what}: {problem}\n  cure: {cure}")


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
