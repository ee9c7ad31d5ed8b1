"""Files of per-sample metrics: written beside every table of metrics, compared with one another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from handgap.core.errors import ConfigError
from handgap.core.seeds import integer_seed
from handgap.core.store import Store, write_store
from handgap.evaluate.scores import Score
from handgap.evaluate.statistics import bootstrap_interval

STAGE = "evaluate/permutation"
NOT_METRICS = ("id", "hidden")


@dataclass(frozen=True)
class SampleMetrics:
    """Per-sample metrics of a run.

    Attributes:
        path: the file.
        run: name of the run.
        protocol: what was measured and how, the crop included.
        ids: (N,) int64.
        values: metric -> (N,).
        digest: of the file's content.
    """

    path: Path
    run: str
    protocol: str
    ids: np.ndarray
    values: dict[str, np.ndarray]
    digest: str


def write_samples(
    path: Path,
    ids: np.ndarray,
    scores: Mapping[str, Score],
    hidden: np.ndarray | None,
    told_by: str,
    *,
    run: str,
    protocol: str,
    provenance: Mapping[str, str | int],
    parents: Sequence[str],
) -> None:
    """Keep every sample's value of every metric.

    Args:
        path: the file (.h5).
        ids: (N,).
        scores: metric -> score of N samples.
        hidden: (N, 21) bool, if known.
        told_by: what hidden joints were told by.
        run, protocol: as in the table of metrics.
        provenance: study, seed, code, config.
        parents: digests of what was read.
    """
    columns = {"id": ids} | {name: score.values for name, score in scores.items()}
    if hidden is not None:
        columns["hidden"] = hidden.mean(1)
    extra = {"protocol": protocol, "run": run, "hidden": told_by}
    write_store(path, columns, **provenance, parents=parents, extra=extra)


def read_samples(path: Path) -> SampleMetrics:
    """Per-sample metrics.

    Raises:
        MissingAssetError, CorruptFileError: no such file, or no store.
        ConfigError: it holds something else than metrics.
    """
    with Store(path) as store:
        if "protocol" not in store.attrs:
            raise ConfigError(path, "no per-sample metrics", "give files of `handgap evaluate --per-sample`")
        values = {name: store.column(name) for name in store.names if name not in NOT_METRICS}
        run, protocol = (str(store.attrs[name]) for name in ("run", "protocol"))
        return SampleMetrics(path, run, protocol, store.column("id"), values, store.digest)


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
    rows = []
    for name in names:
        values = [run.values[name][rows_of] for run, rows_of in zip((first, second), order, strict=True)]
        known = np.isfinite(values[0]) & np.isfinite(values[1])
        if not known.any():
            continue
        a, b = (column[known] for column in values)
        low, high = bootstrap_interval(b - a, resamples, seed)
        means = {"first": a.mean(), "second": b.mean(), "difference": (b - a).mean()}
        rows.append(
            {
                "metric": name,
                **means,
                "ci_low": low,
                "ci_high": high,
                "p_value": _p_value(b - a, resamples, seed),
                "n": len(a),
            }
        )
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
