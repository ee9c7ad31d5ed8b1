"""`python -m handgap.evaluate.step`: predictions -> metrics of a protocol."""

from pathlib import Path
from typing import Annotated

import typer

from handgap.core.config.base import parse_json
from handgap.core.config.evaluate import Evaluate
from handgap.core.errors import run_step
from handgap.core.provenance import settings_hash
from handgap.core.store import ShardedStore
from handgap.evaluate.inputs import describe, read_pairs
from handgap.evaluate.occlusion import hidden_joints
from handgap.evaluate.protocols import PROTOCOLS
from handgap.evaluate.samples import write_samples
from handgap.evaluate.scores import evaluate
from handgap.evaluate.tidy import tidy_metrics, write_csv

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


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
    per_sample: Annotated[Path | None, typer.Option(help="per-sample metrics and share of hidden joints (.h5)")] = None,
) -> None:
    """Evaluate one run on one split."""
    options = parse_json(Evaluate, settings, "--settings")
    protocol = PROTOCOLS[options.protocol]
    pairs = read_pairs(pred, truth, protocol.meshes)
    columns = (pairs.joints, pairs.vertices, pairs.pred_joints, pairs.pred_vertices)
    scores = evaluate(protocol, *columns, camera=pairs.camera)
    keys = {"run": run, "network": network, "recipe": recipe, "seed": run_seed, "dataset": dataset, "split": split}
    keys["protocol"] = describe(protocol, pairs)
    if per_sample:
        with ShardedStore(truth) as labels:
            hidden, told_by = hidden_joints(labels)
            if hidden is not None:
                hidden = hidden[labels.column("valid").astype(bool)]
        config = settings_hash(options.model_dump(mode="json"))
        provenance = {"study": study, "seed": seed, "code": code, "config": config}
        kept = {"run": run, "protocol": keys["protocol"], "provenance": provenance, "parents": pairs.digests}
        write_samples(per_sample, pairs.ids, scores, hidden, told_by, **kept)
    write_csv(out, tidy_metrics(scores, pairs.excluded, options.bootstrap, seed, keys))


if __name__ == "__main__":
    run_step(app)
