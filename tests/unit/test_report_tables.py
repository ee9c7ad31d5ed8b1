from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from handgap.core.config.experiment import load_experiment
from handgap.core.conventions import MaskLabel
from handgap.core.drawing import silhouette
from handgap.core.errors import CorruptFileError
from handgap.report import figures
from handgap.report.draw import draw_mask, draw_skeleton
from handgap.report.sheets import Tile, contact_sheet, save_sheet, spread
from handgap.report.table_formats import to_csv, to_html, to_tex
from handgap.report.tables import build_table
from PIL import Image

EXPERIMENTS = Path(__file__).parents[2] / "config/experiments"


def tidy(**errors):
    """PA errors in mm by run."""
    rows = []
    for run, value in errors.items():
        for metric in ("pa_mpjpe", "pa_mpvpe", "pa_f5", "pa_f15"):
            keys = {"run": run.replace("__", "-"), "dataset": "proxyfrei", "split": "test", "metric": metric}
            measured = {"value": value, "unit": "mm", "n": 64, "ci_low": value - 1, "ci_high": value + 1}
            rows.append({**keys, **measured, "protocol": "freihand"})
    return pd.DataFrame(rows)


OTHERS = {f"{network}__{recipe}__s0": 11.0 for network in ("cmr", "metro", "graphormer") for recipe in ("real", "full")}
MAIN = {"s2hand__real__s0": 12.0, "s2hand__full__s0": 16.0, "simplehand__real__s0": 9.0, "simplehand__full__s0": 10.0}
MAIN |= OTHERS


@pytest.fixture
def main_table():
    experiment = load_experiment(EXPERIMENTS / "table_main.yaml")
    return build_table("table_main", experiment, tidy(**MAIN, mean_hand=20.0), "open", "open")


def test_numbers_are_in_the_papers_unit_with_difference_and_ratio(main_table):
    frame = pd.read_csv(pd.io.common.StringIO(to_csv(main_table))).set_index("label")
    row = frame.loc["S2HAND, synthetic"]
    assert row["pa_mpjpe"] == pytest.approx(1.6) and row["pa_mpjpe ci_low"] == pytest.approx(1.5)
    assert row["published FreiHAND pa_mpjpe"] == 1.02
    assert row["difference pa_mpjpe"] == pytest.approx(0.58)
    assert row["ratio ours"] == pytest.approx(12 / 16) and row["ratio FreiHAND"] == pytest.approx(0.99 / 1.02)
    assert np.isnan(frame.loc["S2HAND, real", "ratio ours"])
    assert frame.iloc[-1]["pa_mpjpe"] == pytest.approx(2.0) and "mean hand" in frame.index[-1]


def test_an_open_table_says_that_it_is_not_comparable(main_table):
    for text in (to_html(main_table), to_tex(main_table)):
        assert "not comparable in absolute value" in text
    assert "published: FreiHAND" in to_html(main_table) and "97%" in to_html(main_table)
    paper = build_table("t", load_experiment(EXPERIMENTS / "table_main.yaml"), tidy(**MAIN, mean_hand=2), "p", "paper")
    assert "not comparable" not in to_html(paper)


def test_tex_has_one_cell_per_column(main_table):
    rows = [line for line in to_tex(main_table).splitlines() if line.endswith(r"\\")][1:]
    assert {line.count("&") for line in rows} == {len(main_table.columns)}


@pytest.mark.parametrize("missing", ["simplehand__full__s0", "mean_hand"])
def test_a_missing_run_is_an_error_not_a_dash(missing):
    errors = {run: value for run, value in {**MAIN, "mean_hand": 20.0}.items() if run != missing}
    with pytest.raises(CorruptFileError, match=missing.replace("__", "-")):
        build_table("t", load_experiment(EXPERIMENTS / "table_main.yaml"), tidy(**errors), "open", "open")


def test_the_ablation_keeps_both_published_data_sets_apart():
    experiment = load_experiment(EXPERIMENTS / "table_ablation.yaml")
    runs = {f"s2hand__{row.recipe}__s0": 10.0 for row in experiment.rows}
    html = to_html(build_table("t", experiment, tidy(**runs, mean_hand=20.0), "open", "open"))
    assert "published: FreiHAND" in html and "published: Dex-YCB" in html and html.count("ours − published") == 1


