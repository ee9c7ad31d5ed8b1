"""Entry point that thins an annotation hand's mesh for the networks that decode one coarse to fine."""

from pathlib import Path
from typing import Annotated

import typer

from handgap.core.errors import run_step
from handgap.core.files import read_arrays
from handgap.hands.hierarchy import SPIRAL_LENGTH, build_hierarchy

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def hierarchy(
    model: Annotated[Path, typer.Option(help="annotation hand, or any file with v_template and faces (.npz)")],
    out: Annotated[Path, typer.Option(help="hierarchy to write (.npz)")],
    size: Annotated[list[int] | None, typer.Option(help="vertices of a coarser level; repeatable; else halved")] = None,
    spiral_length: Annotated[int, typer.Option(min=1, help="vertices of a spiral")] = SPIRAL_LENGTH,
    dilation: Annotated[int, typer.Option(min=1, help="take each n-th vertex of a spiral")] = 1,
) -> None:
    """Write coarser meshes of a template with the maps between them, spirals and adjacency."""
    hand = read_arrays(model, ["v_template", "faces"])
    about = {name: hand[name] for name in ("licence", "source") if name in hand}
    made = build_hierarchy(hand["v_template"], hand["faces"], size or None, spiral_length, dilation, what=model)
    made.save(out, about)


if __name__ == "__main__":
    run_step(app)
