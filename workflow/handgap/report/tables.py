"""One table of a paper: our numbers, the published ones beside them, and what may be compared."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from handgap.core.config.experiment import Experiment, Row
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.report.cells import LENGTHS, PER_MM, Cell, Column, Table
from handgap.report.levels import Levels
from handgap.report.measured import how_measured

MEAN_HAND = "mean_hand"
METRIC_NAMES = {
    "pa_mpjpe": "PA-MPJPE",
    "pa_mpvpe": "PA-MPVPE",
    "mpjpe": "MPJPE (root-relative)",
    "st_mpjpe": "MPJPE (scale and wrist aligned)",
    "pa_auc_joints": "AUC joints",
    "pa_auc_vertices": "AUC vertices",
    "auc_joints": "AUC joints (root-relative)",
    "st_auc_joints": "AUC joints (scale and wrist aligned)",
    "pa_f5": "F@5 mm",
    "pa_f15": "F@15 mm",
}
NOT_COMPARABLE = (
    "Open study, proxy-real images: not comparable in absolute value with the published numbers, which stand in "
    "columns headed with the paper's data. Compare the ratios."
)
LEVELS = "A joint is hidden when something else is seen on its pixel, or it lies outside the image (told by {})."
PRIOR_NOTE = (
    "The prior replaces a network's joints, its vertices stay. Changes are means of paired differences over the same "
    "images, with their own intervals: negative is better with the prior."
)


def read_metrics(paths: Sequence[Path]) -> pd.DataFrame:
    """Tidy metrics of several runs, one frame.

    Raises:
        MissingAssetError: a file is absent.
        CorruptFileError: a file is empty or has other columns.
    """
    frames = []
    for path in paths:
        if not path.is_file():
            raise MissingAssetError(path, "no such metrics file", f"make it: snakemake {path}")
        try:
            frame = pd.read_csv(path)
        except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
            raise CorruptFileError(path, f"no table in it ({error})", "delete it and run snakemake again") from error
        if absent := {"run", "metric", "value", "unit", "n", "protocol"} - set(frame.columns):
            raise CorruptFileError(path, f"columns missing: {', '.join(sorted(absent))}", "evaluate the run again")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


class _Runs:
    """Our numbers, by run and metric, in the experiment's unit."""

    def __init__(self, experiment: Experiment, metrics: pd.DataFrame):
        self._seeds = experiment.seeds
        self._scale = PER_MM[experiment.unit]
        dataset, split = experiment.test.split("/")
        chosen = metrics[(metrics.dataset == dataset) & (metrics.split == split)]
        self._rows = {(row.run, row.metric): row for row in chosen.itertuples()}
        self._test = experiment.test

    def one(self, run: str, metric: str) -> object:
        if (run, metric) not in self._rows:
            raise CorruptFileError(
                f"run {run}", f"no {metric} on {self._test} among the metrics given", "evaluate it, then make the table"
            )
        return self._rows[run, metric]

    def cell(self, runs: Sequence[str], metric: str) -> Cell:
        rows = [self.one(run, metric) for run in runs]
        length = metric in LENGTHS
        scale = (self._scale if length else 1.0) / len(rows)
        interval = tuple(scale * sum(getattr(row, end) for row in rows) for end in ("ci_low", "ci_high"))
        drawn = None if pd.isna(interval[0]) else interval
        return Cell(scale * sum(row.value for row in rows), "length" if length else "share", drawn)

    def names(self, row: Row) -> list[str]:
        return [row.run(seed) for seed in self._seeds]


