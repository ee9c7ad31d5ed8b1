"""`python -m handgap.evaluate.step`: predictions -> metrics of a protocol; renders -> an outside judge's numbers."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from handgap.core.config.evaluate import Evaluate
from handgap.core.errors import ConfigError, run_step
from handgap.core.files import written_whole
from handgap.core.images import decode_rgb
from handgap.core.progress import track
from handgap.core.provenance import settings_hash
from handgap.core.store import ShardedStore, write_store
from handgap.evaluate.inputs import read_pairs
from handgap.evaluate.protocols import PROTOCOLS, evaluate
from handgap.evaluate.tidy import tidy_metrics

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table, whole or not at all; nine significant digits are more than any metric has."""
    with written_whole(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")


@app.command()
def metrics(
    pred: Annotated[Path, typer.Option(help="predictions (.h5)")],
    truth: Annotated[list[Path], typer.Option(help="shards with the true joints and vertices; repeat it")],
    out: Annotated[Path, typer.Option(help="tidy metrics (.csv)")],
    run: Annotated[str, typer.Option(help="name of the run")],
    network: Annotated[str, typer.Option()],
    recipe: Annotated[str, typer.Option()],
    run_seed: Annotated[int, typer.Option(help="seed of the training run")],
    dataset: Annotated[str, typer.Option()],
    split: Annotated[str, typer.Option()],
    study: Annotated[str, typer.Option(help="name of the study")],
    seed: Annotated[int, typer.Option(help="the study's seed")],
    code: Annotated[str, typer.Option(help="hash of this step's code")],
    settings: Annotated[str, typer.Option(help="JSON of the evaluate section")],
    per_sample: Annotated[Path | None, typer.Option(help="per-sample metrics (.h5)")] = None,
) -> None:
    """Evaluate one run on one split."""
    options = Evaluate.model_validate_json(settings)
    pairs = read_pairs(pred, truth)
    protocol = PROTOCOLS[options.protocol]
    scores = evaluate(protocol, pairs.joints, pairs.vertices, pairs.pred_joints, pairs.pred_vertices)
    keys = {"run": run, "network": network, "recipe": recipe, "seed": run_seed, "dataset": dataset, "split": split}
    keys["protocol"] = f"{protocol.describe()}; crop: {pairs.crop}"
    if per_sample:
        columns = {"id": pairs.ids} | {name: score.values for name, score in scores.items()}
        config = settings_hash(options.model_dump(mode="json"))
        extra = {"protocol": keys["protocol"], "run": run}
        provenance = {"study": study, "seed": seed, "code": code, "config": config}
        write_store(per_sample, columns, **provenance, parents=pairs.digests, extra=extra)
    write_csv(out, tidy_metrics(scores, pairs.excluded, options.bootstrap, seed, keys))


@app.command()
def quality_render(
    group: Annotated[list[str], typer.Option(help="name=shard,shard,...; repeat it")],
    out: Annotated[Path, typer.Option(help="one row per group (.csv)")],
) -> None:
    """Ask MediaPipe Hands where the hands are, and compare with the labels."""
    from handgap.evaluate.hands_found import judge, summarise, tracker

    rows = []
    for text in group:
        name, _, paths = text.partition("=")
        if not paths:
            raise ConfigError(f"--group {text}", "no shards in it", "pass --group NAME=SHARD,SHARD,...")
        with ShardedStore(paths.split(",")) as store, tracker() as hands:
            joints, K, valid = (store.column(column) for column in ("joints", "K", "valid"))
            samples = [index for index in range(len(store)) if valid[index]]
            judged = [
                judge(hands, decode_rgb(store.row("image", k), store.origin(k)), joints[k], K[k])
                for k in track(samples, len(samples), f"looking for hands in {name}")
            ]
        rows.append({"domain": name, "images": len(samples), **summarise(judged)})
    write_csv(out, pd.DataFrame(rows))


if __name__ == "__main__":
    run_step(app)
