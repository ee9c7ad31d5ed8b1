"""Columns of a table by occlusion level, and what the occlusion prior changes, sample by sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handgap.core.config.experiment import Experiment, Row
from handgap.core.errors import CorruptFileError
from handgap.core.store import Store
from handgap.evaluate.occlusion import occlusion_levels
from handgap.evaluate.statistics import bootstrap_interval
from handgap.report.cells import LENGTHS, PER_MM, Cell, Column


@dataclass(frozen=True)
class RunSamples:
    """Per-sample numbers of one run.

    Attributes:
        ids: (N,).
        hidden: (N,) share of hidden joints.
        source: what the hidden joints were told by.
        values: (N,) the metric; lengths in mm.
    """

    ids: np.ndarray
    hidden: np.ndarray
    source: str
    values: np.ndarray


def read_samples(paths: Sequence[Path], metric: str) -> dict[str, RunSamples]:
    """Per-sample metrics (`evaluate.step --per-sample`) of several runs, by name of the run.

    Raises:
        MissingAssetError: a file is absent.
        CorruptFileError: a file is no store, lacks the metric, or its images have nothing to tell hidden joints by.
    """
    runs = {}
    for path in paths:
        with Store(path) as store:
            if "hidden" not in store:
                problem = "no share of hidden joints: the test images have neither visibility nor mask and depth"
                raise CorruptFileError(path, problem, "leave out the experiment's levels, or test on other images")
            columns = [store.column(name) for name in ("id", "hidden", metric)]
            runs[str(store.attrs["run"])] = RunSamples(*columns[:2], str(store.attrs["hidden"]), columns[2])
    return runs


class Levels:
    """Occlusion levels of one test set, and the experiment's runs on them.

    Args:
        experiment: with levels; its first metric is the one.
        runs: `read_samples` of its runs.
        resamples: of the bootstrap; 0 leaves the intervals out.
        seed: the study's.

    Raises:
        CorruptFileError: a run is not there, or was tested on other images than the rest.
    """

    def __init__(self, experiment: Experiment, runs: Mapping[str, RunSamples], resamples: int, seed: int):
        self._experiment, self._runs = experiment, runs
        self._resamples, self._seed = resamples, seed
        is_length = experiment.metrics[0] in LENGTHS
        self._scale = PER_MM[experiment.unit] if is_length else 1.0
        self._style = "length" if is_length else "share"
        first = self._run(experiment.rows[0].run(experiment.seeds[0]))
        for name, run in runs.items():
            if not np.array_equal(run.ids, first.ids):
                raise CorruptFileError(f"run {name}", "tested on other images than the others", "evaluate it again")
        self._groups = occlusion_levels(first.hidden, experiment.levels)
        self._all = np.ones(len(first.hidden), bool)
        self.source = first.source

    def _run(self, name: str) -> RunSamples:
        if name not in self._runs:
            raise CorruptFileError(f"run {name}", "not among the per-sample metrics given", "evaluate it first")
        return self._runs[name]

    def columns(self, heading: str) -> list[Column]:
        """Heads: the metric by level, then, if a row has the prior, what it changes overall and by level."""
        metric = self._experiment.metrics[0]
        spans = [
            (f"{100 * low:g}–{100 * high:g} %", f"hidden {low:g}-{high:g}", int(group.sum()))
            for (low, high), group in self._groups.items()
        ]
        columns = [
            Column(f"{heading} by share of hidden joints", text, f"{metric} {name}", count)
            for text, name, count in spans
        ]
        if any(row.prior for row in self._experiment.rows):
            columns += [
                Column("with prior − without", text, f"prior {metric} {name}", count)
                for text, name, count in [("all", "all", len(self._all)), *spans]
            ]
        return columns

    def cells(self, row: Row | None, runs: Sequence[str]) -> list[Cell]:
        """A row's cells under `columns`.

        Args:
            row: of the experiment; None for the mean hand.
            runs: the row's runs, one per seed: averaged sample by sample.
        """
        values = self._values(runs)
        cells = [self._cell(values, group, self._style) for group in self._groups.values()]
        if any(other.prior for other in self._experiment.rows):
            groups = (self._all, *self._groups.values())
            if row is None or not row.prior:
                return cells + [Cell(None, "difference") for _ in groups]
            plain = row.model_copy(update={"prior": False})
            change = values - self._values([plain.run(seed) for seed in self._experiment.seeds])
            cells += [self._cell(change, group, "difference") for group in groups]
        return cells

    def _values(self, runs: Sequence[str]) -> np.ndarray:
        return self._scale * np.mean([self._run(name).values for name in runs], 0)

    def _cell(self, values: np.ndarray, group: np.ndarray, style: str) -> Cell:
        chosen = values[group]
        if not len(chosen):
            return Cell(None, style)
        drawn = self._resamples and len(chosen) > 1
        return Cell(
            float(chosen.mean()), style, bootstrap_interval(chosen, self._resamples, self._seed) if drawn else None
        )
