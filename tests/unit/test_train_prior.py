import csv

import numpy as np
import pytest
import torch
from handgap.core.config.prior import Prior
from handgap.core.conventions import Side
from handgap.core.errors import ConfigError, CorruptFileError, MissingAssetError
from handgap.core.geometry import mirrored_left
from handgap.core.seeds import rng
from handgap.core.store import ShardedStore, Store, write_store
from handgap.networks.occlusion_prior import OcclusionPrior
from handgap.train import prior_step
from handgap.train.model_file import write_torch
from handgap.train.prior import (
    drawn_hands,
    labelled_hands,
    load_prior,
    refine,
    save_prior,
    train_prior,
    turned_in_plane,
)
from toys import toy_hand, toy_store
from typer.testing import CliRunner

FAST = Prior(epochs=3, batch=16)
PROVENANCE = {"study": "t", "seed": 0, "code": "c", "config": "s"}


def curled(count, seed=0):
    """Hands of one degree of freedom: fingers of 3 x 3 cm that curl alike, without noise, relative to the wrist."""
    curl = rng(seed, "tests/curled").uniform(0, 1.2, count)
    joints = np.zeros((count, 21, 3))
    for finger in range(5):
        joints[:, 4 * finger + 1] = [0.02 * finger - 0.04, 0.08, 0.0]
        for k in range(1, 4):
            step = 0.03 * np.stack([0 * curl, np.cos(k * curl), np.sin(k * curl)], 1)
            joints[:, 4 * finger + 1 + k] = joints[:, 4 * finger + k] + step
    return joints.astype(np.float32)


def test_left_hands_are_learnt_as_right_ones_and_invalid_ones_not_at_all(tmp_path):
    joints = rng(0, "tests/hands").normal((0, 0, 0.6), 0.04, (4, 21, 3)).astype(np.float32)
    mirrored = joints * np.float32([-1, 1, 1])
    side = np.array([Side.RIGHT, Side.LEFT, Side.LEFT, Side.RIGHT], np.uint8)
    columns = {"id": np.arange(4), "side": side, "valid": np.array([True, True, True, False])}
    columns["joints"] = np.where((side == Side.LEFT)[:, None, None], mirrored, joints)
    write_store(tmp_path / "a.h5", columns, **PROVENANCE)
    with ShardedStore([tmp_path / "a.h5"]) as store:
        hands = labelled_hands(store)
    np.testing.assert_array_equal(hands, (joints - joints[:, :1])[:3])


def test_turns_in_the_plane_keep_depth_and_lengths_within_the_limit():
    hands = torch.from_numpy(curled(4000))
    settings = Prior(rotation_ratio=0.6, rotation_std_deg=30, rotation_limit_deg=60)
    turned = turned_in_plane(hands, settings, torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned[..., 2], hands[..., 2])
    torch.testing.assert_close(turned.norm(dim=-1), hands.norm(dim=-1))
    before, after = (np.arctan2(x[:, 1, 1], x[:, 1, 0]).numpy() for x in (hands, turned))
    angle = np.degrees(after - before)
    assert np.mean(np.abs(angle) > 1e-3) == pytest.approx(0.6, abs=0.04)
    assert np.abs(angle).max() == pytest.approx(60, abs=1e-2)
    inside = (np.abs(angle) > 1e-3) & (np.abs(angle) < 59.9)
    # a normal cut at two standard deviations has 0.88 of the whole one's
    assert angle[inside].std() == pytest.approx(0.88 * 30, rel=0.06)