def curves_of(run_length=8, **more):
    epochs = np.arange(1, run_length + 1)
    return pd.DataFrame({"epoch": epochs, "loss": 1.0 / epochs, "pa_mpjpe_mm": 20.0 / epochs, **more})


def test_figures_are_the_same_bytes_each_time(tmp_path):
    curves = {"s2hand-real-s0": curves_of(), "cmr-real-s0": curves_of(val_loss=1.0, val_pa_mpjpe_mm=9.0)}
    paths = [[tmp_path / f"{run}.{kind}" for kind in ("png", "svg")] for run in "ab"]
    for pair in paths:
        figures.save(figures.curves_figure(curves), *pair)
    for first, second in zip(*paths, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_curves_have_a_panel_for_each_network_and_show_validation_where_there_is_one():
    seldom = np.where(np.arange(1, 9) % 4 == 0, 5.0, np.nan)
    curves = {
        "s2hand-real-s0": curves_of(val_loss=seldom, val_pa_mpjpe_mm=seldom),
        "s2hand-full-s0": curves_of(),
        "cmr-real-s1": curves_of(),
    }
    loss, other, error, _ = figures.curves_figure(curves).axes
    assert [axis.get_title() for axis in (loss, other)] == ["s2hand", "cmr"]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["real-s0", "full-s0"]
    trained, held, _, none = error.get_lines()
    np.testing.assert_allclose(trained.get_ydata(), 20.0 / np.arange(1, 9))
    np.testing.assert_array_equal(held.get_xydata(), [[4, 5], [8, 5]])
    assert len(none.get_xdata()) == 0
    with pytest.raises(CorruptFileError, match="cmr-real-s0: columns missing: loss"):
        figures.curves_figure({"cmr-real-s0": curves_of().drop(columns="loss")})


def test_a_run_without_labels_has_a_curve_of_its_loss_alone(tmp_path):
    without = curves_of(val_loss=1.0).drop(columns="pa_mpjpe_mm")
    figure = figures.curves_figure({"s2hand_shape-real-s0": without, "cmr-real-s0": curves_of()})
    loss, _, error, other = figure.axes
    assert len(loss.get_lines()) == 2 and not error.get_lines() and len(other.get_lines()) == 2
    assert "no label" in error.texts[0].get_text()
    figures.save(figure, tmp_path / "curves.png")


def test_skeleton_and_mask_are_drawn_where_the_labels_are():
    grey = np.full((64, 64, 3), 128, np.uint8)
    joints = np.stack([np.linspace(10, 30, 21), np.linspace(10, 30, 21)], -1)
    drawn = (draw_skeleton(grey, joints, 1) != grey).any(-1)
    assert drawn[20, 20] and not drawn[40:].any()
    labels = np.zeros((64, 64), np.uint8)
    labels[40:50, 40:50] = MaskLabel.ARM
    tinted = (draw_mask(grey, labels) != grey).any(-1)
    assert (tinted == (labels > 0)).all()


def test_silhouette_is_the_projected_area():
    square = np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]])
    area = silhouette(square, np.array([[0, 1, 2], [0, 2, 3]]), 64, 64).sum()
    assert area == pytest.approx(20 * 20, rel=0.12)


def test_contact_sheet_shows_every_tile(tmp_path):
    tiles = [Tile(np.full((20, 30, 3), shade, np.uint8), f"id {shade}") for shade in range(0, 200, 20)]
    save_sheet(tmp_path / "s.png", contact_sheet(tiles, "Title", "subtitle", size=60))
    colours = {tuple(c) for c in np.asarray(Image.open(tmp_path / "s.png")).reshape(-1, 3)}
    assert {(shade,) * 3 for shade in range(0, 200, 20)} <= colours
    with pytest.raises(CorruptFileError, match="no valid sample"):
        contact_sheet([], "Title", "")


def test_samples_are_spread_over_the_store():
    assert spread(3, 48) == [0, 1, 2] and spread(100, 3) == [0, 50, 99]
