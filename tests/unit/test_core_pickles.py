"""Pickles of hand models: plain data comes back, whatever else they ask for is named and not done."""

import io
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.core.pickles import read_pickle
from handgap.core.seeds import rng
from mano_pickle import chumpy_modules
from scipy import sparse

MATRIX = np.arange(12.0).reshape(3, 4) * (np.arange(12).reshape(3, 4) % 3 == 0)
TENSOR = torch.arange(24.0).reshape(2, 3, 4)


class Planted:
    """Pickles as a call of any function."""

    def __init__(self, function: object, *arguments: object):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Persistent(pickle.Pickler):
    """Keeps one kind of object outside of the pickle."""

    def persistent_id(self, thing: object) -> object:
        return ("file", "/etc/passwd") if isinstance(thing, Planted) else None


@pytest.fixture
def read(tmp_path: Path):
    """Write bytes and read them as a pickle."""

    def reader(data: bytes) -> object:
        path = tmp_path / "model.pkl"
        path.write_bytes(data)
        return read_pickle(path)

    return reader


def torch_file(value: object, zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_comes_back_in_every_protocol(read, protocol):
    shared = np.arange(3)
    written = {
        "basic": [None, True, 1, -(2**70), 0.5, "text", b"bytes", b"", (1, (2,)), {3: {4, 5}}],
        "ordered": OrderedDict(a=1, b=[2]),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "big_endian": np.arange(3, dtype=">f4"),
        "flags": np.array([True, False]),
        "words": np.array(["a", "bcd"]),
        "objects": np.array(["a", None, [1, 2]], object),
        "empty": np.zeros((0, 3)),
        "point": np.float32(0.25),
        "twice": [shared, shared],
    }
    found = read(pickle.dumps(written, protocol))
    assert found.keys() == written.keys()
    assert found["basic"] == written["basic"] and found["ordered"] == dict(written["ordered"])
    for key in ("fortran", "big_endian", "flags", "words", "empty", "point"):
        assert found[key].dtype == written[key].dtype
        np.testing.assert_array_equal(found[key], written[key], strict=True)
    assert found["objects"].tolist() == written["objects"].tolist()
    assert found["twice"][0] is found["twice"][1] and found["twice"][0].flags.writeable


@pytest.mark.parametrize("kind", ["csc", "csr", "coo"])
@pytest.mark.parametrize("form", ["matrix", "array"])
@pytest.mark.parametrize("module", ["scipy.sparse._{}", "scipy.sparse.{}"])
def test_sparse_matrices_come_back_from_either_place(read, kind, form, module):
    written = getattr(sparse, f"{kind}_{form}")(MATRIX)
    stored = pickle.dumps(written, 2).replace(f"scipy.sparse._{kind}".encode(), module.format(kind).encode())
    found = read(stored)
    assert type(found) is type(written)
    np.testing.assert_array_equal(found.toarray(), MATRIX)


def tensors() -> dict[str, torch.Tensor]:
    return {
        "whole": TENSOR,
        "view": TENSOR.transpose(0, 2)[1:],
        "parameter": torch.nn.Parameter(TENSOR * 2),
        "empty": TENSOR[:, :0],
        "number": torch.tensor(7),
        "half": TENSOR.half(),
        "mask": TENSOR > 3,
    }


@pytest.mark.parametrize(
    "store",
    [
        lambda value: pickle.dumps(value, 2),
        lambda value: pickle.dumps(value, 5),
        lambda value: torch_file(value, zipped=True),
        lambda value: torch_file(value, zipped=False),
    ],
    ids=["pickle 2", "pickle 5", "torch.save", "torch.save before 1.6"],
)
def test_tensors_come_back_as_arrays(read, store):
    extra = {"size": TENSOR.size(), "dtype": torch.float32, "device": torch.device("cpu")}
    found = read(store(tensors() | extra))
    assert (found.pop("size"), found.pop("dtype"), found.pop("device")) == ((2, 3, 4), np.float32, "cpu")
    for key, tensor in tensors().items():
        np.testing.assert_array_equal(found[key], tensor.detach().numpy(), strict=True)


def test_python_2_text_is_latin_1(read):
    array = np.array([0.1, -3.0])
    header = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
    dtype = b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    np.testing.assert_array_equal(read(header + dtype + b"\x89U\x10" + array.tobytes() + b"tb."), array)
    assert read(b"\x80\x02U\x01\xe9.") == "é"


def test_chumpy_is_evaluated_without_chumpy(read):
    modules = chumpy_modules()
    Ch, Select = modules["chumpy.ch"].Ch, modules["chumpy.reordering"].Select
    inner, chosen, flat = Ch(), Select(), Select()
    inner.__dict__ = {"x": MATRIX, "_dirty_vars": set(), "_itr": None, "_depends_on_deps": {}}
    chosen.__dict__ = {"a": inner, "idxs": np.array([3, 0, 6, 9]), "preferred_shape": (2, 2)}
    flat.__dict__ = {"a": chosen, "idxs": np.array([1, 2])}
    for protocol in (0, 2):
        with patch.dict(sys.modules, modules):
            stored = pickle.dumps({"inner": inner, "chosen": chosen, "flat": flat}, protocol)
        found = read(stored)
        assert "chumpy" not in sys.modules
        np.testing.assert_array_equal(found["inner"], MATRIX)
        np.testing.assert_array_equal(found["chosen"], MATRIX.ravel()[[3, 0, 6, 9]].reshape(2, 2))
        np.testing.assert_array_equal(found["flat"], MATRIX.ravel()[[0, 6]])


def command(marker: Path) -> str:
    return f"touch {marker}"


def test_the_planted_command_would_run(tmp_path):
    pickle.loads(pickle.dumps(Planted(os.system, command(tmp_path / "ran"))))
    assert (tmp_path / "ran").exists()


PLANTS = {
    "os.system": (lambda run: Planted(os.system, run), "system"),
    "eval": (lambda run: Planted(eval, f"__import__('os').system({run!r})"), "eval"),
    "exec": (lambda run: Planted(exec, f"import os; os.system({run!r})"), "exec"),
    "import": (lambda run: Planted(__import__, "os"), "__import__"),
    "getattr": (lambda run: Planted(getattr, {}, "clear"), "getattr"),
    "subprocess": (lambda run: Planted(subprocess.check_output, run.split()), "check_output"),
    "numpy.load": (lambda run: Planted(np.load, run, None, True), "load"),
    "torch.load": (lambda run: Planted(torch.load, run), "load"),
    "nested loads": (lambda run: Planted(pickle.loads, pickle.dumps(Planted(os.system, run))), "loads"),
}
SCALAR, STORAGE = np.float64(1).__reduce__()[0], torch.storage._load_from_bytes
WRAPS = {
    "bare": lambda plant: pickle.dumps(plant, 2),
    "protocol 0": lambda plant: pickle.dumps(plant, 0),
    "protocol 5": lambda plant: pickle.dumps({"v_template": [plant]}, 5),
    "object array": lambda plant: pickle.dumps(np.array([plant, None], object)),
    "object scalar": lambda plant: pickle.dumps(Planted(SCALAR, np.dtype("O"), plant)),
    "state": lambda plant: pickle.dumps(sparse.csc_matrix(MATRIX), 2)[:-2] + pickle.dumps(plant, 2)[2:-1] + b"b.",
    "torch zip": lambda plant: torch_file({"a": TENSOR, "b": plant}, zipped=True),
    "old torch file": lambda plant: torch_file([plant], zipped=False),
    "torch storage": lambda plant: pickle.dumps(Planted(STORAGE, torch_file([plant], zipped=False))),
    "torch storage that is none": lambda plant: pickle.dumps(Planted(STORAGE, pickle.dumps(plant))),
    "storage in storage": lambda plant: pickle.dumps(Planted(STORAGE, pickle.dumps(Planted(STORAGE, plant)))),
}


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_planted_call_is_named_and_not_done(read, tmp_path, plant, wrap):
    make, name = PLANTS[plant]
    stored = WRAPS[wrap](make(command(tmp_path / "ran")))
    with pytest.raises(CorruptFileError) as refused:
        read(stored)
    # Python 3 writes some modules under their old names
    assert re.search(rf"asks for [a-zA-Z_.]+\.{name}, .* nothing in it was executed", str(refused.value))
    assert not (tmp_path / "ran").exists()


# an empty tuple in a tuple, in a tuple...: its hash overflows the stack of the process
DEEP = b")" + b"\x85" * 200_000
OLD_TORCH = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, None))

