"""The verb `handgap inspect-dataset`: counts and label sanity of a dataset in a folder, and some of its samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from handgap.ingest.look import Look
    from handgap.report.sheets import Tile

RESULTS = Path(__file__).resolve().parents[3] / "results"
SHOWN = 16
ASPECTS = (
    *("rows", "looked at", "valid", "left hands", "wrist to middle knuckle, mm", "joints inside the picture"),
    *("mean bend of finger joints", "MANO against labels, mm"),
)
Model = Annotated[Path, typer.Option(help="MANO's hand, converted; used if there")]


def inspect_dataset(
    name: Annotated[str, typer.Argument(help="kind of the dataset, e.g. freihand (docs/datasets.md)")],
    folder: Annotated[Path, typer.Argument(help="its folder, laid out as published")],
    options: Annotated[str, typer.Option(help='its other settings, JSON, e.g. {"version": "v2"}')] = "{}",
    split: Annotated[list[str] | None, typer.Option(help="look at this split alone; repeat it")] = None,
    hand: Model = RESULTS / "models/mano.npz",
    left_hand: Model = RESULTS / "models/mano_left.npz",
    rows: Annotated[int, typer.Option(min=1, help="rows of each split looked at")] = 200,
    out: Annotated[Path | None, typer.Option(help="contact sheet to write; NAME.png if not given")] = None,
    state: Annotated[Path, typer.Option(help="folder for indices, which are slow to make")] = RESULTS / ".state/index",
) -> None:
    """Count a dataset's samples, check labels of some of them, and draw sixteen."""
    import json

    from pydantic import TypeAdapter
    from rich.console import Console
    from rich.table import Table

    from handgap.core.config.base import parse_json
    from handgap.core.config.imported import AnyImported
    from handgap.core.errors import ConfigError
    from handgap.data.adapters.registry import open_adapter
    from handgap.ingest.look import look_at, present_splits
    from handgap.ingest.shard import load_hands
    from handgap.report.sheets import contact_sheet, save_sheet

    try:
        chosen = json.loads(options)
    except json.JSONDecodeError as error:
        raise ConfigError("--options", f"no JSON ({error})", 'quote it: --options \'{"version": "v2"}\'') from error
    section = json.dumps(chosen | {"kind": name, "root": str(folder), "splits": {"train": 1}})
    adapter = open_adapter(parse_json(TypeAdapter(AnyImported), section, "NAME and --options"))
    hands = load_hands(*(path if path.is_file() else None for path in (hand, left_hand)))
    if any(side not in hands for side in adapter.sides):
        hands = {}
    console, looks = Console(highlight=False), []
    for one in split or present_splits(adapter):
        # said at once: an index can take minutes
        console.print(f"{one}: {adapter.count(one)} rows")
        looks.append(look_at(adapter, one, state, hands, rows))
    table = Table("", title=f"{adapter.title} in {folder}", title_justify="left")
    for look in looks:
        table.add_column(look.split, justify="right")
    for heading, *cells in zip(ASPECTS, *map(_cells, looks), strict=True):
        table.add_row(heading, *cells)
    console.print(table)
    console.print(f"licence: {adapter.licence}")
    for look in looks:
        for reason, count in look.flags.most_common(10):
            console.print(f"{look.split}: {count} x {reason}", soft_wrap=True)
    if not hands and adapter.pose_space:
        console.print("no hand model: parameters were not compared with the labels (docs/licensed_models.md)")
    counts = ", ".join(f"{look.split}: {look.rows}" for look in looks)
    console.print(f"for the configuration: splits: {{{counts}}}")
    target = out or Path(f"{name}.png")
    tiles = dataset_tiles(looks, SHOWN)
    save_sheet(target, contact_sheet(tiles, f"{adapter.title}: {folder.name}", counts, columns=4, size=288))
    typer.echo(target)


def _cells(look: "Look") -> list[str]:
    """Cells of a split, in the order of `ASPECTS`."""
    seen, valid = len(look.columns["id"]), int(look.columns["valid"].sum())
    cells = [f"{look.rows}", f"{seen}", f"{valid}"]
    if not valid:
        return cells + ["-"] * (len(ASPECTS) - len(cells))
    median, greatest = look.residual_mm
    return [
        *cells,
        f"{look.left:.1%}",
        "{1:.0f} ({0:.0f} to {2:.0f})".format(*look.palm_mm),
        f"{look.inside:.1%}",
        f"{look.bend_deg:.0f}°",
        f"{median:.2f} (to {greatest:.2f})" if median == median else "-",
    ]


def dataset_tiles(looks: Sequence["Look"], shown: int) -> list["Tile"]:
    """Samples of all splits with their joints; those that are not valid come with the reason.

    Args:
        looks: what was seen of each split.
        shown: tiles in all.
    """
    import numpy as np

    from handgap.core.geometry import project
    from handgap.core.images import decode_rgb
    from handgap.report.draw import draw_skeleton
    from handgap.report.sheets import Tile, spread

    tiles = []
    for number, look in enumerate(looks):
        share = shown * (number + 1) // len(looks) - shown * number // len(looks)
        columns, valid = look.columns, np.flatnonzero(look.columns["valid"])
        flagged = np.flatnonzero(~look.columns["valid"])[: max(share // 8, share - len(valid))]
        rows = flagged.tolist()
        if len(valid):
            rows += valid[spread(len(valid), max(share - len(rows), 1))].tolist()
        for row in sorted(rows):
            rgb = decode_rgb(columns["image"][row], columns["name"][row])
            caption = f"{look.split} {columns['id'][row]}: {columns['flag'][row] or columns['name'][row]}"
            if columns["valid"][row]:
                scale = max(1, round(max(rgb.shape[:2]) / 288))
                rgb = draw_skeleton(rgb, project(columns["joints"][row], columns["K"][row]), 2 * scale)
            tiles.append(Tile(rgb, caption))
    return tiles
