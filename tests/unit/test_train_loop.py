import csv
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from handgap.core.config.networks import SimpleHandNetwork
from handgap.core.config.train import Amplitude, Subset, Train
from handgap.core.conventions import MIDDLE_MCP, Side
from handgap.core.errors import ConfigError, CorruptFileError, MissingAssetError
from handgap.core.geometry import procrustes_align, project, random_rotation
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from handgap.data.augment import training_sample
from handgap.data.batches import Mixture, Source
from handgap.data.samples import Samples
from handgap.data.selection import select
from handgap.networks.base import Prediction
from handgap.networks.build import build
from handgap.train import loop, predict_step, step
from handgap.train.loop import STATE_FILE, TrainingRun
from handgap.train.model_file import load_model, save_model, write_torch
from handgap.train.optimise import AveragedWeights, learning_rate_factor, optimiser
from handgap.train.predict import mean_hand, predict, predict_mean_hand, to_camera
from toys import toy_columns, toy_hand, toy_store
from typer.testing import CliRunner

TINY = SimpleHandNetwork(backbone="test_efficientnet", pretrained=False)
SETTINGS = Train(image_size=64, batch=4, epochs=3)
# steps of 4 images in 2 batches, averaged weights, other optimiser and schedule
GATHERED = Train(
    image_size=64,
    batch=2,
    effective_batch=5,
    epochs=3,
    ema=0.9,
    optimiser="adam",
    schedule="steps",
    validation=0.2,
    validate_every=2,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    hand = toy_hand(folder / "hand.npz")
    toy_store(folder / "a.h5", hand, range(10))
    return folder


@pytest.fixture(scope="module")
def hand(folder):
    return toy_hand(folder / "hand.npz")


def new_run(folder, hand, state, settings=SETTINGS, fingerprint="same"):
    torch.manual_seed(0)
    network = build(TINY, hand, None, settings.image_size)
    samples = Samples([folder / "a.h5"])
    source = Source(samples, True, 1.0, select(samples, Subset(), settings.validation, 0))
    return TrainingRun(network, Mixture([source], settings, 3), settings, Amplitude(), state, fingerprint)


@pytest.fixture(scope="module")
def uninterrupted(folder, hand):
    done = {}
    for settings in (SETTINGS, GATHERED):
        run = new_run(folder, hand, folder / "whole", settings, fingerprint=repr(settings))
        curves = run.fit()
        done[settings.ema] = run.network.weights(), curves
    return done


def same_weights(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize("settings", [SETTINGS, GATHERED], ids=["plain", "gathered"])
@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_stopped_anywhere_and_resumed_gives_the_same_weights(
    folder, hand, uninterrupted, tmp_path, stop_after, settings
):
    run = new_run(folder, hand, tmp_path, settings)
    plain_step, steps = run._step, []

    def step_then_terminate(model):
        plain_step(model)
        steps.append(1)
        if len(steps) == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    run._step = step_then_terminate
    with pytest.raises(SystemExit) as stopped:
        run.fit()
    assert stopped.value.code == 128 + signal.SIGTERM
    assert len(steps) == stop_after
    assert os.listdir(tmp_path) == [STATE_FILE]
    resumed = new_run(folder, hand, tmp_path, settings)
    curves = resumed.fit()
    assert same_weights(resumed.network.weights(), uninterrupted[settings.ema][0])
    assert curves == uninterrupted[settings.ema][1]


def test_killed_without_notice_goes_on_from_the_last_epoch(folder, hand, uninterrupted, tmp_path):
    run = new_run(folder, hand, tmp_path)
    plain_step, steps = run._step, []

    def step_then_die(model):
        steps.append(1)
        if len(steps) == 6:
            raise KeyboardInterrupt
        plain_step(model)

    run._step = step_then_die
    with pytest.raises(KeyboardInterrupt):
        run.fit()
    resumed = new_run(folder, hand, tmp_path)
    resumed.fit()
    assert same_weights(resumed.network.weights(), uninterrupted[0.0][0])


def test_states_take_a_twentieth_of_the_time_at_most(folder, hand, tmp_path, monkeypatch):
    clock, saved = [0.0], []

    def write_for_a_second(path, content):
        clock[0] += 1.0
        saved.append(content["position"]["epoch"])
        write_torch(path, content)

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(loop, "write_torch", write_for_a_second)
    run = new_run(folder, hand, tmp_path, SETTINGS.model_copy(update={"epochs": 7}))
    plain_step = run._step

    def steps_of_six_seconds_an_epoch(model):
        clock[0] += 6.0 / run.mixture.n_steps
        plain_step(model)

    run._step = steps_of_six_seconds_an_epoch
    run.fit()
    assert saved == [1, 5, 7]


def test_state_of_another_run_is_not_used(folder, hand, uninterrupted, tmp_path):
    one_epoch = SETTINGS.model_copy(update={"epochs": 1})
    new_run(folder, hand, tmp_path, one_epoch, fingerprint="other").fit()
    run = new_run(folder, hand, tmp_path)
    run.fit()
    assert same_weights(run.network.weights(), uninterrupted[0.0][0])


def test_curves_have_training_every_epoch_and_validation_when_due(uninterrupted):
    _, plain = uninterrupted[0.0]
    measured = {"loss", "uv", "joints", "vertices", "pa_mpjpe_mm"}
    for row in plain:
        assert row.keys() == {"epoch", "learning_rate"} | measured | {f"val_{name}" for name in measured}
        assert 0 < row["val_pa_mpjpe_mm"] < 200
    _, seldom = uninterrupted[GATHERED.ema]
    assert ["val_loss" in row for row in seldom] == [False, True, True]  # every second, and the last


def test_validation_is_what_the_kept_weights_give_on_the_held_out_images(folder, hand, uninterrupted):
    weights, curves = uninterrupted[GATHERED.ema]
    network = build(TINY, hand, None, 64)
    network.load(weights)
    samples = Samples([folder / "a.h5"])
    held = select(samples, Subset(), 0.2, 0).held
    assert len(held) == 2
    items = [training_sample(samples[row], 64, GATHERED.box_expansion) for row in held]
    images, K = (torch.from_numpy(np.stack([item[name] for item in items])) for name in ("image", "K"))
    with torch.inference_mode():
        joints = network.eval()(images, K).joints.numpy()
    truth = np.stack([item["joints"] for item in items])
    error = np.linalg.norm(procrustes_align(truth, joints) - truth, axis=-1).mean() * 1000
    assert curves[-1]["val_pa_mpjpe_mm"] == pytest.approx(error, rel=1e-4)


def test_gathered_batches_give_the_gradient_of_the_whole_step(folder, hand, tmp_path):
    gradients = {}
    for batch in (10, 4):  # 10 images at once, or 4, 3 and 3
        settings = Train(image_size=64, batch=batch, effective_batch=10, epochs=1, validation=0)
        run = new_run(folder, hand, tmp_path / str(batch), settings)
        run.amplitude = None
        run.network.eval()  # and it stays so: batch norm sees which images share a batch, dropout draws
        run.network.train = lambda mode=True: None
        run._step = lambda model, key=batch: gradients.update({key: [p.grad for p in model.parameters()]})
        run.fit()
    assert len(gradients[10]) == len(gradients[4]) > 50
    for whole, parts in zip(gradients[10], gradients[4], strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-6)


def test_averaged_weights_follow_the_definition():
    values = [torch.tensor([v]) for v in (1.0, 3.0, 7.0)]
    average = AveragedWeights({"w": torch.tensor([0.0]), "n": torch.tensor(0)}, 0.15)
    for count, value in enumerate(values):
        average.update({"w": value, "n": torch.tensor(count)})
    # decays 0.1, 0.15 (2/11 is above it), 0.15
    assert average.weights["w"].item() == pytest.approx(0.15 * (0.15 * 0.9 * 1.0 + 0.85 * 3.0) + 0.85 * 7.0)
    assert average.weights["n"].item() == 2


def test_schedule_rises_and_falls():
    factors = [learning_rate_factor(step, 100, Train(warmup=0.1)) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[-1] < 0.001


def test_schedule_of_milestones():
    settings = Train(warmup=0.05, schedule="steps", milestones=(0.5, 0.8), gamma=0.1)
    factors = [learning_rate_factor(step, 100, settings) for step in range(100)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:50] == [1.0] * 45
    assert factors[50:80] == pytest.approx([0.1] * 30)
    assert factors[80:] == pytest.approx([0.01] * 20)


def test_optimiser_is_the_one_asked_for(hand):
    network = build(TINY, hand, None, 64)
    kinds = {name: type(optimiser(network, Train(optimiser=name))) for name in ("adam", "adamw")}
    assert kinds == {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def test_amplitude_changes_synthetic_images_only(folder, hand, tmp_path):
    run = new_run(folder, hand, tmp_path)
    images, synthetic = torch.rand(4, 3, 64, 64), torch.tensor([True, False, True, False])
    changed = run._with_amplitude(images, synthetic, 0, 0)
    assert torch.equal(changed[~synthetic], images[~synthetic])
    assert (changed[synthetic] - images[synthetic]).abs().mean() > 0.01


class Oracle(torch.nn.Module):
    """Knows the truth in the frame of the crop."""

    def __init__(self, samples, size, expansion):
        super().__init__()
        rows = np.flatnonzero(samples.valid)
        self.truth = [training_sample(samples[row], size, expansion) for row in rows]
        self.given = 0

    def forward(self, images, K):
        part = self.truth[self.given : self.given + len(images)]
        self.given += len(images)
        stacked = {
            name: torch.from_numpy(np.stack([item[name] for item in part])) for name in ("joints", "vertices", "uv")
        }
        return Prediction(**stacked)


def test_oracle_predictions_come_back_without_error(hand, tmp_path):
    columns = toy_columns(hand, range(40))
    columns["side"][::3] = Side.LEFT
    columns["valid"][5] = False
    write_store(tmp_path / "s.h5", columns, study="t", seed=0, code="-", config="-")
    samples = Samples([tmp_path / "s.h5"])
    rows, joints = [], []
    for part, values in predict(Oracle(samples, 64, 1.25), samples, 64, 1.25):
        rows += part.tolist()
        joints.append(values["joints"])
    assert rows == [k for k in range(40) if k != 5]
    np.testing.assert_allclose(np.concatenate(joints), columns["joints"][rows], atol=1e-6)


@pytest.mark.parametrize("side", list(Side))
def test_augmented_an_oracle_is_right_and_comes_back_without_error(folder, hand, side):
    """Rotation, zoom, shift and mirroring turn labels with the image; the predictor's way back undoes all of it."""
    settings = Train(image_size=64, batch=5, epochs=1, rotation_deg=180, scale_jitter=0.3, shift_jitter=0.2)
    columns = toy_columns(hand, range(20)) | {"side": np.full(20, side, np.uint8)}
    mirror = np.where(side == Side.LEFT, np.array([-1.0, 1.0, 1.0]), 1.0)
    for name in ("joints", "vertices"):
        columns[name] = (columns[name] * mirror).astype(np.float32)
    path = folder / f"side{int(side)}.h5"
    write_store(path, columns, study="t", seed=0, code="-", config="-")
    samples = Samples([path])
    mixture, seen = Mixture([Source(samples, True, 1.0)], settings, 3), 0
    for epoch in range(3):
        for batch in mixture.batches(epoch):
            data = batch.data
            # the oracle: a network that predicts the labels it is trained on
            prediction = Prediction(data["joints"], data["vertices"], data["uv"])
            rows = data["id"].numpy()
            for name in ("joints", "vertices"):
                back = to_camera(getattr(prediction, name), data["root"], data["rotation"]).numpy()
                assert np.linalg.norm(back - columns[name][rows], axis=-1).max() < 1e-5
            # what it sees agrees: the same points, through the crop's own camera, in the crop's image
            points = (prediction.joints + data["root"][:, None]).numpy()
            for k in range(len(rows)):
                np.testing.assert_allclose(project(points[k], data["K"][k].numpy()) / 64, prediction.uv[k], atol=1e-5)
            # and all hands are right hands in there, so their handedness is undone, not kept
            assert torch.allclose(torch.linalg.det(data["rotation"]), torch.tensor(-1.0 if side == Side.LEFT else 1.0))
            seen += len(rows)
    assert seen == 60


def test_mean_hand_of_one_hand_turned_about_is_that_hand():
    generator = rng(0, "tests/mean_hand")
    points = generator.normal(size=(799, 3)) * 0.05
    moved = np.stack([points @ random_rotation(generator).T + generator.normal(size=3) for _ in range(12)])
    mean = mean_hand(moved[:, :21], moved[:, 21:])
    np.testing.assert_allclose(procrustes_align(points[None], mean[None])[0], points, atol=1e-8)
    np.testing.assert_allclose(mean[MIDDLE_MCP], 0, atol=1e-12)
    assert np.linalg.norm(mean - mean.mean(0)) == pytest.approx(np.linalg.norm(points - points.mean(0)))


def test_mean_hand_prediction_stands_at_the_true_root(folder):
    samples = Samples([folder / "a.h5"])
    columns = predict_mean_hand(samples, samples)
    np.testing.assert_allclose(columns["joints"][:, MIDDLE_MCP], samples.labels("joints")[:, MIDDLE_MCP], atol=1e-6)


def test_commands_from_shards_to_predictions(folder, tmp_path):
    runner = CliRunner()
    paths = {name: tmp_path / name for name in ("model.pt", "curves.csv", "pred.h5", "mean.h5")}
    source = f'{{"synthetic": true, "weight": 1.0, "shards": ["{folder / "a.h5"}"]}}'
    common = ["--study", "test", "--seed", "0", "--code", "abc"]
    settings = SETTINGS.model_copy(update={"epochs": 2})
    arguments = ["--source", source, "--network", TINY.model_dump_json(), "--annotation-hand", folder / "hand.npz"]
    arguments += ["--settings", settings.model_dump_json(), "--amplitude", "{}", "--state", tmp_path / "state"]
    arguments += ["--out", paths["model.pt"], "--curves", paths["curves.csv"], "--run-seed", "1", *common]
    runner.invoke(step.app, list(map(str, arguments)), catch_exceptions=False)
    assert not (tmp_path / "state").exists()
    with open(paths["curves.csv"]) as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"learning_rate", "loss", "uv", "joints", "vertices", "pa_mpjpe_mm", "val_loss"} < set(rows[0])

    arguments = [folder / "a.h5", "--model", paths["model.pt"], "--annotation-hand", folder / "hand.npz"]
    runner.invoke(
        predict_step.app, list(map(str, [*arguments, "--out", paths["pred.h5"], *common])), catch_exceptions=False
    )
    arguments = [folder / "a.h5", "--mean-of", folder / "a.h5", "--out", paths["mean.h5"], *common]
    runner.invoke(predict_step.app, list(map(str, arguments)), catch_exceptions=False)
    for path in (paths["pred.h5"], paths["mean.h5"]):
        with Store(path) as store:
            assert store.column("joints").shape == (10, 21, 3)
            assert store.attrs["frame"] == "camera, true root added"
            assert np.isfinite(store.column("vertices")).all()
    with pytest.raises(ConfigError, match="no predictor"):
        runner.invoke(
            predict_step.app, [str(folder / "a.h5"), "--out", str(tmp_path / "x"), *common], catch_exceptions=False
        )


def test_broken_models_are_named(hand, tmp_path):
    with pytest.raises(MissingAssetError):
        load_model(tmp_path / "none.pt", hand)
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(CorruptFileError, match=r"cut\.pt"):
        load_model(tmp_path / "cut.pt", hand)
    torch.save({"a": 1}, tmp_path / "other.pt")
    with pytest.raises(CorruptFileError, match="format"):
        load_model(tmp_path / "other.pt", hand)
    (tmp_path / "text.pt").write_text("hi\n")
    with pytest.raises(CorruptFileError, match=r"text\.pt: not a readable model"):
        load_model(tmp_path / "text.pt", hand)


def test_models_of_other_code_are_to_be_trained_again(hand, tmp_path):
    path = tmp_path / "older.pt"
    save_model(path, build(TINY, hand, None, 64), TINY, 64, 1.25, {})
    content = torch.load(path, weights_only=True)
    torch.save(content | {"network": content["network"] | {"width": 3}}, path)
    with pytest.raises(CorruptFileError, match=r"older\.pt: settings of .*width.*\n.*train it again"):
        load_model(path, hand)
    content["weights"].pop("uv.bias")
    torch.save(content, path)
    with pytest.raises(CorruptFileError, match=r"older\.pt: its weights do not fit.*\n.*train it again"):
        load_model(path, hand)


def test_a_state_that_cannot_be_read_is_named(folder, hand, tmp_path):
    (tmp_path / STATE_FILE).write_bytes(b"PK cut off")
    with pytest.raises(CorruptFileError, match=r"last\.ckpt.*\n.*delete it"):
        new_run(folder, hand, tmp_path).fit()
