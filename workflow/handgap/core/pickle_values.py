"""Arrays from what a pickle says about them: one rule for each global that a file of plain data may ask for.

The rules look only at the arguments and state that the pickle wrote down and check them; no object of the file gets a
say in what is called, and no foreign `__setstate__` ever sees its bytes.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import scipy.sparse


class Recipe:
    """One object as the pickle has it: the global `of` that was to be called, with `args`, `state` and `items`."""

    of: str

    def __new__(cls, *args: object):
        """Write the call down."""
        recipe = super().__new__(cls)
        recipe.args, recipe.state, recipe.items = args, None, {}
        return recipe

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        self.items[key] = value


class Latin1(Recipe):
    """Bytes of Python 3 in a protocol that had none: `_codecs.encode`, at once, as they may be most of the file."""

    def __new__(cls, text: str, codec: str):
        """The bytes, in place of a recipe."""
        if codec != "latin1":
            raise ValueError(f"bytes encoded as {codec}")
        return text.encode("latin1")


class Storage(NamedTuple):
    """Reference to a torch storage: its key in the file, numpy type and number of elements."""

    key: str
    dtype: np.dtype
    count: int


def read_storage(stream: BinaryIO, storage: Storage) -> np.ndarray:
    """Elements (N,) of a storage, from its raw bytes."""
    array = np.empty(storage.count, storage.dtype)
    if stream.readinto(memoryview(array).cast("B")) != array.nbytes:
        raise EOFError("a storage is cut short")
    return array


class Builder:
    """Makes the values of one pickle.

    Args:
        storages: arrays of the torch storages that it refers to, by key.
        nested: reads a pickle that is held as bytes inside this one.
    """

    def __init__(self, storages: dict[str, np.ndarray], nested: Callable[[bytes], object]):
        self.storages, self.nested = storages, nested
        # by id, with the thing itself: while it is held here, no other can take its id
        self._made: dict[int, tuple[object, object]] = {}

    def value(self, thing: Any) -> Any:
        """The value of something read: itself if basic; each container and recipe is made once, however often used.

        Raises:
            ValueError, TypeError, LookupError: it makes no sense.
        """
        if thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
            return thing
        if id(thing) not in self._made:
            self._made[id(thing)] = thing, _UNFINISHED
            self._made[id(thing)] = thing, self._make(thing)
            if isinstance(thing, Recipe):
                # done with: what it was made from can be as large as what it became
                thing.args, thing.state, thing.items = (), None, {}
        _, made = self._made[id(thing)]
        if made is _UNFINISHED:
            raise ValueError("something contains itself")
        return made

    def values(self, things: Iterable[Any]) -> tuple:
        """The value of each thing."""
        return tuple(map(self.value, things))

    def _make(self, thing: Any) -> Any:
        match thing:
            case Storage():
                return self.storages[thing.key]
            case dict():
                return {self.value(key): self.value(item) for key, item in thing.items()}
            case list() | tuple() | set() | frozenset():
                return type(thing)(self.values(thing))
            case Recipe():
                return _RULES[thing.of](self, thing)
            case type() if thing.of in _TORCH_TYPES:
                return _TORCH_TYPES[thing.of]
        raise TypeError(f"{thing} in place of a value")


_UNFINISHED = object()


def _ordered_dict(builder: Builder, recipe: Recipe) -> dict:
    return dict(*builder.values(recipe.args)) | builder.value(recipe.items)


def _reconstructor(builder: Builder, recipe: Recipe) -> Any:
    """An object of a class as pickle protocols 0 and 1 write it: class, base, and state of the base."""
    kind, base, state = recipe.args
    if base.of != "builtins.object" or state is not None:
        raise TypeError(f"{kind.of} derives from {base.of}")
    instance = kind()
    instance.__setstate__(recipe.state)
    return _RULES[kind.of](builder, instance)


def _dtype(builder: Builder, recipe: Recipe) -> np.dtype:
    code, state = recipe.args[0], recipe.state
    if not re.fullmatch(r"\?|O|[biufcSUO]\d{1,6}", code):
        raise ValueError(f"arrays of type {code}")
    if state is None:
        return np.dtype(code)
    order, *structure = state[1:5]
    if structure != [None] * 3:
        raise ValueError("arrays of structures")
    return np.dtype(code).newbyteorder(order)


def _array(builder: Builder, recipe: Recipe) -> np.ndarray:
    """Numpy's `_reconstruct` and the state it is given: version, shape, type, whether in Fortran order, data."""
    _, shape, dtype, fortran, data = builder.values(recipe.state)
    if dtype.hasobject:
        flat = np.fromiter(data, object, len(data))
    else:
        flat = np.frombuffer(_bytes(data), dtype, math.prod(shape)) if math.prod(shape) else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy("K")


