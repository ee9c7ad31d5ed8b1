"""The verbs `handgap evaluate`, `handgap compare` and `handgap submission`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from handgap.evaluate.protocols import PROTOCOLS

ProtocolName = Literal[tuple(PROTOCOLS)]
ProtocolOption = Annotated[ProtocolName, typer.Option(help="whose evaluation is followed (docs/evaluation.md)")]
PredOption = Annotated[Path, typer.Option(help="predictions: .h5, .npz, or the dataset's own .json, .zip or .txt")]
SeedOption = Annotated[int, typer.Option(min=0, help="of the resamples")]


def evaluate(
    pred: PredOption,
    truth: Annotated[list[Path], typer.Option(help="the dataset's folder, or stores with labels; repeat it")],
    protocol: ProtocolOption = "freihand",
    out: Annotated[Path | None, typer.Option(help="tidy metrics to write (.csv)")] = None,
    per_sample: Annotated[Path | None, typer.Option(help="per-sample metrics to write (.h5)")] = None,
    crop: Annotated[str, typer.Option(help="what the network was shown, where the predictions do not say")] = "",
    levels: Annotated[
        list[float] | None, typer.Option(help="edges between occlusion levels, shares of hidden joints; repeat it")
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=1, help="resamples for the 95 % intervals")] = 1000,
    seed: SeedOption = 0,
) -> None:
    """Judge predictions by a published protocol."""
    from rich.console import Console
    from rich.table import Table

    from handgap.core.provenance import code_of, settings_hash
    from handgap.evaluate.files.sources import hidden_of, judge, read_sources
    from handgap.evaluate.inputs import describe
    from handgap.evaluate.occlusion import scores_by_occlusion
    from handgap.evaluate.samples import write_samples
    from handgap.evaluate.tidy import tidy_metrics, write_csv

    rules = PROTOCOLS[protocol]
    pairs = read_sources(rules, pred, truth, crop)
    ids, scores, excluded = judge(rules, pairs)
    hidden, told_by = hidden_of(rules, truth) if levels else (None, "not asked for")
    parts = scores_by_occlusion(scores, hidden, sorted(levels)) if levels else {}
    described = describe(rules, pairs)
    keys = {"run": pred.stem, "network": "", "recipe": "", "seed": "", "dataset": protocol, "split": ""}
    frame = tidy_metrics(scores | parts, excluded, bootstrap, seed, keys | {"protocol": described})
    if out:
        write_csv(out, frame)
    if per_sample:
        config = settings_hash({"protocol": protocol, "crop": pairs.crop})
        provenance = {"study": "handgap evaluate", "seed": seed, "code": code_of("evaluate.cli"), "config": config}
        kept = {"run": pred.stem, "protocol": described, "provenance": provenance, "parents": pairs.digests}
        write_samples(per_sample, ids, scores, hidden, told_by, **kept)
    left_out = f", {excluded} left out" if excluded else ""
    table = Table(title=f"{pred}: {len(ids)} samples{left_out}", caption=described)
    table.add_column("metric")
    for head in ("value", "95 % interval", "unit", "n"):
        table.add_column(head, justify="right")
    for row in frame[frame.metric != "excluded"].itertuples():
        table.add_row(row.metric, f"{row.value:.4f}", f"{row.ci_low:.4f} to {row.ci_high:.4f}", row.unit, str(row.n))
    Console().print(table)


def compare(
    first: Annotated[Path, typer.Argument(help="per-sample metrics of a run (.h5)")],
    second: Annotated[Path, typer.Argument(help="of another run on the same samples")],
    out: Annotated[Path | None, typer.Option(help="the same as a table (.csv)")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="of the bootstrap and of the permutation test")] = 5_000,
    seed: SeedOption = 0,
) -> None:
    """Say whether two runs differ on the samples that both were tested on."""
    from rich.console import Console
    from rich.table import Table

    from handgap.evaluate.comparison import compare as compare_runs
    from handgap.evaluate.samples import read_samples
    from handgap.evaluate.tidy import write_csv

    a, b = read_samples(first), read_samples(second)
    frame = compare_runs(a, b, resamples, seed)
    if out:
        write_csv(out, frame)
    table = Table(title=f"{b.run} - {a.run}: paired over {len(a.ids)} samples", caption=a.protocol)
    table.add_column("metric", min_width=max(map(len, frame.metric)))
    for head in (a.run, b.run, "difference", "95 % interval", "p"):
        table.add_column(head, justify="right")
    for row in frame.itertuples():
        interval = f"{row.ci_low:.4f} to {row.ci_high:.4f}"
        numbers = (f"{value:.4f}" for value in (row.first, row.second, row.difference))
        table.add_row(row.metric, *numbers, interval, f"{row.p_value:.4f}")
    Console().print(table)


def submission(
    pred: Annotated[Path, typer.Option(help="predictions of the whole split: .h5 or .npz")],
    protocol: ProtocolOption,
    out: Annotated[Path, typer.Option(help="file to write: .json or .zip (FreiHAND, HO3D), .txt (DexYCB)")],
) -> None:
    """Write predictions as a dataset's own evaluation takes them."""
    from handgap.evaluate.files.sources import write_submission

    count, note = write_submission(PROTOCOLS[protocol], pred, out)
    typer.echo(f"{out}: {count} samples{note}")
