"""Entry points of the assets stage."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from handgap.assets import fetch as fetching
from handgap.assets.doctor import doctor_table
from handgap.assets.table import read_table
from handgap.core.errors import ConfigError, run_step

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
TableOption = Annotated[Path, typer.Option(help="config/assets.csv")]


@app.command()
def fetch(
    asset: Annotated[str, typer.Argument(help="id of the asset")],
    table: TableOption,
    out: Annotated[Path, typer.Option(help="results/assets/<id>/asset.json")],
) -> None:
    """Bring one asset in, checked."""
    assets = read_table(table)
    if asset not in assets:
        raise ConfigError(table, f"no asset '{asset}'", f"one of: {', '.join(assets)}")
    row = assets[asset]
    print(f"{asset}: {row.package} {row.version} by {row.kind} ({row.size / 1e6:.0f} MB)", file=sys.stderr, flush=True)
    fetching.fetch(row, out)


@app.command()
def doctor(table: TableOption, root: Annotated[Path, typer.Option(help="results/assets")]) -> None:
    """Show what is there, what is missing and what works without it."""
    console = Console()
    # without a terminal Rich assumes 80 columns, too few for seven
    console = console if console.is_terminal else Console(width=180)
    console.print(doctor_table(read_table(table), root))


if __name__ == "__main__":
    run_step(app)
