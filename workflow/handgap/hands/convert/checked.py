"""Values of a model file, each checked as it is taken."""

from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import scipy.sparse

from handgap.core.errors import CorruptFileError
from handgap.core.pickles import read_pickle


class AtLeast(int):
    """A size that may be exceeded."""

    def __repr__(self) -> str:
        return f">={int(self)}"


class CheckedValues:
    """The values of one pickle, or of a dictionary in it.

    Args:
        path: the file, for errors.
        values: what was read.
        cure: what to do about a file that is not as it should be.
        where: the dictionary's place in the file, for errors.
    """

    def __init__(self, path: Path, values: object, cure: str, where: str = ""):
        self._path, self._values, self._cure, self._where = path, values, cure, where
        if not isinstance(values, dict):
            self.refuse("value", "a dictionary", type(values).__name__)

    @classmethod
    def read(cls, path: Path, cure: str) -> Self:
        """The values of a pickle.

        Raises:
            MissingAssetError: there is no such file.
            CorruptFileError: it is not a plain pickle of a dictionary.
        """
        return cls(path, read_pickle(path), cure)

    def refuse(self, key: str, expected: object, found: object) -> NoReturn:
        """Raise the error of a value that is not as expected."""
        raise CorruptFileError(self._path, f"{self._where}{key}: expected {expected}, found {found}", self._cure)

    def take(self, key: str) -> Any:
        """A value, given up by the file so that large ones can be freed."""
        if key not in self._values:
            self.refuse(key, "a value", f"only the keys {', '.join(sorted(map(str, self._values)))}")
        return self._values.pop(key)

    def nested(self, key: str) -> Self:
        """A dictionary in the dictionary."""
        return type(self)(self._path, self.take(key), self._cure, f"{self._where}{key}.")

    def numbers(self, key: str, *shape: int) -> np.ndarray:
        """A dense array of exactly this shape (or `AtLeast` a size), but for further axes of one, which are dropped."""
        array = self.take(key)
        if not scipy.sparse.issparse(array):
            array = np.asarray(array)
            # NIMBLE's layer squeezes what it reads: a batch of one is as good
            array = array.squeeze() if array.ndim > len(shape) else array
        fits = array.ndim == len(shape) and all(
            found >= size if isinstance(size, AtLeast) else found == size
            for found, size in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype.kind not in "fiub":
            self.refuse(key, f"numbers of shape {shape}", f"{array.dtype} of shape {array.shape}")
        # a sparse matrix is filled in only when its size is known to be right
        return array.toarray() if scipy.sparse.issparse(array) else array

    def array(self, key: str, *shape: int, dtype: type = np.float64) -> np.ndarray:
        """The same as `numbers`, of one type and finite."""
        array = self.numbers(key, *shape).astype(dtype, copy=False)
        if not np.isfinite(array).all():
            self.refuse(key, "finite numbers", "NaN or infinity")
        return array

    def integer(self, key: str) -> int:
        """One whole number."""
        value = np.asarray(self.take(key))
        if value.size != 1 or value.dtype.kind not in "iu":
            self.refuse(key, "one whole number", f"{value.dtype} of shape {value.shape}")
        return int(value.item())

    def indices(self, key: str, below: int, *shape: int) -> np.ndarray:
        """Whole numbers in [0, below)."""
        array = self.array(key, *shape, dtype=np.int64)
        if array.min(initial=0) < 0 or array.max(initial=0) >= below:
            self.refuse(key, f"ids in [0, {below})", f"{array.min()} to {array.max()}")
        return array
