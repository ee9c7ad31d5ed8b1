"""A shard taken up after a kill is the shard made at one go, whatever the kill has left."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
from handgap.core.errors import HandgapError
from handgap.core.files import half_written, written_whole
from handgap.core.images import encode_mask
from handgap.render.shard import complete, kept


def make(k):
    return {
        "id": np.int64(k),
        "mask": encode_mask(np.full((3 + k, 4), k)),
        "joints": np.full((21, 3), k, np.float32),
        "hdri": f"map{k}",
        "flag": "",
        "valid": True,
    }


def assert_same(columns, others):
    assert set(columns) == set(others)
    for name, column in columns.items():
        for a, b in zip(column, others[name], strict=True):
            np.testing.assert_array_equal(a, b)


def test_killed_shard_goes_on(tmp_path):
    whole = complete(range(5), make, tmp_path / "whole", "test")
    calls = []

    def killed(k):
        calls.append(k)
        if calls == [0, 1, 2]:
            raise KeyboardInterrupt
        return make(k)

    with pytest.raises(KeyboardInterrupt):
        complete(range(5), killed, tmp_path / "rows", "test")
    (tmp_path / "rows" / "3.tmp").write_bytes(b"half a row")
    assert_same(complete(range(5), killed, tmp_path / "rows", "test"), whole)
    assert calls == [0, 1, 2, 2, 3, 4]


def test_columns_are_what_a_store_takes(tmp_path):
    columns = complete(range(3), make, tmp_path, "test")
    assert columns["joints"].shape == (3, 21, 3) and columns["joints"].dtype == np.float32
    assert columns["hdri"] == ["map0", "map1", "map2"] and columns["flag"] == ["", "", ""]
    assert columns["valid"].dtype == bool and columns["id"].dtype == np.int64
    assert [m.dtype for m in columns["mask"]] == [np.uint8] * 3


def test_damaged_rows_are_made_again(tmp_path):
    whole = complete(range(2), make, tmp_path, "test")
    path = tmp_path / "1.npz"
    written, generator, calls = path.read_bytes(), np.random.default_rng(0), []

    def counted(k):
        calls.append(k)
        return make(k)

    cuts = [b"", written[:-1], written[: len(written) // 2], bytes(len(written)), written + b"\0"]
    for place in generator.integers(len(written), size=50):
        flipped = bytearray(written)
        flipped[place] ^= int(generator.integers(1, 256))
        cuts.append(bytes(flipped))
    for cut in cuts:
        path.write_bytes(cut)
        assert_same(complete(range(2), counted, tmp_path, "test"), whole)
        assert path.read_bytes() == written
    assert calls == [1] * len(cuts)


def test_state_goes_when_the_shard_is_written_and_only_then(tmp_path):
    state, out = tmp_path / "state", tmp_path / "out.h5"
    stale = state / "of other settings" / "0.npz"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"a row")
    with pytest.raises(KeyboardInterrupt), kept(state, out):
        complete(range(2), make, state / "rows", "test")
        raise KeyboardInterrupt
    assert sorted(path.name for path in (state / "rows").iterdir()) == ["0.npz", "1.npz"]
    with kept(state, out):
        out.touch()
    assert list(tmp_path.iterdir()) == [out]


def _dies_writing(state, out):
    with kept(state, out), written_whole(out) as temporary:
        temporary.write_bytes(b"half a shard")
        os.kill(os.getpid(), signal.SIGKILL)


def test_one_process_at_a_time_and_a_dead_one_is_none(tmp_path):
    state, out = tmp_path / "state", tmp_path / "out.h5"
    with kept(state, out):
        with pytest.raises(HandgapError, match=r"out\.h5: another process works on it"), kept(state, out):
            pass
        assert state.exists()
    process = multiprocessing.get_context("spawn").Process(target=_dies_writing, args=(state, out))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL and len(half_written(out)) == 1
    with kept(state, out):
        assert not half_written(out)
    assert not list(tmp_path.iterdir())
