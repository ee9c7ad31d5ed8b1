"""The sheet of predictions: true joints, predicted joints, predicted mesh."""

import numpy as np
import pytest
from handgap.core.images import decode_rgb
from handgap.core.store import ShardedStore, Store, write_store
from handgap.report import step
from handgap.report.draw import draw_mesh
from handgap.report.gallery import prediction_tiles
from PIL import Image
from toys import toy_hand, toy_store
from typer.testing import CliRunner

SHIFT = np.array([0.03, -0.02, 0.1])  # a prediction elsewhere is shown at the true root


@pytest.fixture
def folder(tmp_path):
    hand = toy_hand(tmp_path / "hand.npz")
    toy_store(tmp_path / "real.h5", hand, range(3))
    with Store(tmp_path / "real.h5") as real:
        columns = {name: real.column(name) for name in ("id", "joints", "vertices", "valid")}
    columns["joints"], columns["vertices"] = columns["joints"] + SHIFT, columns["vertices"] + SHIFT
    columns["vertices"][1, 5, 2] = -0.1  # behind the camera
    columns["valid"] = np.array([True, True, False])
    write_store(tmp_path / "pred.h5", columns, study="t", seed=0, code="-", config="-")
    return tmp_path


def test_three_pictures_of_every_valid_prediction(folder):
    faces = np.asarray(toy_hand(folder / "hand.npz").faces)
    tiles = prediction_tiles(folder / "pred.h5", [folder / "real.h5"], faces)
    assert [tile.caption for tile in tiles[:3]] == ["id 0: truth", "predicted, PA error 0.0 mm", "predicted mesh"]
    assert len(tiles) == 6
    with ShardedStore([folder / "real.h5"]) as real:
        for row, (truth, predicted, mesh) in enumerate((tiles[:3], tiles[3:])):
            rgb, K = decode_rgb(real.row("image", row), "real.h5"), real.row("K", row)
            np.testing.assert_array_equal(predicted.rgb, truth.rgb)
            painted = (mesh.rgb != rgb).any(2)
            exact = draw_mesh(rgb, real.row("vertices", row), faces, K, (255, 255, 255), 1.0)
            assert 0.02 < painted.mean() < 0.9
            shared = painted & (exact != rgb).any(2)
            assert shared.sum() > 0.95 * painted.sum()


def test_command(folder):
    options = ["predictions", folder / "pred.h5", "--truth", folder / "real.h5"]
    options += ["--annotation-hand", folder / "hand.npz", "--title", "toy", "--out", folder / "sheet.png"]
    CliRunner().invoke(step.app, list(map(str, options)), catch_exceptions=False)
    assert Image.open(folder / "sheet.png").size[0] > 1000