def test_it_fills_in_hidden_joints_that_the_others_tell():
    settings = Prior(epochs=100, batch=16, learning_rate=1e-3, kl_weight=1e-6, rotation_ratio=0)
    prior, losses = train_prior(curled(64), settings, 0)
    assert losses[-1]["joints"] < 0.1 * losses[0]["joints"]
    hands = torch.from_numpy(curled(64, seed=1))
    hidden = hands.clone()
    hidden[:, [7, 8, 15, 16]] = 0
    with torch.no_grad():
        found = prior(hidden).joints
    error = (found - hands).norm(dim=-1)[:, [7, 8, 15, 16]].mean()
    constant = (hands.mean(0) - hands).norm(dim=-1)[:, [7, 8, 15, 16]].mean()
    assert constant > 0.015 and error < 0.5 * constant


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    weights = [train_prior(curled(40), FAST, seed)[0].state_dict()["decoder.0.weight"] for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_without_hands_it_says_so():
    with pytest.raises(ConfigError, match="no hand to learn from"):
        train_prior(np.zeros((0, 21, 3), np.float32), FAST, 0)


def test_drawn_hands_are_of_the_models_size_and_of_any_view(tmp_path):
    hands = drawn_hands(toy_hand(tmp_path / "hand.npz"), 3000, 0)
    assert hands.shape == (3000, 21, 3) and not hands[:, 0].any()
    palm = np.linalg.norm(hands[:, 9], axis=1)
    assert palm.std() < 0.15 * palm.mean()
    direction = hands[:, 9] / palm[:, None]
    np.testing.assert_allclose(direction.mean(0), 0, atol=0.06)
    np.testing.assert_allclose((direction[:, :, None] * direction[:, None]).mean(0), np.eye(3) / 3, atol=0.03)
    assert drawn_hands(toy_hand(tmp_path / "hand.npz"), 0, 0).shape == (0, 21, 3)


def test_left_predictions_are_refined_as_right_ones():
    torch.manual_seed(0)
    prior, hands = OcclusionPrior().eval(), curled(6)
    left = np.full(6, Side.LEFT)
    refined = refine(prior, mirrored_left(hands, left), left)
    np.testing.assert_allclose(mirrored_left(refined, left), refine(prior, hands, np.zeros(6)), atol=1e-7)


def test_a_written_prior_is_read_back_as_it_was(tmp_path):
    prior = OcclusionPrior("palm").eval()
    save_prior(tmp_path / "p.pt", prior, Prior(frame="palm"), {"config": "s"})
    read, provenance = load_prior(tmp_path / "p.pt")
    assert read.frame == "palm" and not read.training and provenance == {"config": "s"}
    hands = torch.from_numpy(curled(2))
    with torch.no_grad():
        assert torch.equal(read.refine(hands), prior.refine(hands))


def test_files_that_are_no_prior_are_refused_by_name(tmp_path):
    with pytest.raises(MissingAssetError, match=r"p\.pt"):
        load_prior(tmp_path / "p.pt")
    write_torch(tmp_path / "other.pt", {"format": 1, "weights": {}})
    with pytest.raises(CorruptFileError, match="not an occlusion prior"):
        load_prior(tmp_path / "other.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "other.pt").read_bytes()[:100])
    with pytest.raises(CorruptFileError, match=r"cut\.pt"):
        load_prior(tmp_path / "cut.pt")


COMMON = ["--study", "t", "--seed", "0", "--code", "c"]


@pytest.fixture
def trained(tmp_path):
    hand = toy_hand(tmp_path / "hand.npz")
    toy_store(tmp_path / "a.h5", hand, range(6))
    settings = Prior(epochs=2, batch=8, drawn_hands=10).model_dump_json()
    files = ["--annotation-hand", tmp_path / "hand.npz", "--out", tmp_path / "p.pt", "--curves", tmp_path / "c.csv"]
    arguments = ["train", tmp_path / "a.h5", *files, "--settings", settings, *COMMON]
    result = CliRunner().invoke(prior_step.app, list(map(str, arguments)))
    assert result.exit_code == 0, result.exception
    return tmp_path


def refine_step(folder, pred):
    files = ["--pred", pred, "--prior", folder / "p.pt", "--out", folder / "refined.h5"]
    return CliRunner().invoke(prior_step.app, list(map(str, ["refine", folder / "a.h5", *files, *COMMON])))


def test_steps_from_shards_to_refined_predictions(trained):
    with open(trained / "c.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] and set(rows[0]) == {"epoch", "loss", "joints", "kl"}
    joints = rng(0, "tests/pred").normal((0, 0, 0.6), 0.04, (6, 21, 3)).astype(np.float32)
    joints[2] = np.nan
    columns = {"id": np.arange(6)[::-1], "valid": ~np.isnan(joints[:, 0, 0]), "joints": joints}
    columns["vertices"] = np.ones((6, 778, 3), np.float32)
    write_store(trained / "pred.h5", columns, **PROVENANCE, extra={"frame": "camera", "crop": "none"})
    result = refine_step(trained, trained / "pred.h5")
    assert result.exit_code == 0, result.exception
    prior, _ = load_prior(trained / "p.pt")
    with Store(trained / "refined.h5") as store:
        refined = store.column("joints")
        assert np.isnan(refined[2]).all() and store.column("vertices").min() == 1
        assert (store.column("id") == columns["id"]).all()
        assert store.attrs["crop"] == "none" and "vertices as predicted" in store.attrs["prior"]
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(refined[kept], refine(prior, joints[kept], np.zeros(5)), atol=1e-6)


def test_predictions_of_other_samples_are_refused(trained):
    columns = {"id": np.array([0, 77]), "valid": np.ones(2, bool), "joints": np.zeros((2, 21, 3), np.float32)}
    write_store(trained / "pred.h5", columns, **PROVENANCE)
    result = refine_step(trained, trained / "pred.h5")
    assert isinstance(result.exception, CorruptFileError) and "no sample 77" in str(result.exception)
