"""`handgap`: the verbs for people. Everything heavy is imported by the verb that needs it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from handgap.core.errors import HandgapError, printable, run_step
from handgap.evaluate.cli import compare, evaluate, submission
from handgap.export.step import export
from handgap.hands.convert.cli import app as convert
from handgap.hands.fit.cli import fit_hand
from handgap.render.cli import app as render
from handgap.report.inspect_dataset import inspect_dataset
from handgap.use.cli import export_model, predict

ROOT = Path(__file__).resolve().parents[2]

app = typer.Typer(
    help="The synthetic-to-real gap of 3D hand pose: look at files, assets and reasons.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(convert, name="convert")
app.add_typer(render, name="render")
app.command("fit-hand")(fit_hand)
app.command()(predict)
app.command()(evaluate)
app.command()(compare)
app.command()(submission)
app.command("export-model")(export_model)
app.command("inspect-dataset")(inspect_dataset)
app.command()(export)
StoreArgument = Annotated[Path, typer.Argument(help="a store (.h5)")]


@app.command()
def doctor(
    table: Annotated[Path, typer.Option(help="table of assets")] = ROOT / "config/assets.csv",
    root: Annotated[Path, typer.Option(help="folder of fetched assets")] = ROOT / "results/assets",
) -> None:
    """Say which assets are present or missing, how to get them, and what works without them."""
    from rich.console import Console

    from handgap.assets.doctor import doctor_table
    from handgap.assets.table import read_table

    Console().print(doctor_table(read_table(table), root))


@app.command()
def inspect(
    file: StoreArgument,
    verify: Annotated[bool, typer.Option("--verify", help="read everything and compare with the digest")] = False,
) -> None:
    """Show a store's columns, attributes and parents."""
    import json

    from rich.console import Console
    from rich.table import Table

    from handgap.core.store import Store

    console = Console()
    with Store(file) as store:
        valid = store.column("valid") if "valid" in store else None
        note = "" if valid is None or valid.all() else f", {int((~valid).sum())} not valid"
        columns = Table("column", "shape", "type", title=f"{file}: {len(store)} samples{note}", title_justify="left")
        for name in store.names:
            values = store.column(name)
            kind = "text or encoded file" if values.dtype == object else str(values.dtype)
            columns.add_row(name, " x ".join(map(str, values.shape)), kind)
        console.print(columns)
        attributes = Table("attribute", "value", title_justify="left")
        for key, value in store.attrs.items():
            shown = json.loads(str(value)) if key == "parents" else [value]
            attributes.add_row(key, "\n".join(map(str, shown)) or "none")
        console.print(attributes)
        if valid is not None and not valid.all() and "flag" in store:
            for sample, flag in zip(store.column("id")[~valid], store.column("flag")[~valid], strict=True):
                console.print(f"sample {sample}: {flag}")
        if verify:
            store.verify()
            console.print("content matches its digest", style="green")


@app.command()
def view(
    file: StoreArgument,
    out: Annotated[Path | None, typer.Option(help="contact sheet to write; FILE.png if not given")] = None,
    overlay: Annotated[Literal["joints", "mask", "none"], typer.Option(help="labels drawn in")] = "joints",
    rows: Annotated[int, typer.Option(min=1, help="samples shown at most")] = 48,
) -> None:
    """Draw a contact sheet of a store's images with their labels."""
    from handgap.report.gallery import sample_tiles
    from handgap.report.sheets import contact_sheet, save_sheet

    tiles = sample_tiles([file], overlay, shown=rows)
    target = out or Path(file.with_suffix(".png").name)
    save_sheet(target, contact_sheet(tiles, file.name, f"{len(tiles)} samples, labels: {overlay}"))
    typer.echo(target)


@app.command()
def segment(
    folder: Annotated[Path, typer.Argument(help="folder of photos; subfolders are searched too")],
    out: Annotated[Path, typer.Option(help="folder for masks/, overlays/ and hands.csv")],
    segmenter: Annotated[Literal["mobilesam", "vit_b", "vit_l", "vit_h"], typer.Option(help="model")] = "mobilesam",
    boxes: Annotated[Literal["palm", "grounding_dino"], typer.Option(help="how hands are found")] = "palm",
    weights: Annotated[Path, typer.Option(help="file of the segmenter's weights, or folder of assets")] = ROOT
    / "results/assets",
) -> None:
    """Cut hands, arms and held objects out of a folder of photos."""
    from handgap.core.config.segment import GROUNDING_DINO, SAM_INPUT, SEGMENTERS, VOCAB, Segment
    from handgap.core.provenance import code_of, file_sha256, settings_hash
    from handgap.report.draw import draw_mask
    from handgap.segment.finders import open_finder
    from handgap.segment.hand_table import TABLE
    from handgap.segment.photo_folder import photos_of, segment_folder
    from handgap.segment.photos import PhotoSegmenter
    from handgap.segment.sam import SamSegmenter

    photos = photos_of(folder, out)
    settings = Segment(segmenter=segmenter, boxes=boxes, input_size=SAM_INPUT)
    files = [SEGMENTERS[segmenter].find(weights)]
    if boxes == "grounding_dino":
        assets = weights.parent if weights.is_file() else weights
        files += [GROUNDING_DINO.find(assets), VOCAB.find(assets)]
    code = map(code_of, ("segment.photos", "segment.photo_folder", "segment.finders", "report.draw"))
    made_from = [settings.model_dump(mode="json"), *code, *map(file_sha256, files)]
    model = SamSegmenter.load(files[0], settings)
    with open_finder(settings, *files[1:], photos=True) as finder:
        segmenter_of_photos = PhotoSegmenter(finder, model, settings)
        outcome = segment_folder(photos, out, segmenter_of_photos, settings_hash(made_from), draw_mask)
    typer.echo(outcome.summary())
    typer.echo(printable(out / TABLE))


@app.command()
def why(
    target: Annotated[str, typer.Argument(help="a file or target of the workflow")],
    configfile: Annotated[list[Path] | None, typer.Option(help="study, as for snakemake; repeat it")] = None,
) -> None:
    """Say why a file would be made again, in plain words."""
    from rich.console import Console

    from handgap.report.why import dry_run

    if not (Path.cwd() / "Snakefile").is_file():
        raise HandgapError(Path.cwd(), "no Snakefile here", "run it in the folder of the workflow")
    console = Console(highlight=False, soft_wrap=True)
    jobs = dry_run(target, Path.cwd(), configfile or [])
    if not jobs:
        console.print(f"{target} is up to date: nothing to do.")
        return
    causes = [job for job in jobs if job.root]
    console.print(f"{target} needs {len(jobs)} job{'s' if len(jobs) > 1 else ''}. It starts with:")
    for job in causes:
        console.print(f"- {job.output}" if job.output == job.rule else f"- {job.output}  ({job.rule})")
        for reason in job.reasons:
            console.print(f"    {reason}")
    followers = sorted({job.rule for job in jobs if not job.root})
    if followers:
        console.print(f"{len(jobs) - len(causes)} more follow from these: {', '.join(followers)}")


def main() -> None:
    """Entry point of the console command."""
    run_step(app)


if __name__ == "__main__":
    main()
