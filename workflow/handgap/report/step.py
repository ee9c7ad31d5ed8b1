"""`python -m handgap.report.step`: tables, figures and contact sheets."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import typer

from handgap.core.config.base import parse_json
from handgap.core.config.experiment import Experiment
from handgap.core.errors import run_step
from handgap.core.files import read_arrays
from handgap.core.store import ShardedStore
from handgap.report import figures
from handgap.report.gallery import Overlay, failure_tiles, fit_tiles, prediction_tiles, sample_tiles
from handgap.report.levels import Levels, read_samples
from handgap.report.shard_sheet import shard_tiles
from handgap.report.sheets import contact_sheet, save_sheet
from handgap.report.table_formats import write_formats
from handgap.report.tables import build_table, read_metrics

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
OutOption = Annotated[Path, typer.Option(help="picture (.png or .jpg)")]
TitleOption = Annotated[str, typer.Option(help="first line of the sheet")]


@app.command()
def table(
    metrics: Annotated[list[Path], typer.Argument(help="tidy metrics of all runs of the table")],
    name: Annotated[str, typer.Option(help="of the experiment, e.g. table_main")],
    experiment: Annotated[str, typer.Option(help="JSON of the experiment")],
    study: Annotated[str, typer.Option(help="name of the study")],
    asset_set: Annotated[Literal["open", "paper"], typer.Option(help="open tables say they are not comparable")],
    csv: Annotated[Path, typer.Option()],
    tex: Annotated[Path, typer.Option()],
    html: Annotated[Path, typer.Option()],
    samples: Annotated[
        list[Path] | None, typer.Option(help="per-sample metrics of all runs, for columns by occlusion level")
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="resamples of the intervals by level")] = 0,
    seed: Annotated[int, typer.Option(help="the study's seed")] = 0,
) -> None:
    """Write a table in three formats."""
    described = parse_json(Experiment, experiment, "--experiment")
    levels = None
    if described.levels:
        levels = Levels(described, read_samples(samples or [], described.metrics[0]), bootstrap, seed)
    built = build_table(name, described, read_metrics(metrics), study, asset_set, levels)
    write_formats(built, csv, tex, html)


@app.command()
def spectrum(
    spectra: Annotated[Path, typer.Argument(help="amplitude spectra (.csv)")],
    experiment: Annotated[str, typer.Option(help="JSON of the experiment")],
    png: Annotated[Path, typer.Option()],
    svg: Annotated[Path, typer.Option()],
) -> None:
    """Draw the amplitude spectra."""
    title = parse_json(Experiment, experiment, "--experiment").title
    figures.save(figures.spectrum_figure(pd.read_csv(spectra), title), png, svg)


@app.command()
def curves(
    files: Annotated[list[Path], typer.Argument(help="curves.csv of each run, in a folder of the run's name")],
    png: Annotated[Path, typer.Option()],
    svg: Annotated[Path, typer.Option()],
) -> None:
    """Draw training curves."""
    figures.save(figures.curves_figure({path.parent.name: pd.read_csv(path) for path in files}), png, svg)


@app.command()
def sheet(
    stores: Annotated[list[Path], typer.Argument(help="shards with images")],
    title: TitleOption,
    out: OutOption,
    overlay: Annotated[Overlay, typer.Option(help="labels drawn in")] = "joints",
    labels: Annotated[list[Path] | None, typer.Option(help="shards the labels come from, if others")] = None,
) -> None:
    """A contact sheet of samples."""
    tiles = sample_tiles(stores, overlay, labels or ())
    drawn = {"joints": "joints of the labels", "mask": "green: hand, blue: arm, orange: object", "none": "images"}
    save_sheet(out, contact_sheet(tiles, title, f"{len(tiles)} samples, {drawn[overlay]}"))


@app.command()
def shard(
    store: Annotated[Path, typer.Argument(help="shard of the render stage")],
    title: TitleOption,
    out: OutOption,
) -> None:
    """A contact sheet of one shard: images, classes, joints, and what failed."""
    tiles, subtitle = shard_tiles(store)
    save_sheet(out, contact_sheet(tiles, title, subtitle, columns=3, size=480))


@app.command()
def failures(
    stores: Annotated[list[Path], typer.Argument(help="shards with exact masks")],
    masks: Annotated[list[Path], typer.Option(help="their segmentation; repeat it")],
    title: TitleOption,
    out: OutOption,
) -> None:
    """A contact sheet of the worst masks."""
    tiles = failure_tiles(stores, masks)
    subtitle = "pairs: exact, found; not valid, then lowest IoU of hand, arm, object, then objects that are not there"
    save_sheet(out, contact_sheet(tiles, title, subtitle))


@app.command()
def fit(
    stores: Annotated[list[Path], typer.Argument(help="shards of the fit stage")],
    images: Annotated[list[Path], typer.Option(help="shards of the real side; repeat it")],
    render_hand: Annotated[Path, typer.Option(help="render hand (.npz)")],
    annotation_hand: Annotated[Path, typer.Option(help="annotation hand (.npz)")],
    title: TitleOption,
    out: OutOption,
    histogram: Annotated[Path, typer.Option(help="histogram of the residuals (.png)")],
) -> None:
    """A contact sheet of fits, and their residuals."""
    faces = read_arrays(annotation_hand, ["faces"])["faces"]
    tiles = fit_tiles(stores, images, render_hand, faces)
    save_sheet(
        out, contact_sheet(tiles, title, "blue: annotated hand, orange: render hand fitted to it; mean residual")
    )
    with ShardedStore(stores) as store:
        valid = store.column("valid")
        splits = np.concatenate([[shard.path.parent.name] * len(shard) for shard in store.shards])
        figures.save(figures.residual_figure(store.column("residual_mm")[valid], splits[valid]), histogram)


@app.command()
def predictions(
    pred: Annotated[Path, typer.Argument(help="predictions (.h5)")],
    truth: Annotated[list[Path], typer.Option(help="shards they were made for; repeat it")],
    annotation_hand: Annotated[Path, typer.Option(help="annotation hand (.npz)")],
    title: TitleOption,
    out: OutOption,
) -> None:
    """A contact sheet of test images with true joints, predicted joints and predicted mesh side by side."""
    tiles = prediction_tiles(pred, truth, read_arrays(annotation_hand, ["faces"])["faces"])
    subtitle = f"{len(tiles) // 3} of the test images: true joints, then predicted joints and mesh at the true root"
    save_sheet(out, contact_sheet(tiles, title, subtitle, columns=9))


if __name__ == "__main__":
    run_step(app)
