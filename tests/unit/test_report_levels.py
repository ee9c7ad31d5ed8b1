import csv
import io

import numpy as np
import pandas as pd
import pytest
from handgap.core.config.experiment import Experiment
from handgap.core.errors import CorruptFileError
from handgap.core.store import write_store
from handgap.report.levels import Levels, RunSamples, read_samples
from handgap.report.table_formats import to_csv, to_html, to_tex
from handgap.report.tables import build_table
from pydantic import ValidationError

HIDDEN = np.array([0.0, 0.1, 0.5, 0.6, 0.9, 1.0])
WITHOUT = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
CHANGE = np.array([1.0, 1.0, -2.0, -4.0, -10.0, -20.0])
ROWS = [
    {"label": "plain", "network": "s2hand", "recipe": "real"},
    {"label": "refined", "network": "s2hand", "recipe": "real", "prior": True},
]
RUNS = ("s2hand-real-s0", "s2hand-real-s0+prior", "mean_hand")


def experiment(**keys):
    described = {"title": "t", "source": "s", "test": "d/test", "metrics": ["pa_mpjpe"], "levels": [0.5, 0.8]}
    return Experiment.model_validate(described | {"rows": ROWS} | keys)


def samples(values):
    return RunSamples(np.arange(6), HIDDEN, "visibility", values)


def runs():
    return dict(zip(RUNS, map(samples, (WITHOUT, WITHOUT + CHANGE, np.full(6, 12.0))), strict=True))


def table(described, by_run):
    rows = []
    for name, run in by_run.items():
        keys = {"run": name, "dataset": "d", "split": "test", "metric": "pa_mpjpe", "protocol": "p"}
        rows.append({**keys, "value": run.values.mean(), "unit": "mm", "n": 6, "ci_low": 1.0, "ci_high": 2.0})
    levels = Levels(described, by_run, 200, 0)
    return build_table("table_prior", described, pd.DataFrame(rows), "open", "open", levels)


def test_errors_and_changes_by_level_in_the_tables_unit():
    built = table(experiment(), runs())
    rows = {row["label"]: row for row in csv.DictReader(io.StringIO(to_csv(built)))}
    plain, refined, count = rows["plain"], rows["refined"], rows["test images"]
    found = [float(plain[f"pa_mpjpe hidden {level}"]) for level in ("0-0.5", "0.5-0.8", "0.8-1")]
    assert found == pytest.approx([1.5, 3.5, 5.5])  # an edge belongs to the level above it
    change = [
        float(refined[f"prior pa_mpjpe {level}"]) for level in ("all", "hidden 0-0.5", "hidden 0.5-0.8", "hidden 0.8-1")
    ]
    assert change == pytest.approx([CHANGE.mean() / 10, 0.1, -0.3, -1.5])
    assert plain["prior pa_mpjpe all"] == "" and plain["prior pa_mpjpe hidden 0-0.5 ci_low"] == ""
    assert count["prior pa_mpjpe all"] == "6" and count["pa_mpjpe hidden 0-0.5"] == "2" and count["pa_mpjpe"] == ""
    assert float(rows["mean hand (sees no image)"]["pa_mpjpe hidden 0.8-1"]) == pytest.approx(1.2)


def test_a_constant_change_has_an_interval_of_no_width_however_the_errors_spread():
    by_run = runs() | {RUNS[1]: samples(WITHOUT - 3.0)}
    refined = table(experiment(), by_run).cells[1]
    changes = [cell for cell in refined if cell.style == "difference"]
    assert [cell.value for cell in changes] == pytest.approx([-0.3] * 4)
    for cell in changes:
        assert cell.interval == pytest.approx((-0.3, -0.3))
    low, high = refined[1].interval
    assert high - low > 0.5  # 7 and 17 mm


def test_every_format_shows_counts_and_notes():
    built = table(experiment(), runs())
    html, tex = to_html(built), to_tex(built)
    assert "0–50 %<small>n = 2</small>" in html and r"0--50 \% (n = 2)" in tex
    assert "told by visibility" in html and "with prior − without" in html and "paired differences" in html
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")][1:]
    assert {line.count("&") for line in rows} == {len(built.columns)}


def test_an_empty_level_is_a_dash_and_a_single_image_has_no_interval():
    built = table(experiment(levels=[0.05, 0.2, 0.3]), runs())
    cells = built.cells[0][1:5]
    assert cells[2].value is None and cells[2].interval is None
    assert cells[0].value == pytest.approx(1.0) and cells[0].interval is None


def test_a_table_without_rows_of_the_prior_has_levels_alone():
    built = table(experiment(rows=ROWS[:1]), {name: runs()[name] for name in (RUNS[0], RUNS[2])})
    assert [column.group.endswith("hidden joints") for column in built.columns] == [False, True, True, True]
    assert all(len(line) == 4 for line in built.cells)


def test_seeds_are_averaged_image_by_image():
    second = {"s2hand-real-s1": samples(WITHOUT + 10), "s2hand-real-s1+prior": samples(WITHOUT + 10 + 3 * CHANGE)}
    built = table(experiment(seeds=[0, 1]), runs() | second)
    assert built.cells[0][1].value == pytest.approx(2.0)
    assert built.cells[1][4].value == pytest.approx(2 * CHANGE.mean() / 10)


def test_runs_of_other_images_and_absent_runs_are_refused_by_name():
    other = RunSamples(np.arange(6) + 1, HIDDEN, "visibility", WITHOUT)
    with pytest.raises(CorruptFileError, match=r"real-s0\+prior: tested on other images"):
        Levels(experiment(), runs() | {RUNS[1]: other}, 10, 0)
    with pytest.raises(CorruptFileError, match="run mean_hand"):
        table(experiment(), {name: runs()[name] for name in RUNS[:2]} | {"x": samples(WITHOUT)})


def test_files_without_hidden_joints_are_refused_by_name(tmp_path):
    columns, keys = {"id": np.arange(3), "pa_mpjpe": np.ones(3)}, {"study": "t", "seed": 0, "code": "c", "config": "s"}
    told = {"run": "r", "hidden": "mask and depth"}
    write_store(tmp_path / "a.h5", columns | {"hidden": np.zeros(3)}, **keys, extra=told)
    write_store(tmp_path / "b.h5", columns, **keys, extra={"run": "q", "hidden": "nothing"})
    assert read_samples([tmp_path / "a.h5"], "pa_mpjpe")["r"].source == "mask and depth"
    with pytest.raises(CorruptFileError, match=r"b\.h5: no share of hidden joints"):
        read_samples([tmp_path / "b.h5"], "pa_mpjpe")


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"rows": ROWS[1:]}, "needs one without"), ({"levels": [0.5, 0.2]}, "increasing"), ({"levels": [1.5]}, "less")],
)
def test_a_wrong_experiment_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        experiment(**keys)
