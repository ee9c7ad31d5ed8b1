"""Step of the export stage, and the verb `handgap export`: stores -> a folder in another format."""

from pathlib import Path
from typing import Annotated

import typer

from handgap.core.errors import printable, run_step
from handgap.export.names import FormatName

TABLE = Path(__file__).resolve().parents[3] / "config/assets.csv"
Model = Annotated[Path | None, typer.Option(help="converted model (.npz), for formats that need it; docs/export.md")]

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def export(
    form: Annotated[FormatName, typer.Argument(metavar="FORMAT", help="format to write")],
    stores: Annotated[list[Path], typer.Argument(metavar="STORE...", help="shards of one stage and split, in order")],
    out: Annotated[Path, typer.Option(help="folder to make; an earlier export there is replaced")],
    split: Annotated[str, typer.Option(help="name of the split in the format's own file names")] = "train",
    annotation_hand: Model = None,
    render_hand: Model = None,
    textures: Model = None,
    asset: Annotated[
        list[str] | None, typer.Option(help="asset used (config/assets.csv), instead of those the stores tell of")
    ] = None,
    per_file: Annotated[int, typer.Option(min=1, help="samples in one tar or Parquet file")] = 1000,
    table: Annotated[Path, typer.Option(help="table of assets, for their licences")] = TABLE,
    code: Annotated[str | None, typer.Option(help="hash of this step's code, as the rules give it")] = None,
) -> None:
    """Write stores as FreiHAND, COCO keypoints, HandSynthesis folders, WebDataset shards or Parquet."""
    from handgap.core.provenance import code_of
    from handgap.export.formats import export_stores

    tally = export_stores(
        form,
        stores,
        out,
        split=split,
        code=code or code_of("export.step"),
        table=table,
        assets=asset or (),
        annotation_hand=annotation_hand,
        render_hand=render_hand,
        textures=textures,
        per_file=per_file,
    )
    left_out = f", {tally.invalid} not valid" if tally.invalid else ""
    mirrored = f", {tally.mirrored} left hands mirrored" if tally.mirrored else ""
    typer.echo(f"{printable(out)}: {tally.written} samples{left_out}{mirrored}")


if __name__ == "__main__":
    run_step(app)
