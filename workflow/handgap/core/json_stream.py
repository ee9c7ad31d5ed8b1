"""JSON files of any size, one entry at a time: memory for one entry, whatever the file's length."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from handgap.core.errors import CorruptFileError, MissingAssetError

BLOCK = 1 << 20  # characters read at once
LONGEST_ENTRY = 1 << 26  # characters; what is not complete by then is no JSON
_CLOSING = {"[": "]", "{": "}"}
_DELIMITERS = frozenset(" \t\r\n,:]}")


def walk_json(path: Path, depth: int, cure: str) -> Iterator[tuple]:
    """Entries of a JSON file `depth` levels down, in the order of the file.

    A file ``{"a": [1, 2]}`` gives ``("a", [1, 2])`` at depth 1, and ``("a", 0, 1)``, ``("a", 1, 2)`` at depth 2.

    Args:
        path: the file.
        depth: levels of lists and objects that are opened; entries below them come decoded.
        cure: what to do about a file that is absent or faulty.

    Yields:
        Keys and list positions from the outermost to the innermost, and the value.

    Raises:
        MissingAssetError: there is no such file.
        CorruptFileError: it is truncated or no JSON; says at which character.
    """
    if not path.is_file():
        raise MissingAssetError(path, "no such file", cure)
    try:
        with path.open(encoding="utf-8") as stream:
            reader = _Reader(stream)
            yield from _entries(reader, depth, ())
            if reader.peek():
                raise reader.fault("something behind the end")
    except (_MalformedError, UnicodeDecodeError) as error:
        raise CorruptFileError(path, f"not readable JSON ({error})", cure) from error


class _MalformedError(Exception):
    pass


class _Reader:
    """A window on the file that moves on as its characters are used."""

    def __init__(self, stream: TextIO):
        self._stream, self._text, self._at, self._before = stream, "", 0, 0
        self._decoder = json.JSONDecoder()

    def _more(self) -> bool:
        """Read on, forgetting what has been used; false at the end of the file."""
        block = self._stream.read(BLOCK)
        self._before += self._at
        self._text, self._at = self._text[self._at :] + block, 0
        return bool(block)

    def fault(self, problem: str) -> _MalformedError:
        return _MalformedError(f"{problem} at character {self._before + self._at}")

    def peek(self) -> str:
        """Next character that is not blank; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """Use the next character, which must be one of those expected."""
        found = self.peek()
        if not found:
            raise self.fault("it ends too early, cut off")
        if found not in expected:
            raise self.fault(f"{found!r} where one of {expected!r} belongs,")
        self._at += 1
        return found

    def value(self) -> object:
        """Use and decode the next value."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                end, problem = None, error.msg
            # a number that the window cuts would be taken for a shorter one
            if end is not None and self._text[end : end + 1] in _DELIMITERS:
                self._at = end
                return value
            if len(self._text) - self._at > LONGEST_ENTRY:
                raise self.fault("an entry that does not end, begun")
            if not self._more():
                if end is not None:
                    self._at = end
                    return value
                raise self.fault(f"it ends too early or makes no sense: {problem}, in the entry begun")


def _entries(reader: _Reader, depth: int, keys: tuple) -> Iterator[tuple]:
    if depth == 0:
        yield *keys, reader.value()
        return
    opening = reader.take("[{")
    closing, position = _CLOSING[opening], 0
    if reader.peek() == closing:
        reader.take(closing)
        return
    while True:
        key = position
        if opening == "{":
            key = reader.value()
            reader.take(":")
        yield from _entries(reader, depth - 1, (*keys, key))
        if reader.take("," + closing) == closing:
            return
        position += 1
