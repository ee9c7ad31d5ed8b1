"""JSON files that are nothing but lists of points, read several times as fast as by `json`."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from handgap.core.errors import CorruptFileError

_NUMBERS, _BLANKS = b"0123456789.eE+-", b" \t\r\n"
_ONE_A_LINE = bytes.maketrans(b",[]\t\r\n", b"\n     ")


def parse_points(data: bytes, sizes: Sequence[int], path: Path, cure: str) -> list[np.ndarray]:
    """Lists of samples of 3D points.

    What is left of the text without its numbers must be the brackets and commas of such lists; then the numbers can be
    read in one go. A text that is anything else goes through `json`, which tells what is wrong with it.

    Args:
        data: JSON text: a list of samples of `sizes[0]` points; or, of several sizes, a list of such lists.
        sizes: points of a sample, for each list.
        path: where it is from, for messages.
        cure: what to do about a faulty file.

    Returns:
        (N, size, 3) float64 for each size.

    Raises:
        CorruptFileError: no JSON, truncated, a sample of another size, lists of different length, not finite.
    """
    count = _samples(data.translate(None, _NUMBERS + _BLANKS), sizes)
    flat = _numbers(data) if count else np.empty(0)
    if count and len(flat) == 3 * count * sum(sizes) and np.isfinite(flat).all():
        ends = np.cumsum([3 * count * size for size in sizes])[:-1]
        return [part.reshape(count, size, 3) for part, size in zip(np.split(flat, ends), sizes, strict=True)]
    return _parse_slowly(data, sizes, path, cure)


def _numbers(data: bytes) -> np.ndarray:
    """Numbers between commas and brackets, rounded like by `json`; none if one of them is no number."""
    try:
        table = csv.read_csv(
            pa.BufferReader(data.translate(_ONE_A_LINE)),
            csv.ReadOptions(use_threads=False, column_names=["number"]),
            convert_options=csv.ConvertOptions(column_types={"number": pa.float64()}),
        )
    except pa.ArrowInvalid:
        return np.empty(0)
    return table["number"].to_numpy()


def _samples(skeleton: bytes, sizes: Sequence[int]) -> int:
    """Samples in each list of a well-formed skeleton; 0 of any other."""
    samples = [b"[" + b",".join([b"[,,]"] * size) + b"]" for size in sizes]
    # n samples, n - 1 commas and two brackets in each list; several lists have brackets and commas around them
    around = 0 if len(sizes) == 1 else 1 + len(sizes)
    count = (len(skeleton) - around - len(sizes)) // sum(len(sample) + 1 for sample in samples)
    lists = b",".join(b"[" + b",".join([sample] * count) + b"]" for sample in samples) if count > 0 else b""
    return count if count > 0 and skeleton == (lists if len(sizes) == 1 else b"[" + lists + b"]") else 0


def _parse_slowly(data: bytes, sizes: Sequence[int], path: Path, cure: str) -> list[np.ndarray]:
    try:
        lists = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptFileError(path, f"truncated, or no JSON ({error})", cure) from error
    if len(sizes) == 1:
        lists = [lists]
    if not isinstance(lists, list) or len(lists) != len(sizes) or not all(isinstance(part, list) for part in lists):
        raise CorruptFileError(path, f"not a list of {len(sizes)} lists: joints, then vertices", cure)
    if len({len(part) for part in lists}) != 1:
        lengths = " and ".join(str(len(part)) for part in lists)
        raise CorruptFileError(path, f"lists of different length: {lengths} samples", cure)
    return [_stacked(part, size, path, cure) for part, size in zip(lists, sizes, strict=True)]


def _stacked(samples: list, size: int, path: Path, cure: str) -> np.ndarray:
    points = np.empty((len(samples), size, 3))
    for number, sample in enumerate(samples):
        try:
            array = np.array(sample, np.float64)
        except (TypeError, ValueError) as error:
            raise CorruptFileError(path, f"sample {number} is no list of points ({error})", cure) from error
        if array.shape != (size, 3):
            raise CorruptFileError(path, f"sample {number} has shape {array.shape}, expected ({size}, 3)", cure)
        if not np.isfinite(array).all():
            raise CorruptFileError(path, f"sample {number} is not finite", cure)
        points[number] = array
    return points
