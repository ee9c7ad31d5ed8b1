import os

import numpy as np
import pytest
from handgap.core.errors import CorruptFileError
from handgap.core.seeds import rng
from handgap.core.store import ShardedStore, write_store
from handgap.data import rows as rows_module
from handgap.data.rows import Rows

# below, at and above the size of a heap collection: small files share one, large ones have their own
SIZES = [1, 7, 8, 9, 300, 3000, 4060, 4064, 4072, 4096, 5000, 40_000]


def shard(path, first, count):
    generator = rng(0, "tests/rows", first)
    ids = np.arange(first, first + count)
    encoded = {
        name: [generator.integers(0, 256, size, dtype=np.uint8) for size in generator.choice(SIZES, count)]
        for name in ("image", "mask")
    }
    fixed = {
        "id": ids,
        "valid": ids % 3 > 0,
        "K": generator.normal(size=(count, 3, 3)).astype(np.float32),
        "side": generator.integers(0, 2, count).astype(np.uint8),
        "flag": ["" if k % 2 else "reason" for k in ids],
    }
    write_store(path, fixed | encoded, study="t", seed=0, code="-", config="-")
    return path


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    return [shard(folder / f"{k}.h5", 100 * k, count) for k, count in enumerate((40, 1, 25, 60))]


def test_every_row_is_what_hdf5_reads(shards):
    names = ("image", "mask", "K", "side")
    rows = Rows(shards, names)
    with ShardedStore(shards) as store:
        np.testing.assert_array_equal(rows.ids, store.column("id"))
        np.testing.assert_array_equal(rows.valid, store.column("valid"))
        assert rows.digests == store.digests
        for row in rng(0, "tests/order").permutation(len(store)).tolist():
            for name in names:
                found, expected = rows.read(name, row), store.row(name, row)
                assert found.dtype == expected.dtype and found.shape == expected.shape
                np.testing.assert_array_equal(found, expected)
            assert rows.origin(row) == store.origin(row)


def test_few_files_are_open_at_a_time(shards, monkeypatch):
    monkeypatch.setattr(rows_module, "OPEN_FILES", 2)
    before = len(os.listdir("/proc/self/fd"))
    rows = Rows(shards, ["K"])
    for row in (0, 45, 90, 40, 100, 3):
        rows.read("K", row)
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    del rows
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fork_reads_the_same_rows(shards):
    rows = Rows(shards, ["image"])
    expected = rows.read("image", 5)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(rows.read("image", 5), expected) and len(rows.read("image", 120)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(rows.read("image", 5), expected)


@pytest.mark.parametrize("column", ["depth", "flag"])
def test_a_column_that_is_not_there_or_is_text_is_named(shards, column):
    with pytest.raises(CorruptFileError, match=rf"0\.h5.*'{column}'"):
        Rows(shards, [column])


def test_a_file_that_changed_underneath_is_named(shards, tmp_path):
    path = shard(tmp_path / "cut.h5", 0, 30)
    rows = Rows([path], ["image"])
    content = path.read_bytes()
    path.write_bytes(content.replace(b"GCOL", b"LOCG"))
    with pytest.raises(CorruptFileError, match=r"cut\.h5.*no encoded file"):
        rows.read("image", 3)
    path.write_bytes(content[:3000])
    with pytest.raises(CorruptFileError, match=r"cut\.h5.*ends before"):
        rows.read("image", 29)
