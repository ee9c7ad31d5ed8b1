"""Paired comparison of two runs on the same samples."""

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from handgap.core.errors import ConfigError
from handgap.core.seeds import integer_seed
from handgap.evaluate.samples import SampleMetrics
from handgap.evaluate.statistics import bootstrap_intervals

STAGE = "evaluate/permutation"


def compare(first: SampleMetrics, second: SampleMetrics, resamples: int, seed: int) -> pd.DataFrame:
    """Paired comparison of two runs on the same samples.

    The interval is the percentile bootstrap of the mean paired difference. The p-value is of the two-sided permutation
    test that swaps the runs within samples (Fisher 1935; `scipy.stats.permutation_test`): how often runs that differ by
    chance alone differ as much. Both concern the test samples: another training seed is another run.

    Args:
        first, second: matched by id.
        resamples: of the bootstrap and of the permutation test.
        seed: of both.

    Returns:
        A row a metric that both have: metric, first, second, difference (second - first), ci_low, ci_high, p_value, n.

    Raises:
        ConfigError: protocols, crops among them, or samples differ; no metric in common.
    """
    files = f"{first.path} and {second.path}"
    if first.protocol != second.protocol:
        problem = f"different protocols: '{first.protocol}' and '{second.protocol}'"
        raise ConfigError(
            files, problem, "evaluate both alike: crop, alignment, root and fingertips change the numbers"
        )
    if len(np.setxor1d(first.ids, second.ids)) or len(first.ids) != len(second.ids):
        both = len(np.intersect1d(first.ids, second.ids))
        problem = f"different samples: {len(first.ids)} and {len(second.ids)}, {both} of them in both"
        raise ConfigError(files, problem, "evaluate both on the same test set")
    names = [name for name in first.values if name in second.values]
    if not names:
        raise ConfigError(files, "no metric in common", "evaluate both alike")
    order = [np.argsort(run.ids) for run in (first, second)]
    pairs = {}
    for name in names:
        a, b = (run.values[name][rows] for run, rows in zip((first, second), order, strict=True))
        known = np.isfinite(a) & np.isfinite(b)
        if known.any():
            pairs[name] = a[known], b[known]
    intervals = bootstrap_intervals([b - a for a, b in pairs.values()], resamples, seed)
    rows = []
    for (name, (a, b)), (low, high) in zip(pairs.items(), intervals, strict=True):
        means = {"first": a.mean(), "second": b.mean(), "difference": (b - a).mean()}
        tested = {"ci_low": low, "ci_high": high, "p_value": _p_value(b - a, resamples, seed), "n": len(a)}
        rows.append({"metric": name, **means, **tested})
    return pd.DataFrame(rows)


def _p_value(difference: np.ndarray, resamples: int, seed: int) -> float:
    if not difference.any():
        return 1.0
    result = permutation_test(
        (difference,),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        n_resamples=resamples,
        batch=max(1, 2_000_000 // len(difference)),
        vectorized=True,
        random_state=np.random.default_rng(integer_seed(seed, STAGE)),
    )
    return float(result.pvalue)
