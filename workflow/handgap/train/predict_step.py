"""`python -m handgap.train.predict_step`: a trained network (or the mean training hand) -> predictions."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from handgap.core.errors import ConfigError, run_step
from handgap.core.progress import track
from handgap.core.provenance import file_sha256, settings_hash
from handgap.core.store import write_store
from handgap.data.samples import Samples
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.hierarchy import Hierarchy
from handgap.train.devices import compute_alike
from handgap.train.model_file import load_model
from handgap.train.predict import BATCH, FRAME, empty_predictions, predict, predict_mean_hand

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def run(
    shards: Annotated[list[Path], typer.Argument(help="shards to predict: images and, for crop and root, labels")],
    out: Annotated[Path, typer.Option(help="predictions (.h5)")],
    study: Annotated[str, typer.Option(help="name of the study")],
    seed: Annotated[int, typer.Option(help="the study's seed")],
    code: Annotated[str, typer.Option(help="hash of this step's code")],
    model: Annotated[Path | None, typer.Option(help="trained network (.pt)")] = None,
    annotation_hand: Annotated[Path | None, typer.Option(help="hand model of the labels (.npz)")] = None,
    hierarchy: Annotated[Path | None, typer.Option(help="mesh hierarchy of the hand model (.npz)")] = None,
    mean_of: Annotated[
        list[Path] | None, typer.Option(help="training shards whose mean hand is the prediction")
    ] = None,
) -> None:
    """Predict joints and vertices of every sample: with --model and --annotation-hand, or with --mean-of."""
    samples = Samples(shards)
    parents = list(samples.digests)
    if mean_of and model is None:
        train = Samples(mean_of)
        columns, crop, config = predict_mean_hand(train, samples), "none", settings_hash("mean hand")
        parents += train.digests
    elif model is not None and annotation_hand is not None and not mean_of:
        compute_alike()
        hand, meshes = AnnotationHand.load(annotation_hand), hierarchy and Hierarchy.load(hierarchy)
        network, image_size, expansion, provenance = load_model(model, hand, meshes)
        columns = empty_predictions(len(samples))
        batches = -(-int(samples.valid.sum()) // BATCH)
        for rows, part in track(predict(network, samples, image_size, expansion), batches, "predicting batch"):
            for name, values in part.items():
                columns[name][rows] = values
        crop = f"{image_size} px around the true joints, expansion {expansion:g}"
        config = provenance["config"]
        parents.append(file_sha256(model))
    else:
        raise ConfigError("arguments", "no predictor, or two", "give --model and --annotation-hand, or --mean-of")
    columns |= {"id": samples.ids, "valid": np.asarray(samples.valid)}
    extra = {"frame": FRAME, "crop": crop}
    write_store(out, columns, study=study, seed=seed, code=code, config=config, parents=parents, extra=extra)


if __name__ == "__main__":
    run_step(app)