ABUSES = {
    "a codec that is none of bytes": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
    "the class of a global patched": b"\x80\x02ctorch\nSize\n}X\x03\x00\x00\x00foo]sb.",
    "its slots patched": b"\x80\x02ctorch\nSize\nN}X\x0b\x00\x00\x00__setitem__]s\x86b.",
    "items set on it": b"\x80\x02ctorch\nSize\nK\x01K\x02s.",
    "a type called that is only named": b"\x80\x02cnumpy\nndarray\n(K\x01tR.",
    "a value called": b"\x80\x02]K\x01\x85R.",
    "a type rebuilt on another base": b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\ncnumpy\nndarray\nNtR.",
    "a dotted path into an accepted module": b"\x80\x04\x8c\x05torch\x8c\x0fstorage.os.path\x93.",
    "an extension code": b"\x80\x02\x82\x01.",
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
    "a bare type": b"\x80\x02cnumpy\nndarray\n.",
    "a frame that lies": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    "text of absurd length": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc",
    "bytes of absurd length": b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00abc",
    "a memo of absurd length": b"\x80\x02Nr\xff\xff\xff\xff0",
    "a deep key": b"\x80\x02}" + DEEP + b"K\x01s.",
    "a deep key among many": b"\x80\x02}(K\x01K\x01" + DEEP + b"K\x01u.",
    "a deep key from the start": b"\x80\x02(" + DEEP + b"K\x01d.",
    "a deep member of a set": b"\x80\x04\x8f(" + DEEP + b"\x90.",
    "a deep member of a frozen set": b"\x80\x04(" + DEEP + b"\x91.",
    "a deep key of a storage": OLD_TORCH + b"\x80\x02]" + DEEP + b"a.",
    "many zeros": b"\x80\x02c__builtin__\nbytes\nJ\x00\x00\x00\x10\x85R.",
    "deep nesting": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
}