def build_table(
    name: str,
    experiment: Experiment,
    metrics: pd.DataFrame,
    study: str,
    asset_set: str,
    levels: Levels | None = None,
) -> Table:
    """Fill in a table; several training seeds are averaged, their intervals too.

    Args:
        name: of the experiment.
        experiment: rows, columns and published numbers.
        metrics: tidy metrics (`read_metrics`) of all runs of the experiment and of the mean hand.
        study: name of the study, for the heading.
        asset_set: "open" or "paper"; an open study's caption says that it is not comparable.
        levels: of the test images, for an experiment that has them.

    Raises:
        CorruptFileError: a run or metric of the experiment is not among the metrics; runs were judged differently.
    """
    runs = _Runs(experiment, metrics)
    ours = f"{study}: {experiment.test}" + (" (proxy-real)" if asset_set == "open" else "")
    published = _published_columns(experiment)
    columns = [Column(ours, _heading(metric, experiment.unit), metric) for metric in experiment.metrics]
    columns += [
        Column(f"published: {data}", _heading(metric, experiment.unit), f"published {data} {metric}")
        for data, metric in published
    ]
    deltas = [metric for data, metric in published if data == experiment.counterpart and metric in experiment.metrics]
    columns += [
        Column("ours − published", _heading(metric, experiment.unit), f"difference {metric}") for metric in deltas
    ]
    ratio_data = [data for data, metric in published if metric == experiment.metrics[0]]
    if experiment.ratio:
        columns += [Column(experiment.ratio.heading, data, f"ratio {data}") for data in ("ours", *ratio_data)]
    if levels:
        columns += levels.columns(METRIC_NAMES[experiment.metrics[0]])
    cells = []
    for row in experiment.rows:
        line = [runs.cell(runs.names(row), metric) for metric in experiment.metrics]
        line += [Cell(row.published.get(data, {}).get(metric), _style(metric)) for data, metric in published]
        for metric in deltas:
            ours_now, paper = runs.cell(runs.names(row), metric), row.published.get(experiment.counterpart, {})
            line.append(Cell(ours_now.value - paper[metric] if metric in paper else None, "difference"))
        if experiment.ratio:
            line += _ratios(experiment, runs, row, ratio_data)
        if levels:
            line += levels.cells(row, runs.names(row))
        cells.append(tuple(line))
    mean = [runs.cell([MEAN_HAND], metric) for metric in experiment.metrics]
    by_level = levels.cells(None, [MEAN_HAND]) if levels else []
    blank = [Cell(None, "share") for _ in columns[len(mean) + len(by_level) :]]
    cells.append((*mean, *blank, *by_level))
    labels = (*(row.label for row in experiment.rows), "mean hand (sees no image)")
    names = [*(runs.names(row) for row in experiment.rows), [MEAN_HAND]]
    metric = experiment.metrics[0]
    measured = {
        f"{label}, {name}": runs.one(name, metric)
        for label, of_row in zip(labels, names, strict=True)
        for name in of_row
    }
    first = runs.one(names[0][0], metric)
    notes = (
        *([NOT_COMPARABLE] if asset_set == "open" else []),
        f"{experiment.source}.",
        f"Brackets: 95 % bootstrap interval over {first.n} test images; training seeds: "
        f"{', '.join(map(str, experiment.seeds))}.",
        how_measured(measured),
        "The mean hand is the average training hand, the same for every image: what a network must beat.",
        *([LEVELS.format(levels.source)] if levels else []),
        *([PRIOR_NOTE] if any(row.prior for row in experiment.rows) else []),
    )
    return Table(name, experiment.title, notes, tuple(columns), labels, tuple(cells), experiment.unit)


def _heading(metric: str, unit: str) -> str:
    return f"{METRIC_NAMES[metric]} ({unit})" if metric in LENGTHS else METRIC_NAMES[metric]


def _style(metric: str) -> str:
    return "length" if metric in LENGTHS else "share"


def _published_columns(experiment: Experiment) -> list[tuple[str, str]]:
    """(data, metric) of all published numbers: the counterpart's first, metrics in the table's order."""
    found = {(data, metric) for row in experiment.rows for data, values in row.published.items() for metric in values}
    order = {metric: k for k, metric in enumerate(METRIC_NAMES)}
    return sorted(found, key=lambda item: (item[0] != experiment.counterpart, item[0], order[item[1]]))


def _ratios(experiment: Experiment, runs: _Runs, row: Row, published: Sequence[str]) -> list[Cell]:
    """Error of the reference recipe / error of the row, ours and the paper's."""
    metric = experiment.metrics[0]
    key = (row.network, experiment.ratio.recipe, row.prior)
    base = next(r for r in experiment.rows if (r.network, r.recipe, r.prior) == key)
    if base is row:
        return [Cell(None, "percent") for _ in range(1 + len(published))]
    ours = runs.cell(runs.names(base), metric).value / runs.cell(runs.names(row), metric).value
    paper = [
        base.published[data][metric] / row.published[data][metric]
        if metric in base.published.get(data, {}) and metric in row.published.get(data, {})
        else None
        for data in published
    ]
    return [Cell(ours, "percent"), *(Cell(value, "percent") for value in paper)]
