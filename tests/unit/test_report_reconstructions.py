"""The sheet of reconstructions: what was given, and the hand over it."""

import numpy as np
import pytest
import torch
from handgap.core.config.networks import HourglassSize, S2HandNetwork
from handgap.core.errors import ConfigError
from handgap.data.augment import training_sample
from handgap.data.samples import Samples
from handgap.networks.build import build
from handgap.report import reconstructions_step
from handgap.report.reconstructions import reconstruction_tiles
from handgap.train.model_file import save_model
from PIL import Image
from toys import toy_hand, toy_store
from typer.testing import CliRunner

pytest.importorskip("pytorch3d")


def settings(stage):
    size = HourglassSize(depth=1, modules=1, features=8)
    return S2HandNetwork(stage=stage, backbone="test_efficientnet", pretrained=False, hourglass=size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reconstructions")
    toy_store(folder / "real.h5", toy_hand(folder / "hand.npz"), range(3))
    return folder


def test_pairs_show_the_crop_and_the_hand_over_it(folder):
    network = build(settings("finetune"), toy_hand(folder / "hand.npz"), None, 64).eval()
    tiles = reconstruction_tiles(network, 64, 1.25, [folder / "real.h5"], shown=2)
    assert [tile.caption.split(":")[0] for tile in tiles[::2]] == ["id 0", "id 2"]
    given = training_sample(Samples([folder / "real.h5"])[2], 64, 1.25)
    np.testing.assert_allclose(tiles[2].rgb / 255.0, given["image"].transpose(1, 2, 0), atol=0.003)
    with torch.no_grad():
        images, K = (torch.from_numpy(given[name])[None] for name in ("image", "K"))
        prediction = network(images, K, for_loss=True)
        rendered, silhouette = network.render(prediction, K, 64, 64)
    hand = silhouette[0].numpy() > 0
    assert 0.02 < hand.mean() < 0.9
    assert (tiles[3].rgb[~hand] == tiles[2].rgb[~hand]).all()
    np.testing.assert_allclose(tiles[3].rgb[hand] / 255.0, rendered[0, :, hand].T.clip(0, 1), atol=0.003)


def test_command(folder, tmp_path):
    hand = toy_hand(folder / "hand.npz")
    for stage in ("finetune", "kp"):
        save_model(tmp_path / f"{stage}.pt", build(settings(stage), hand, None, 64), settings(stage), 64, 1.25, {})
    options = ["--truth", folder / "real.h5", "--annotation-hand", folder / "hand.npz", "--title", "toy"]
    options = [*map(str, options), "--out", str(tmp_path / "sheet.png")]
    runner = CliRunner()
    runner.invoke(reconstructions_step.app, [str(tmp_path / "finetune.pt"), *options], catch_exceptions=False)
    assert Image.open(tmp_path / "sheet.png").size[0] > 640
    with pytest.raises(ConfigError, match="no colours"):
        runner.invoke(reconstructions_step.app, [str(tmp_path / "kp.pt"), *options], catch_exceptions=False)