@pytest.mark.parametrize("abuse", ABUSES)
def test_accepted_globals_cannot_be_abused(read, abuse):
    with pytest.raises(CorruptFileError):
        read(ABUSES[abuse])
    assert read(pickle.dumps(TENSOR.size(), 2)) == (2, 3, 4)


def bad_sparse() -> object:
    matrix = sparse.csc_matrix(MATRIX)
    matrix.indices = matrix.indices + 1_000_000
    return matrix


def rebuilt(storage_size: int, offset: int, size: tuple, strides: tuple) -> object:
    return view(np.arange(storage_size, dtype=np.float32), offset, size, strides)


def view(storage: object, offset: int, size: tuple, strides: tuple) -> object:
    return Planted(torch._utils._rebuild_tensor, storage, offset, size, strides)


@pytest.mark.parametrize(
    "make",
    [
        bad_sparse,
        lambda: rebuilt(4, 0, (3,), (2,)),
        lambda: rebuilt(4, 2, (3,), (1,)),
        lambda: rebuilt(4, 2, (2,), (-1,)),
        lambda: rebuilt(4, -1, (2,), (1,)),
        lambda: rebuilt(4, 0, (10**12,), (0,)),
        lambda: view(rebuilt(1000, 999, (1000,), (0,)), 0, (1000,), (1,)),
        lambda: rebuilt(4, 0, (np.int64(3),), (np.int64(2**63 - 1),)),
        lambda: Planted(np.dtype, "i4,f8"),
        lambda: np.zeros(2, [("a", "f4"), ("b", "i2")]),
        lambda: Planted(STORAGE, b"nothing of torch"),
        lambda: Planted(SCALAR, np.dtype("O"), b"12345678"),
    ],
)
def test_arrays_stay_within_their_data(read, make):
    with pytest.raises(CorruptFileError):
        read(pickle.dumps(make(), 2))


def test_only_torchs_references_are_followed(read):
    stream = io.BytesIO()
    Persistent(stream, 2).dump([Planted(print)])
    with pytest.raises(CorruptFileError, match="refers to something outside"):
        read(stream.getvalue())


def small_files() -> list[bytes]:
    value = {"a": MATRIX, "s": sparse.csc_matrix(MATRIX), "t": TENSOR, "n": [1, "x", OrderedDict(b=np.float32(2))]}
    return [pickle.dumps(value, 2), pickle.dumps(value, 5), torch_file(value["t"], False), torch_file(value["t"], True)]


@pytest.mark.parametrize("k", range(4))
def test_truncated_files_are_one_clear_error(read, k):
    stored = small_files()[k]
    for length in [0, 1, 2, *range(5, len(stored) - 1, max(1, len(stored) // 60)), len(stored) - 1]:
        with pytest.raises(CorruptFileError, match=r"model\.pkl: "):
            read(stored[:length])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("k", range(4))
def test_damaged_files_end_in_a_value_or_a_clear_error(read, k):
    generator = rng(0, "tests/pickles", k)
    stored = np.frombuffer(small_files()[k], np.uint8)
    refused = 0
    for _ in range(400):
        damaged = stored.copy()
        damaged[generator.integers(len(stored), size=3)] = generator.integers(256, size=3)
        try:
            read(damaged.tobytes())
        except CorruptFileError:
            refused += 1
    assert refused > 40


def test_other_files_and_none(read, tmp_path):
    with pytest.raises(MissingAssetError, match="no such file"):
        read_pickle(tmp_path / "absent.pkl")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "no tensors")
    for data in (b"", b"<html>not found</html>", stream.getvalue()):
        with pytest.raises(CorruptFileError, match="not a pickle"):
            read(data)


def test_reading_needs_no_torch_and_no_chumpy(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(TENSOR))
    code = (
        "import sys; sys.modules['torch'] = sys.modules['chumpy'] = None\n"
        "from handgap.core.pickles import read_pickle\n"
        f"print(read_pickle({str(path)!r}).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(2, 3, 4)", done.stderr
