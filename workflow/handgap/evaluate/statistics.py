"""Confidence intervals over test samples."""

from collections.abc import Sequence

import numpy as np

from handgap.core.seeds import rng

STAGE = "evaluate/bootstrap"
BLOCK = 4_000_000  # draws held at once


def bootstrap_interval(values: np.ndarray, resamples: int, root_seed: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over samples (Efron 1979).

    The draws depend on the seed and the number of samples alone, so runs tested on the same samples are resampled
    alike.

    Args:
        values: (N,) per-sample metric.
        resamples: number of resamples, >= 1.
        root_seed: the study's seed.
        level: coverage.

    Returns:
        Lower and upper end.
    """
    return bootstrap_intervals([values], resamples, root_seed, level)[0]


def bootstrap_intervals(
    columns: Sequence[np.ndarray], resamples: int, root_seed: int, level: float = 0.95
) -> list[tuple[float, float]]:
    """`bootstrap_interval` of several metrics, each (N,); those of the same N share their draws, made once."""
    intervals: list[tuple[float, float]] = [(np.nan, np.nan)] * len(columns)
    for count in {len(column) for column in columns}:
        alike = [k for k, column in enumerate(columns) if len(column) == count]
        generator, share = rng(root_seed, STAGE), np.full(count, 1.0 / count)
        means, rows = [], max(1, BLOCK // count)
        for start in range(0, resamples, rows):
            drawn = generator.multinomial(count, share, size=min(rows, resamples - start)).astype(np.float64)
            means.append([drawn @ columns[k] / count for k in alike])
        for k, of_metric in zip(alike, np.concatenate(means, 1), strict=True):
            low, high = np.quantile(of_metric, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
            intervals[k] = float(low), float(high)
    return intervals
