"""Confidence intervals over test samples."""

from functools import lru_cache

import numpy as np

from handgap.core.seeds import rng

STAGE = "evaluate/bootstrap"


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
    count = len(values)
    low, high = np.quantile(
        _weights(count, resamples, root_seed) @ values / count, [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    )
    return float(low), float(high)


@lru_cache(maxsize=8)
def _weights(count: int, resamples: int, root_seed: int) -> np.ndarray:
    """How often each sample is drawn: (resamples, count) float64, the same for all metrics of a file."""
    return rng(root_seed, STAGE).multinomial(count, np.full(count, 1.0 / count), size=resamples).astype(np.float64)
