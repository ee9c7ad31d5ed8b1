"""`python -m handgap.train.prior_step`: training joints -> the occlusion prior; predictions -> refined ones."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from handgap.core.config.base import parse_json
from handgap.core.config.prior import Prior
from handgap.core.errors import run_step
from handgap.core.provenance import file_sha256, settings_hash
from handgap.core.seeds import integer_seed
from handgap.core.store import ShardedStore, Store, write_store
from handgap.hands.annotation_hand import AnnotationHand
from handgap.train.curves import write_curves
from handgap.train.devices import compute_alike
from handgap.train.prior import (
    drawn_hands,
    labelled_hands,
    load_prior,
    matching_rows,
    refine,
    save_prior,
    train_prior,
)

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
StudyOption = Annotated[str, typer.Option(help="name of the study")]
SeedOption = Annotated[int, typer.Option(help="the study's seed")]
CodeOption = Annotated[str, typer.Option(help="hash of this step's code")]


@app.command()
def train(
    shards: Annotated[list[Path], typer.Argument(help="shards whose joints it learns")],
    annotation_hand: Annotated[Path, typer.Option(help="hand model of the labels (.npz), for drawn hands")],
    settings: Annotated[str, typer.Option(help="JSON of the prior section")],
    out: Annotated[Path, typer.Option(help="trained prior (.pt)")],
    curves: Annotated[Path, typer.Option(help="losses per epoch (.csv)")],
    study: StudyOption,
    seed: SeedOption,
    code: CodeOption,
) -> None:
    """Train the prior on the joints of labelled hands and of drawn ones."""
    options = parse_json(Prior, settings, "--settings")
    root = integer_seed(seed, "train/prior")
    compute_alike()
    with ShardedStore(shards) as store:
        hands, parents = labelled_hands(store), store.digests
    drawn = drawn_hands(AnnotationHand.load(annotation_hand), options.drawn_hands, root)
    prior, losses = train_prior(np.concatenate([hands, drawn]), options, root)
    config = settings_hash(options.model_dump(mode="json"))
    write_curves(curves, losses)
    provenance = {"study": study, "seed": seed, "code": code, "config": config}
    save_prior(out, prior, options, {**provenance, "parents": [*parents, file_sha256(annotation_hand)]})


@app.command("refine")
def refine_predictions(
    shards: Annotated[list[Path], typer.Argument(help="shards that were predicted: which hand is a left one")],
    pred: Annotated[Path, typer.Option(help="predictions (.h5)")],
    prior: Annotated[Path, typer.Option(help="trained prior (.pt)")],
    out: Annotated[Path, typer.Option(help="refined predictions (.h5)")],
    study: StudyOption,
    seed: SeedOption,
    code: CodeOption,
) -> None:
    """Replace the joints of predictions by what the prior makes of them; their vertices stay as they are."""
    network, provenance = load_prior(prior)
    with ShardedStore(shards) as truth:
        ids, sides = truth.column("id"), truth.column("side")
    with Store(pred) as store:
        columns = {name: store.column(name) for name in store.names}
        extra = {name: str(store.attrs[name]) for name in ("frame", "crop") if name in store.attrs}
        parents = [store.digest, file_sha256(prior)]
    side = sides[matching_rows(pred, columns["id"], ids)]
    rows = np.flatnonzero(columns["valid"])
    columns["joints"][rows] = refine(network, columns["joints"][rows], side[rows])
    extra["prior"] = "joints refined; vertices as predicted"
    config = str(provenance["config"])
    write_store(out, columns, study=study, seed=seed, code=code, config=config, parents=parents, extra=extra)


if __name__ == "__main__":
    run_step(app)
