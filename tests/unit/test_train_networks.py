"""Networks that need more than images and joints: masks and a mesh hierarchy, from shards to predictions."""

import numpy as np
import pytest
from handgap.core.config.networks import CmrNetwork, GraphormerNetwork
from handgap.core.config.train import Train
from handgap.core.conventions import MaskLabel
from handgap.core.errors import ConfigError
from handgap.core.images import encode_mask
from handgap.core.store import Store, write_store
from handgap.data.augment import Augmentation, training_sample
from handgap.data.samples import Samples
from handgap.train import predict_step, step
from toy_meshes import toy_hierarchy
from toys import toy_columns, toy_hand
from typer.testing import CliRunner

SIZE = 160
COMMON = ["--study", "test", "--seed", "0", "--code", "abc"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    hand = toy_hand(folder / "hand.npz")
    toy_hierarchy(hand.faces).save(folder / "hierarchy.npz", {})
    columns = toy_columns(hand, range(6), SIZE)
    across, down = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    masks = []
    for joints, K in zip(columns["joints"], columns["K"], strict=True):
        x, y, _ = K @ (joints[9] / joints[9, 2])
        mask = np.full((SIZE, SIZE), MaskLabel.ARM, np.uint8)
        mask[np.hypot(across + 0.5 - x, down + 0.5 - y) < 12] = MaskLabel.HAND
        masks.append(encode_mask(mask))
    write_store(folder / "a.h5", {**columns, "mask": masks}, study="test", seed=0, code="-", config="-")
    return folder


def test_masks_follow_their_image(folder):
    samples = Samples([folder / "a.h5"], masks=True)
    for augmentation in (Augmentation(), Augmentation(angle=1.0, zoom=0.8, shift=(0.1, -0.1))):
        sample = training_sample(samples[2], 96, 1.25, augmentation)
        mask = sample["mask"]
        assert mask.shape == (96, 96) and mask.dtype == np.float32
        assert mask.min() >= 0 and mask.max() == pytest.approx(1)
        rows, columns = np.nonzero(mask > 0.5)
        centre = np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / 96
        np.testing.assert_allclose(centre, sample["uv"][9], atol=0.01)
    assert "mask" not in training_sample(Samples([folder / "a.h5"])[2], 96, 1.25)


def arguments(folder, tmp_path, network):
    source = f'{{"synthetic": false, "shards": ["{folder / "a.h5"}"]}}'
    settings = Train(image_size=64, batch=3, epochs=1).model_dump_json()
    run = ["--source", source, "--network", network.model_dump_json(), "--annotation-hand", folder / "hand.npz"]
    run += ["--settings", settings, "--state", tmp_path / "state", "--out", tmp_path / "model.pt"]
    return [*map(str, [*run, "--curves", tmp_path / "curves.csv", "--run-seed", "1"]), *COMMON]


@pytest.mark.parametrize(
    ("network", "terms"),
    [
        (CmrNetwork(backbone="test_efficientnet", pretrained=False, channels=(16, 8)), "vertices,uv,mask,normal,edge"),
        (
            GraphormerNetwork(backbone="test_efficientnet", pretrained=False, widths=(16, 8), layers=1),
            "coarse,vertices,joints,uv,mesh_joints,mesh_uv",
        ),
    ],
    ids=["cmr", "graphormer"],
)
def test_commands_with_a_hierarchy(folder, tmp_path, network, terms):
    runner, hierarchy = CliRunner(), ["--hierarchy", str(folder / "hierarchy.npz")]
    with pytest.raises(ConfigError, match="mesh hierarchy"):
        runner.invoke(step.app, arguments(folder, tmp_path, network), catch_exceptions=False)
    runner.invoke(step.app, [*arguments(folder, tmp_path, network), *hierarchy], catch_exceptions=False)
    header = (tmp_path / "curves.csv").read_text().splitlines()[0]
    measured = ["loss", *terms.split(","), "pa_mpjpe_mm"]
    assert header.split(",") == ["epoch", "learning_rate", *measured, *(f"val_{name}" for name in measured)]
    files = [folder / "a.h5", "--model", tmp_path / "model.pt", "--annotation-hand", folder / "hand.npz"]
    command = [*map(str, [*files, "--out", tmp_path / "pred.h5"]), *COMMON, *hierarchy]
    runner.invoke(predict_step.app, command, catch_exceptions=False)
    with Store(tmp_path / "pred.h5") as store:
        assert np.isfinite(store.column("vertices")).all()
