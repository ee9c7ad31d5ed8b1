"""`python -m handgap.report.reconstructions_step`: a trained network with a texture -> a sheet of what it renders."""

from pathlib import Path
from typing import Annotated

import typer

from handgap.core.errors import ConfigError, run_step
from handgap.hands.annotation_hand import AnnotationHand
from handgap.networks.s2hand import S2Hand
from handgap.report.reconstructions import reconstruction_tiles
from handgap.report.sheets import contact_sheet, save_sheet
from handgap.train.model_file import load_model

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def reconstructions(
    model: Annotated[Path, typer.Argument(help="trained network (.pt)")],
    truth: Annotated[list[Path], typer.Option(help="shards with test images; repeat it")],
    annotation_hand: Annotated[Path, typer.Option(help="hand model of the labels (.npz)")],
    title: Annotated[str, typer.Option(help="first line of the sheet")],
    out: Annotated[Path, typer.Option(help="picture (.png or .jpg)")],
) -> None:
    """A contact sheet of test images beside the hands reconstructed from them, with their colours and light."""
    network, image_size, expansion, _ = load_model(model, AnnotationHand.load(annotation_hand))
    if not (isinstance(network, S2Hand) and network.textured):
        raise ConfigError(str(model), "it predicts no colours", "give an s2hand of the stage finetune or e2e")
    tiles = reconstruction_tiles(network, image_size, expansion, truth)
    subtitle = f"{len(tiles) // 2} of the test images as given, then the hand with the colours and light predicted"
    save_sheet(out, contact_sheet(tiles, title, subtitle))


if __name__ == "__main__":
    run_step(app)
