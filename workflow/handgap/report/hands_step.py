"""`python -m handgap.report.hands_step`: the contact sheet of the render hand, which takes Blender."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from handgap.core.errors import run_step
from handgap.core.progress import track
from handgap.hands.prior import FAMILIES
from handgap.hands.skin.model import TextureModel, TextureSet
from handgap.render.worker import Renderer
from handgap.report.hands_sheet import hand_tiles
from handgap.report.sheets import contact_sheet, save_sheet

SHAPES_SHOWN = 7  # the mean and both ends of three components
SIZE = 256  # px
SUBTITLE = "a pose of each family by both ends of the first shape components, each hand in a texture of its own"

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def hands(
    render_hand: Annotated[Path, typer.Option(help="render hand (.npz)")],
    textures: Annotated[Path, typer.Option(help="its texture model (.npz)")],
    seed: Annotated[int, typer.Option(help="the study's seed: draws poses and textures")],
    title: Annotated[str, typer.Option(help="first line of the sheet")],
    out: Annotated[Path, typer.Option(help="picture (.png or .jpg)")],
    samples: Annotated[int, typer.Option(min=1, help="Cycles samples per pixel, denoised")] = 8,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 1,
) -> None:
    """A contact sheet of the hand model, rendered: poses by shapes, a texture each."""
    torch.set_num_threads(threads)
    with Renderer(TextureSet(TextureModel.load(textures), seed), samples=samples, threads=threads) as renderer:
        tiles = hand_tiles(render_hand, renderer.render, SHAPES_SHOWN, seed, SIZE)
        drawn = list(track(tiles, len(FAMILIES) * SHAPES_SHOWN, "hands"))
    save_sheet(out, contact_sheet(drawn, title, SUBTITLE, columns=SHAPES_SHOWN, size=SIZE))


if __name__ == "__main__":
    run_step(app)
