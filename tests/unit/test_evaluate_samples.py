"""Two runs compared sample by sample."""

import numpy as np
import pandas as pd
import pytest
from handgap.cli import app
from handgap.core.errors import ConfigError
from handgap.core.store import write_store
from handgap.evaluate.comparison import compare
from handgap.evaluate.samples import read_samples, write_samples
from handgap.evaluate.scores import Score
from scipy.stats import wilcoxon
from typer.testing import CliRunner

PROVENANCE = {"study": "test", "seed": 0, "code": "c", "config": "s"}
COUNT = 200


def samples(path, values, ids=None, protocol="freihand; crop: whole image", **more):
    ids = np.arange(len(values)) if ids is None else ids
    scores = {"pa_mpjpe": Score(values, "mm")} | {name: Score(column, "mm") for name, column in more.items()}
    kept = {"run": path.stem, "protocol": protocol, "provenance": PROVENANCE, "parents": []}
    write_samples(path, ids, scores, None, "nothing", **kept)
    return read_samples(path)


@pytest.fixture
def errors():
    generator = np.random.default_rng(0)
    hard = generator.gamma(4.0, 3.0, COUNT)  # what is hard for one run is hard for the other
    return hard + generator.normal(0, 1, COUNT), hard + generator.normal(0.5, 1, COUNT)


def test_a_small_difference_shows_where_samples_are_paired(tmp_path, errors):
    a, b = (samples(tmp_path / f"{name}.h5", values) for name, values in zip("ab", errors, strict=True))
    row = compare(a, b, 5000, 0).iloc[0]
    difference = errors[1] - errors[0]
    half = 1.96 * difference.std(ddof=1) / np.sqrt(COUNT)
    assert row.difference == pytest.approx(difference.mean()) and row.n == COUNT
    assert (row.ci_low, row.ci_high) == pytest.approx((row.difference - half, row.difference + half), abs=0.03)
    assert row.p_value < 0.01 and row.p_value == pytest.approx(wilcoxon(*errors).pvalue, abs=0.01)
    back = compare(b, a, 5000, 0).iloc[0]
    assert back.difference == -row.difference and back.p_value == pytest.approx(row.p_value)


def test_p_values_of_runs_that_do_not_differ_are_uniform(tmp_path):
    generator = np.random.default_rng(1)
    p_values = []
    for _ in range(60):
        a, b = (samples(tmp_path / f"{name}.h5", generator.normal(10, 1, 30)) for name in "ab")
        p_values.append(compare(a, b, 400, 0).p_value[0])
    assert 0.3 < np.mean(p_values) < 0.7 and np.mean(np.array(p_values) < 0.1) < 0.25
    assert compare(a, a, 400, 0).p_value[0] == 1.0


def test_the_exact_test_by_hand(tmp_path):
    """Three samples, all better by the same: 2 of the 8 ways to swap are as extreme."""
    a, b = samples(tmp_path / "a.h5", np.full(3, 5.0)), samples(tmp_path / "b.h5", np.full(3, 4.0))
    assert compare(a, b, 10_000, 0).p_value[0] == pytest.approx(2 / 8)


def test_samples_are_matched_by_id_and_those_without_a_value_left_out(tmp_path, errors):
    order = np.random.default_rng(2).permutation(COUNT)
    gaps = np.where(np.arange(COUNT) < 50, np.nan, errors[0])
    a = samples(tmp_path / "a.h5", errors[0], cdev=gaps)
    b = samples(tmp_path / "b.h5", errors[1][order], order, cdev=errors[1][order])
    frame = compare(a, b, 100, 0).set_index("metric")
    assert frame.difference["pa_mpjpe"] == pytest.approx((errors[1] - errors[0]).mean())
    assert frame.n["cdev"] == COUNT - 50
    assert frame.difference["cdev"] == pytest.approx((errors[1] - errors[0])[50:].mean())


def test_what_cannot_be_compared_is_refused(tmp_path, errors):
    a = samples(tmp_path / "a.h5", errors[0])
    with pytest.raises(ConfigError, match="different samples: 200 and 199, 199 of them in both"):
        compare(a, samples(tmp_path / "b.h5", errors[1][1:], np.arange(1, COUNT)), 10, 0)
    with pytest.raises(ConfigError, match=r"different protocols.*centre box"):
        compare(a, samples(tmp_path / "c.h5", errors[1], protocol="freihand; crop: centre box of 180 px"), 10, 0)
    write_store(tmp_path / "d.h5", {"id": np.arange(3)}, **PROVENANCE)
    with pytest.raises(ConfigError, match="no per-sample metrics"):
        read_samples(tmp_path / "d.h5")


def test_the_verb_prints_and_writes(tmp_path, errors):
    for name, values in zip("ab", errors, strict=True):
        samples(tmp_path / f"{name}.h5", values)
    outs = [tmp_path / "1.csv", tmp_path / "2.csv"]
    for out in outs:
        files = [str(tmp_path / f"{name}.h5") for name in "ab"]
        result = CliRunner().invoke(app, ["compare", *files, "--out", str(out), "--resamples", "500"])
        assert result.exit_code == 0 and "pa_mpjpe" in result.output, result.exception
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert list(pd.read_csv(outs[0]).columns)[:4] == ["metric", "first", "second", "difference"]
