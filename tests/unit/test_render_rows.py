"""A sample that fails keeps its place: its row has every column of a good one, in the same shape, and a picture."""

from pathlib import Path

import numpy as np
import pytest
from handgap.core.config.dataset import Dataset
from handgap.core.config.render import Render
from handgap.core.images import decode_depth, decode_mask, decode_rgb
from handgap.core.store import Store, write_store
from handgap.render.labels import NEAR
from handgap.render.shard import ENCODED, complete
from handgap.render.spec import GeometryError

pytest.importorskip("bpy", reason="Blender's Python module is not installed")
MODELS = Path(__file__).parents[2] / "results" / "models"
NIMBLE, MANO = MODELS / "open_nimble.npz", MODELS / "open_mano.npz"
pytestmark = pytest.mark.skipif(
    not (NIMBLE.exists() and MANO.exists()),
    reason="needs results/models/open_{nimble,mano}.npz (snakemake makes them)",
)
SIZE, MAPS = 64, [Path("maps/a.exr")]


class Grey:
    """Draws nothing."""

    def render(self, spec):
        return np.full((spec.height, spec.width, 3), 0.2, np.float32)

    def albedo(self, skin):
        return np.full(3, 0.3)


def write(make, count, folder):
    """The columns of a shard, written and read again."""
    columns = complete(range(count), make, folder / "rows", "test")
    write_store(folder / "shard.h5", columns, study="toy", seed=0, code="", config="")
    with Store(folder / "shard.h5") as store:
        return {name: store.column(name) for name in store.names}


def assert_alike(good, bad):
    assert good.keys() == bad.keys()
    for name, value in good.items():
        if name not in ENCODED:
            a, b = np.asarray(value), np.asarray(bad[name])
            assert a.shape == b.shape and a.dtype.kind == b.dtype.kind, name
            assert a.dtype == b.dtype or a.dtype.kind == "U", name


def assert_grey(columns, row, flag):
    assert columns["id"].tolist() == list(range(len(columns["id"])))
    assert not columns["valid"][row] and columns["flag"][row] == flag and columns["skin"][row] == -1
    picture = decode_rgb(columns["image"][row])
    assert picture.shape == (SIZE, SIZE, 3) and np.ptp(picture) == 0
    for blank in (decode_mask(columns["mask"][row]), decode_depth(columns["depth"][row])):
        assert blank.shape == (SIZE, SIZE) and not blank.any()
    assert not columns["visibility"][row].any()


def test_proxy_real_row_that_cannot_be_made(tmp_path, monkeypatch):
    from handgap.render.objects import random_object
    from handgap.render.proxy import ProxyScenes
    from handgap.render.proxyreal import proxy_row

    settings = Dataset(held_object_ratio=1.0)
    hands = {"render_hand": NIMBLE, "annotation_hand": MANO, "skins": [0], "hdris": MAPS, "objects": [random_object]}
    scenes = ProxyScenes("proxyfrei", "train", settings, **hands, size=SIZE, seed=0)
    original = ProxyScenes.sample

    def sample(self, number):
        if number == 1:
            raise GeometryError("vertices are not finite")
        return original(self, number)

    monkeypatch.setattr(ProxyScenes, "sample", sample)
    rows = [proxy_row(number, scenes, Grey(), settings, SIZE, 0) for number in range(3)]
    assert rows[0]["valid"] and rows[2]["valid"]
    assert_alike(rows[0], rows[1])
    assert_grey(write(rows.__getitem__, 3, tmp_path), 1, "vertices are not finite")


class Skins:
    def coefficients(self, index):
        return np.zeros(10, np.float32)


def test_synthetic_row_of_a_fit_that_failed_or_a_hand_out_of_sight(tmp_path):
    from handgap.render.synthetic import SyntheticShard

    count = 3
    zeros = {"pose": 48, "shape": 10, "trans": 3, "render_pose": 60, "render_shape": 20}
    columns = {name: np.zeros((count, width), np.float32) for name, width in zeros.items()} | {
        "id": np.arange(count),
        "K": np.tile(np.float32([[100, 0, SIZE / 2], [0, 100, SIZE / 2], [0, 0, 1]]), (count, 1, 1)),
        "joints": np.tile(np.float32([0, 0, 0.5]), (count, 21, 1)),
        "vertices": np.zeros((count, 778, 3), np.float32),
        "side": np.zeros(count, np.uint8),
        "render_trans": np.float32([[0, 0, 0.5], [0, 0, 0.5], [0, 0, NEAR - 1.0]]),
        "residual_mm": np.zeros(count, np.float32),
        "valid": np.array([True, False, True]),
        "flag": ["", "residual 7.1 mm", ""],
    }
    write_store(tmp_path / "fit.h5", columns, study="toy", seed=0, code="", config="")
    with Store(tmp_path / "fit.h5") as fit:
        shard = SyntheticShard(fit, NIMBLE, Skins(), MAPS, Render(size=SIZE), 0, "toy/train")
    rows = [shard.row(k, Grey()) for k in range(count)]
    assert rows[0]["valid"]
    for bad in rows[1:]:
        assert_alike(rows[0], bad)
    written = write(rows.__getitem__, count, tmp_path)
    assert_grey(written, 1, "residual 7.1 mm")
    assert_grey(written, 2, "no pixel shows the hand")
    np.testing.assert_array_equal(written["K"], columns["K"])
