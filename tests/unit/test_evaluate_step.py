import numpy as np
import pandas as pd
import pytest
from handgap.core.errors import CorruptFileError
from handgap.core.images import encode_mask, encode_rgb
from handgap.core.store import Store, write_store
from handgap.evaluate.hands_found import Hand, summarise
from handgap.evaluate.inputs import read_pairs
from handgap.evaluate.statistics import bootstrap_interval
from handgap.evaluate.step import app
from typer.testing import CliRunner

PROVENANCE = {"study": "test", "seed": 0, "code": "c", "config": "s"}
COUNT = 10


def write_pair(folder, change=lambda columns: columns, invalid=()):
    """Predictions in reverse order and two shards of truth: hands in front of a grey wall."""
    generator = np.random.default_rng(0)
    joints = generator.normal((0, 0, 0.6), 0.04, (COUNT, 21, 3)).astype(np.float32)
    vertices = generator.normal((0, 0, 0.6), 0.04, (COUNT, 778, 3)).astype(np.float32)
    valid = ~np.isin(np.arange(COUNT), invalid)
    K = np.tile(np.array([[300, 0, 112], [0, 300, 112], [0, 0, 1]], np.float32), (COUNT, 1, 1))
    truth = []
    for shard, rows in enumerate((slice(0, 4), slice(4, COUNT))):
        size = len(joints[rows])
        columns = {"id": np.arange(COUNT)[rows], "joints": joints[rows], "vertices": vertices[rows], "K": K[rows]}
        columns |= {"visibility": np.arange(21) >= columns["id"][:, None]}  # sample k hides k joints
        columns |= {"valid": valid[rows], "flag": ["" if good else "too dark" for good in valid[rows]]}
        columns |= {"image": [encode_rgb(np.full((224, 224, 3), 128, np.uint8))] * size}
        columns |= {"mask": [encode_mask(np.ones((224, 224), np.uint8))] * size}
        truth.append(folder / "test" / f"{shard:05d}.h5")
        write_store(truth[-1], columns, **PROVENANCE)
    noisy = {"joints": joints + 0.01, "vertices": vertices + generator.normal(0, 0.01, vertices.shape)}
    columns = {"id": np.arange(COUNT), "valid": np.ones(COUNT, bool)}
    columns |= {name: values.astype(np.float32) for name, values in noisy.items()}
    pred = folder / "pred.h5"
    write_store(pred, change({name: values[::-1].copy() for name, values in columns.items()}), **PROVENANCE)
    return pred, truth


def arguments(folder, pred, truth, out):
    keys = {"run": "s2hand-full-s0", "network": "s2hand", "recipe": "full", "run-seed": 0, "dataset": "d", "split": "t"}
    keys |= {"study": "test", "seed": 0, "code": "c", "settings": '{"bootstrap": 100}', "pred": pred, "out": out}
    listed = [text for path in truth for text in ("--truth", str(path))]
    return [*listed, *(text for key, value in keys.items() for text in (f"--{key}", str(value)))]


def test_metrics_are_matched_by_id_and_invalid_samples_are_counted(tmp_path):
    pred, truth = write_pair(tmp_path, invalid=(0, 7))
    out, kept = tmp_path / "m.csv", tmp_path / "m.h5"
    result = CliRunner().invoke(app, [*arguments(tmp_path, pred, truth, out), "--per-sample", str(kept)])
    assert result.exit_code == 0, result.exception
    frame = pd.read_csv(out).set_index("metric")
    assert frame.value["pa_mpjpe"] == pytest.approx(0.0, abs=1e-3)  # a shift is aligned away
    assert frame.value["excluded"] == 2 and (frame.n == COUNT - 2).all()
    row = frame.loc["pa_mpvpe"]
    assert row.ci_low < row.value < row.ci_high and row.unit == "mm" and "root middle1" in row.protocol
    with Store(kept) as store:
        assert 0 not in store.column("id")
        assert store.column("pa_mpvpe").mean() == pytest.approx(row.value)
        np.testing.assert_allclose(store.column("hidden"), store.column("id") / 21)
        assert store.attrs["hidden"] == "visibility"


def test_the_same_input_gives_the_same_bytes(tmp_path):
    pred, truth = write_pair(tmp_path)
    outs = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for out in outs:
        CliRunner().invoke(app, arguments(tmp_path, pred, truth, out))
    assert outs[0].read_bytes() == outs[1].read_bytes()


def spoil(name, value):
    def change(columns):
        columns[name][3] = value
        return columns

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil("joints", np.nan), "not finite"),
        (spoil("id", 99), "missing"),
        (spoil("id", 0), "repeat"),
        (spoil("valid", False), "no valid prediction"),
        (lambda columns: {name: values[:0] for name, values in columns.items()}, "no predictions"),
        (lambda columns: columns | {"joints": columns["joints"][:, :20]}, "shape"),
    ],
)
def test_bad_predictions_are_refused_by_name(tmp_path, change, message):
    pred, truth = write_pair(tmp_path, change)
    with pytest.raises(CorruptFileError, match=message) as error:
        read_pairs(pred, truth)
    assert str(pred) in str(error.value)


def test_bootstrap_interval_covers_the_mean_of_a_known_distribution():
    generator = np.random.default_rng(0)
    values = generator.normal(5.0, 1.0, 400)
    low, high = bootstrap_interval(values, 2000, 0)
    assert (low, high) == pytest.approx((values.mean() - 1.96 / 20, values.mean() + 1.96 / 20), abs=0.02)
    assert (low, high) == bootstrap_interval(values, 2000, 0)


def test_small_hands_are_not_judged():
    judged = [Hand(40.0, None), Hand(80.0, 0.05), Hand(90.0, 0.07), Hand(100.0, None)]
    row = summarise(judged)
    assert (row["hands"], row["found"]) == (3, 2)
    assert row["found_ratio"] == pytest.approx(2 / 3) and row["error_median"] == pytest.approx(0.06)


def test_the_labels_fingertips_and_a_dataset_without_meshes(tmp_path):
    pred, truth = write_pair(tmp_path)
    for path in truth:
        with Store(path) as store:
            columns = {name: store.column(name) for name in ("id", "joints", "vertices", "valid")}
        columns["vertices"] = np.full_like(columns["vertices"], np.nan)
        write_store(path, columns, **PROVENANCE, extra={"tips": "ho3d"})
    out = tmp_path / "m.csv"
    result = CliRunner().invoke(app, arguments(tmp_path, pred, truth, out))
    assert result.exit_code == 0, result.exception
    frame = pd.read_csv(out)
    assert set(frame.metric) == {"pa_mpjpe", "mpjpe", "pa_auc_joints", "excluded"}
    assert frame.protocol.str.contains("tips ho3d; root middle1").all()
