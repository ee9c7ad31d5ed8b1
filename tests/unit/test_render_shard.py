"""A shard taken up after a kill is the shard made at one go."""

import numpy as np
import pytest
from handgap.core.images import encode_mask
from handgap.render.shard import complete, discard


def make(k):
    return {
        "id": np.int64(k),
        "mask": encode_mask(np.full((3 + k, 4), k)),
        "joints": np.full((21, 3), k, np.float32),
        "hdri": f"map{k}",
        "flag": "",
        "valid": True,
    }


def test_killed_shard_goes_on(tmp_path):
    whole = complete(range(5), make, tmp_path / "whole", "test")
    calls = []

    def killed(k):
        calls.append(k)
        if calls == [0, 1, 2]:
            raise KeyboardInterrupt
        return make(k)

    with pytest.raises(KeyboardInterrupt):
        complete(range(5), killed, tmp_path / "state", "test")
    (tmp_path / "state" / "3.tmp").write_bytes(b"half a row")
    resumed = complete(range(5), killed, tmp_path / "state", "test")
    assert calls == [0, 1, 2, 2, 3, 4]
    assert set(resumed) == set(whole)
    for name, column in whole.items():
        for a, b in zip(column, resumed[name], strict=True):
            np.testing.assert_array_equal(a, b)
    discard(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_columns_are_what_a_store_takes(tmp_path):
    columns = complete(range(3), make, tmp_path, "test")
    assert columns["joints"].shape == (3, 21, 3) and columns["joints"].dtype == np.float32
    assert columns["hdri"] == ["map0", "map1", "map2"] and columns["flag"] == ["", "", ""]
    assert columns["valid"].dtype == bool and columns["id"].dtype == np.int64
    assert [m.dtype for m in columns["mask"]] == [np.uint8] * 3