def _array_of_buffer(builder: Builder, recipe: Recipe) -> np.ndarray:
    """Numpy's `_frombuffer`, of pickle protocol 5."""
    data, dtype, shape, order = builder.values(recipe.args)
    flat = np.frombuffer(data, dtype) if len(data) else np.empty(0, dtype)
    return flat.reshape(shape, order=order).copy("K")


def _scalar(builder: Builder, recipe: Recipe) -> np.generic:
    dtype, data = builder.values(recipe.args)
    return np.frombuffer(_bytes(data), dtype, 1)[0]


def _bytes(data: str | bytes) -> bytes:
    # text is what Latin-1 makes of a str of Python 2
    return data.encode("latin1") if isinstance(data, str) else data


def _sparse(builder: Builder, recipe: Recipe) -> Any:
    state, name = recipe.state, recipe.of.rpartition(".")[2]
    kind, shape, data = getattr(scipy.sparse, name), builder.value(state["_shape"]), builder.value(state["data"])
    if name.startswith("coo"):
        places = builder.values(state["coords"] if "coords" in state else (state["row"], state["col"]))
        return kind((data, places), shape=shape)
    matrix = kind((data, builder.value(state["indices"]), builder.value(state["indptr"])), shape=shape)
    # an index out of range would be followed by scipy's compiled code
    matrix.check_format(full_check=True)
    return matrix


def _chumpy(builder: Builder, recipe: Recipe) -> np.ndarray:
    """A plain chumpy array."""
    return np.asarray(builder.value(recipe.state["x"]))


def _chumpy_select(builder: Builder, recipe: Recipe) -> np.ndarray:
    """Elements `idxs` of the flattened array `a`, in `preferred_shape` if there is one (chumpy/reordering.py)."""
    state = recipe.state
    chosen = np.ravel(builder.value(state["a"]))[builder.value(state["idxs"])]
    return chosen.reshape(builder.value(state["preferred_shape"])) if "preferred_shape" in state else chosen


def _storage_of_bytes(builder: Builder, recipe: Recipe) -> np.ndarray:
    """A torch storage inside a plain pickle: an old torch.save file, as bytes."""
    (payload,) = builder.values(recipe.args)
    return builder.nested(_bytes(payload))


def _tensor(builder: Builder, recipe: Recipe) -> np.ndarray:
    """Torch's `_rebuild_tensor` and `_rebuild_tensor_v2`: storage, offset, size and strides in elements."""
    storage, offset, size, strides = builder.values(recipe.args[:4])
    layout = (offset, *size, *strides)
    # numbers of Python alone, as those of numpy wrap around
    if not all(type(number) is int and number >= 0 for number in layout) or len(size) != len(strides):
        raise ValueError("a tensor without a sound layout")
    # a storage may be any array of the file, and so a view that strides over less memory than it has elements
    if storage.ndim != 1 or not storage.flags.c_contiguous:
        raise ValueError("a tensor in a storage that is none")
    if math.prod(size) == 0:
        return np.empty(size, storage.dtype)
    last = offset + sum((n - 1) * stride for n, stride in zip(size, strides, strict=True))
    if last >= len(storage) or math.prod(size) > len(storage):
        raise ValueError("a tensor larger than its storage")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps)


def _first(builder: Builder, recipe: Recipe) -> Any:
    return builder.value(recipe.args[0])


def _applied(kind: type) -> Callable[[Builder, Recipe], Any]:
    """Rule of a harmless type of Python, called with its arguments."""
    return lambda builder, recipe: kind(*builder.values(recipe.args))


def _no_bytes(builder: Builder, recipe: Recipe) -> bytes:
    """`bytes()`, which protocols without bytes write for none; with a number it would make as many zeros."""
    if recipe.args:
        raise TypeError("bytes made of something")
    return b""


_RULES: dict[str, Callable[[Builder, Recipe], Any]] = {
    "builtins.set": _applied(set),
    "builtins.bytes": _no_bytes,
    "collections.OrderedDict": _ordered_dict,
    "copyreg._reconstructor": _reconstructor,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _array_of_buffer,
    **{f"scipy.sparse.{form}.{form}_{kind}": _sparse for form in ("csc", "csr", "coo") for kind in ("matrix", "array")},
    "chumpy.ch.Ch": _chumpy,
    "chumpy.reordering.Select": _chumpy_select,
    "torch.Size": _applied(tuple),
    "torch.device": _first,
    "torch.storage._load_from_bytes": _storage_of_bytes,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
}
_TORCH_TYPES = {
    f"torch.{name}": np.dtype(name)
    for name in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
}
STORAGE_TYPES = {
    f"torch.{name}Storage": np.dtype(code)
    for name, code in zip(
        ("Double", "Float", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool"),
        ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "i1", "u1", "?"),
        strict=True,
    )
}

# what a pickle may name: things to make, and types that only others refer to
ACCEPTED = frozenset({*_RULES, *STORAGE_TYPES, *_TORCH_TYPES, "_codecs.encode", "builtins.object", "numpy.ndarray"})
