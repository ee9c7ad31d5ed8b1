"""Tidy metrics: one row per run, dataset and metric."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from handgap.core.files import written_whole
from handgap.evaluate.scores import Score
from handgap.evaluate.statistics import bootstrap_intervals

COLUMNS = [
    *("run", "network", "recipe", "seed", "dataset", "split", "metric"),
    *("value", "unit", "n", "ci_low", "ci_high", "protocol"),
]


def tidy_metrics(
    scores: Mapping[str, Score], excluded: int, resamples: int, root_seed: int, keys: Mapping[str, str | int]
) -> pd.DataFrame:
    """Means over samples with their 95 % intervals.

    Args:
        scores: metric -> per-sample values.
        excluded: samples left out because their labels are not valid, reported as metric "excluded".
        resamples: bootstrap resamples; 0 leaves the intervals empty.
        root_seed: the study's seed.
        keys: run, network, recipe, seed, dataset, split, protocol: the same in every row.

    Returns:
        Columns run, network, recipe, seed, dataset, split, metric, value, unit, n, ci_low, ci_high, protocol; n counts
        the samples that a metric applies to.
    """
    known = {metric: score.values[np.isfinite(score.values)] for metric, score in scores.items()}
    drawn = [metric for metric, values in known.items() if resamples and len(values)]
    intervals = bootstrap_intervals([known[metric] for metric in drawn], resamples, root_seed)
    ends = dict(zip(drawn, intervals, strict=True))
    rows = []
    for metric, score in scores.items():
        low, high = ends.get(metric, (None, None))
        row = {"metric": metric, "value": score.mean(), "unit": score.unit, "n": len(known[metric])}
        rows.append({**row, "ci_low": low, "ci_high": high})
    count = len(next(iter(scores.values())).values)
    rows.append({"metric": "excluded", "value": float(excluded), "unit": "samples", "n": count})
    return pd.DataFrame([{**keys, **row} for row in rows], columns=COLUMNS)


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table, whole or not at all; nine significant digits are more than any metric has."""
    with written_whole(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")
