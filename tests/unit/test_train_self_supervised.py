"""Training from detected joints: what it sees, what it must not see, and what it starts from."""

import json

import numpy as np
import pytest
import torch
from handgap.core.config.networks import CmrNetwork, HourglassSize, S2HandNetwork, SimpleHandNetwork
from handgap.core.config.train import Train
from handgap.core.conventions import Side
from handgap.core.errors import ConfigError, CorruptFileError
from handgap.core.geometry import project
from handgap.core.store import write_store
from handgap.data.augment import Augmentation, training_sample
from handgap.data.batches import Mixture, Source
from handgap.data.detected import Detected, DetectedSamples, detected_sample
from handgap.data.samples import Samples
from handgap.networks.build import build
from handgap.train import step
from handgap.train.model_file import load_model, save_model, start_from
from toy_meshes import toy_hierarchy
from toys import toy_columns, toy_hand
from typer.testing import CliRunner

SIZE = HourglassSize(depth=2, modules=1, features=8)
SETTINGS = Train(image_size=64, batch=4, epochs=2, validation=0.2)
COMMON = {"study": "t", "seed": 0, "code": "-", "config": "-"}


def network(stage, **others):
    values = {"backbone": "test_efficientnet", "pretrained": False, "hourglass": SIZE, "render_size": 32}
    return S2HandNetwork(stage=stage, **(values | others))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Drawn hands, the same without labels, and joints detected in all but two of them."""
    folder = tmp_path_factory.mktemp("detected")
    hand = toy_hand(folder / "hand.npz")
    columns = toy_columns(hand, range(10))
    write_store(folder / "real.h5", columns, **COMMON)
    for name in ("joints", "vertices"):
        columns[name] = np.full_like(columns[name], np.nan)
    write_store(folder / "unlabelled.h5", columns, **COMMON)
    with_labels = toy_columns(hand, range(10))
    seen = project(with_labels["joints"], with_labels["K"]) + np.random.default_rng(0).normal(0, 2, (10, 21, 2))
    valid = np.arange(10) % 5 > 0
    seen[~valid] = np.nan
    found = {
        "id": columns["id"],
        "keypoints": seen.astype(np.float32),
        "confidence": np.where(valid[:, None], 0.9, 0.0).astype(np.float32).repeat(21, 1),
        "valid": valid,
    }
    write_store(folder / "keypoints.h5", found, **COMMON)
    return folder


@pytest.fixture(scope="module")
def hand(folder):
    return toy_hand(folder / "hand.npz")


@pytest.mark.parametrize("side", list(Side))
def test_crop_around_projected_joints_is_that_of_the_joints(folder, side):
    sample = Samples([folder / "real.h5"])[3]._replace(side=side)
    seen = project(sample.joints, sample.K)
    detected = Detected(sample.id, sample.image, sample.K, side, seen, np.ones(21))
    augmentation = Augmentation(angle=0.4, zoom=0.9, shift=(0.05, -0.02), contrast=1.2, gain=(0.9, 1.0, 1.1))
    found, labelled = (
        make(one, 64, 1.25, augmentation) for make, one in ((detected_sample, detected), (training_sample, sample))
    )
    assert set(found) == {"image", "keypoints", "confidence", "K", "id"}
    np.testing.assert_allclose(found["keypoints"], labelled["uv"], atol=1e-5)
    np.testing.assert_allclose(found["K"], labelled["K"], rtol=1e-5)
    np.testing.assert_allclose(found["image"], labelled["image"], atol=0.02)


def test_batches_hold_no_label_and_only_images_with_a_detection(folder):
    samples = DetectedSamples([folder / "unlabelled.h5"], [folder / "keypoints.h5"])
    assert samples.valid.tolist() == [False, True, True, True, True] * 2
    batches = [batch.data for batch in Mixture([Source(samples, False, 1.0)], SETTINGS, 0).batches(0)]
    assert set(batches[0]) == {"image", "keypoints", "confidence", "K", "id", "synthetic"}
    assert sorted(torch.cat([batch["id"] for batch in batches]).tolist()) == [1, 2, 3, 4, 6, 7, 8, 9]
    for batch in batches:
        assert all(value.isfinite().all() for value in batch.values())


def test_keypoints_of_other_samples_are_refused(folder, hand, tmp_path):
    write_store(tmp_path / "other.h5", toy_columns(hand, range(5, 15)), **COMMON)
    with pytest.raises(CorruptFileError, match="exactly these shards"):
        DetectedSamples([tmp_path / "other.h5"], [folder / "keypoints.h5"])


def train(folder, out, stage, shards, initial=(), keypoints=True, **others):
    source = {"synthetic": False, "shards": [str(folder / shards)]}
    source |= {"keypoints": [str(folder / "keypoints.h5")]} if keypoints else {}
    command = ["--source", json.dumps(source), "--network", network(stage, **others).model_dump_json()]
    command += ["--annotation-hand", folder / "hand.npz", "--settings", SETTINGS.model_dump_json()]
    command += ["--state", out / "state", "--out", out / f"{stage}.pt", "--curves", out / f"{stage}.csv"]
    command += [part for name in initial for part in ("--initial", out / f"{name}.pt")]
    command += ["--run-seed", "0", "--study", "t", "--seed", "0", "--code", "-"]
    CliRunner().invoke(step.app, [str(part) for part in command], catch_exceptions=False)
    return torch.load(out / f"{stage}.pt", weights_only=True)["weights"]


def test_labels_change_nothing_in_any_stage(folder, tmp_path):
    pytest.importorskip("pytorch3d")
    with_labels, without = tmp_path / "with", tmp_path / "without"
    for stage, initial in (("shape", ()), ("kp", ()), ("finetune", ("shape", "kp")), ("e2e", ())):
        a = train(folder, with_labels, stage, "real.h5", initial)
        b = train(folder, without, stage, "unlabelled.h5", initial)
        assert a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())
        assert all(value.isfinite().all() for value in a.values())
    header = (without / "finetune.csv").read_text().splitlines()[0].split(",")
    assert "val_open_2dj" in header and "val_texture" in header
    assert not [name for name in header if "mpjpe" in name]


def test_a_network_starts_from_all_that_fits(hand, tmp_path):
    torch.manual_seed(0)
    parts = {}
    for stage in ("shape", "kp"):
        parts[stage] = build(network(stage), hand, None, 64)
        save_model(tmp_path / f"{stage}.pt", parts[stage], network(stage), 64, 1.25, {"config": "-"})
    both = build(network("finetune"), hand, None, 64)
    before = both.weights()["skin.light.0.weight"].clone()
    start_from(both, [tmp_path / "shape.pt", tmp_path / "kp.pt"])
    for part in parts.values():
        assert all(torch.equal(value, both.weights()[name]) for name, value in part.weights().items())
    assert torch.equal(both.weights()["skin.light.0.weight"], before)
    other = SimpleHandNetwork(backbone="test_convnext", pretrained=False)
    with pytest.raises(ConfigError, match="nothing in it fits"):
        start_from(build(other, hand, None, 64), [tmp_path / "kp.pt"])
    assert load_model(tmp_path / "kp.pt", hand)[0].settings.stage == "kp"


def test_all_backbones_of_a_cascade_start_from_one(hand, tmp_path):
    settings = network("supervised")
    single = build(settings, hand, None, 64)
    save_model(tmp_path / "single.pt", single, settings, 64, 1.25, {"config": "-"})
    cmr = CmrNetwork(backbone=settings.backbone, pretrained=False, channels=(8, 8))
    cascade = build(cmr, hand, None, 64, toy_hierarchy(hand.faces))
    start_from(cascade, [tmp_path / "single.pt"])
    model, own = single.backbone.model.state_dict(), cascade.backbone
    for name, value in model.items():
        holders = [part for part in (own.stem, own.first.model, *own.trunks) if name in part.state_dict()]
        assert len(holders) == (1 if name in own.stem.state_dict() else 2)
        assert all(torch.equal(value, part.state_dict()[name]) for part in holders)


def test_keypoints_belong_to_networks_that_learn_from_them(folder, tmp_path):
    with pytest.raises(ConfigError, match="learns from labels"):
        train(folder, tmp_path, "supervised", "real.h5")
    with pytest.raises(ConfigError, match="learns from detected 2D joints"):
        train(folder, tmp_path, "shape", "real.h5", keypoints=False)
