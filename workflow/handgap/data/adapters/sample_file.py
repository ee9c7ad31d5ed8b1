"""Labels out of a small file beside a picture: what is wrong with it is told in the labels, not raised."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from handgap.core.conventions import Side
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.data.adapters.adapter import Labels

T = TypeVar("T")


def labels_from(
    path: Path, read: Callable[[Path], T], build: Callable[[T], list[Labels]], sides: tuple[Side, ...] = (Side.RIGHT,)
) -> list[Labels]:
    """Labels of a picture's hands, or for each of `sides` why there are none.

    Args:
        path: the file.
        read: reads it; may raise MissingAssetError and CorruptFileError.
        build: makes labels of its values; may trip over missing keys and wrong shapes.
        sides: hands of the picture.
    """
    try:
        return build(read(path))
    except (MissingAssetError, CorruptFileError) as error:
        problem = error.problem
    except KeyError as error:
        problem = f"no key {error}"
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        problem = str(error)
    return [Labels(side=side, fault=f"{path}: {problem}") for side in sides]


def numbers(value: object, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers as float64 of a shape; axes of length one may be more or fewer.

    Raises:
        TypeError, ValueError: they are none, or of another shape.
    """
    array = np.asarray(value, np.float64)
    if [n for n in array.shape if n != 1] != [n for n in shape if n != 1]:
        raise ValueError(f"an array of shape {array.shape} where {shape} belongs")
    return array.reshape(shape)
