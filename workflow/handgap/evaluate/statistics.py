"""Confidence intervals over test samples."""

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
    weights = rng(root_seed, STAGE).multinomial(count, np.full(count, 1.0 / count), size=resamples)
    low, high = np.quantile(weights @ values / count, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
