"""Pickles of hand models and datasets, read without executing anything that they ask for.

A pickle is a program. Here it runs with every global replaced by an inert `Recipe` that writes down what would have
been called; a global that plain data do not need ends the reading with its name. Then `Builder` makes arrays from
the recipes with code of this package alone, so neither chumpy nor torch has to be there, and nothing in the file can
choose what is called.
"""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.core.pickle_values import ACCEPTED, STORAGE_TYPES, Builder, Latin1, Recipe, Storage, read_storage

# first value of a file that torch.save wrote before torch 1.6, and of a pickled storage (torch/serialization.py)
_TORCH_MAGIC, _TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_ZIP_MAGIC = b"PK\x03\x04"
# what the pickle machine and the builder raise at bytes that make no sense
_MALFORMED = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError),
)
_KEYS = str | bytes | int | float | None
_OFFICIAL = "fetch the file again from the model's official page"
# one name for what moved between versions of Python, numpy and scipy
_MOVED = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    "scipy.sparse._csc": "scipy.sparse.csc",
    "scipy.sparse._csr": "scipy.sparse.csr",
    "scipy.sparse._coo": "scipy.sparse.coo",
}


def read_pickle(path: Path | str) -> object:
    """Read a pickle or `torch.save` file of plain data: MANO's, SMPL's, NIMBLE's, the labels of datasets.

    Accepted: Python's basic types, numpy arrays and scalars, scipy.sparse CSC, CSR and COO, torch tensors, parameters
    and storages (plainly pickled or by `torch.save`, old and new), and the two chumpy classes that hand models hold, Ch
    and Select. Text of Python 2 is read as Latin-1.

    Args:
        path: the file.

    Returns:
        What the file holds, where arrays of numpy, torch and chumpy are all numpy arrays, sparse matrices and arrays
        are scipy's, sizes are tuples, and ordered dicts are dicts.

    Raises:
        MissingAssetError: there is no such file.
        CorruptFileError: it is truncated or no pickle, or it asks for a global that is not in the list of accepted
            ones (the error names it); nothing was executed.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingAssetError(path, "no such file", "docs/licensed_models.md says where it is from")
    with path.open("rb") as stream:
        try:
            return _read(stream, path)
        except _MALFORMED as error:
            problem = f"not a pickle that can be read ({type(error).__name__}: {error})"
            raise CorruptFileError(path, problem, _OFFICIAL) from error


def _read(stream: BinaryIO, path: Path) -> object:
    """The value in a stream: a zip of torch.save, an old torch.save file, or a plain pickle."""
    start = stream.read(len(_ZIP_MAGIC))
    stream.seek(-len(start), io.SEEK_CUR)
    if start == _ZIP_MAGIC:
        return _read_torch_zip(stream, path)
    first = _Transcript(stream, path).load()
    if type(first) is int and first == _TORCH_MAGIC:
        return _read_torch_stream(stream, path)
    return _builder(path, {}).value(first)


def _read_torch_zip(stream: BinaryIO, path: Path) -> object:
    """torch.save since 1.6: `<name>/data.pkl`, and the bytes of each storage in `<name>/data/<key>`."""
    with zipfile.ZipFile(stream) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = record.removesuffix("data.pkl")
        if (order := f"{folder}byteorder") in archive.namelist():
            _check_little_endian(archive.read(order) == b"little")
        transcript = _Transcript(io.BytesIO(archive.read(record)), path)
        tree = transcript.load()
        storages = {}
        for key, storage in transcript.storages.items():
            with archive.open(f"{folder}data/{key}") as data:
                storages[key] = read_storage(data, storage)
    return _builder(path, storages).value(tree)


def _read_torch_stream(stream: BinaryIO, path: Path) -> object:
    """torch.save before 1.6, behind the magic number: protocol, system, value, keys, then count and bytes of each."""
    protocol, system = (_builder(path, {}).value(_Transcript(stream, path).load()) for _ in range(2))
    if protocol != _TORCH_PROTOCOL:
        raise ValueError(f"torch protocol {protocol}")
    _check_little_endian(system["little_endian"])
    transcript = _Transcript(stream, path)
    tree = transcript.load()
    storages = {}
    for key in _Transcript(stream, path).load():
        if type(key) is not str:
            raise TypeError(f"a storage under a {type(key).__name__}")
        storage = transcript.storages[key]
        if int.from_bytes(stream.read(8), "little") != storage.count:
            raise ValueError("a storage is not as long as announced")
        storages[key] = read_storage(stream, storage)
    return _builder(path, storages).value(tree)


def _check_little_endian(little: bool) -> None:
    if not little:
        raise ValueError("written on a big-endian machine")


def _with_plain_keys(opcode: bytes, keys: slice) -> Callable[[pickle._Unpickler], None]:
    """The pickle machine's step that hashes some entries of the stack, allowed only if these are of basic types.

    Python's own hash of a tuple in a tuple in a tuple, and so on, overflows the stack of the process.
    """
    step = pickle._Unpickler.dispatch[opcode[0]]

    def checked(machine: pickle._Unpickler) -> None:
        for key in machine.stack[keys]:
            if not isinstance(key, _KEYS):
                raise pickle.UnpicklingError(f"a {type(key).__name__} as the key of a dictionary or in a set")
        step(machine)

    return checked


def _builder(path: Path, storages: dict) -> Builder:
    return Builder(storages, nested=lambda payload: _read(io.BytesIO(payload), path))


class _Transcript(pickle._Unpickler):
    """Reads one pickle of a stream into basic types and recipes; `storages` are torch's that it refers to.

    The machine is the one in Python: its compiled twin fills memory up to whatever memo number a file names.
    """

    dispatch = pickle._Unpickler.dispatch | {
        # a byte array would be filled to the length that the file claims before its data is looked at; bytes are not
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
        pickle.SETITEM[0]: _with_plain_keys(pickle.SETITEM, slice(-2, -1)),
        pickle.SETITEMS[0]: _with_plain_keys(pickle.SETITEMS, slice(None, None, 2)),
        pickle.DICT[0]: _with_plain_keys(pickle.DICT, slice(None, None, 2)),
        pickle.ADDITEMS[0]: _with_plain_keys(pickle.ADDITEMS, slice(None)),
        pickle.FROZENSET[0]: _with_plain_keys(pickle.FROZENSET, slice(None)),
    }

    def __init__(self, stream: BinaryIO, path: Path):
        super().__init__(stream, encoding="latin1")
        self.path, self.storages = path, {}

    def find_class(self, module: str, name: str) -> type[Recipe]:
        dotted = f"{_MOVED.get(module, module)}.{name}"
        if dotted not in ACCEPTED:
            raise self._refused(f"asks for {dotted}")
        # the pickle machine wants a class; one per use, so that no file can change what the next one meets
        return type(name, (Latin1 if dotted == "_codecs.encode" else Recipe,), {"of": dotted})

    def persistent_load(self, pid: object) -> Storage:
        match pid:
            case ("storage", type() as kind, str() as key, str(), int() as count, *views) if not any(views):
                if kind.of in STORAGE_TYPES and count >= 0:
                    return self.storages.setdefault(key, Storage(key, STORAGE_TYPES[kind.of], count))
        raise self._refused("refers to something outside of itself")

    def _refused(self, deed: str) -> CorruptFileError:
        problem = f"{deed}, which no hand model needs; it was not read further and nothing in it was executed"
        return CorruptFileError(self.path, problem, f"do not unpickle this file; {_OFFICIAL}")
