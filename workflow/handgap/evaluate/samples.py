"""Files of per-sample metrics: written beside a table of metrics, read to compare runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handgap.core.errors import ConfigError
from handgap.core.store import Store, write_store
from handgap.evaluate.scores import Score

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
