"""`handgap convert`: licensed hand models into the package's own format."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Read a licensed hand model safely and write it as .npz.", no_args_is_help=True)
Out = Annotated[Path, typer.Argument(help="model to write (.npz)")]


@app.command()
def mano(model: Annotated[Path, typer.Argument(help="MANO_RIGHT.pkl or MANO_LEFT.pkl")], out: Out) -> None:
    """Convert MANO, either hand."""
    from handgap.hands.convert.mano import convert_mano

    convert_mano(model, out)
    _summarise(out)


@app.command()
def nimble(folder: Annotated[Path, typer.Argument(help="folder of NIMBLE's four pickles")], out: Out) -> None:
    """Convert NIMBLE, its skin textures too."""
    from handgap.hands.convert.nimble import convert_nimble

    convert_nimble(folder, out)
    _summarise(out)


def _summarise(out: Path) -> None:
    """Say what the written model is, read back from the file."""
    import numpy as np

    from handgap.core.files import read_arrays

    hand = read_arrays(out)
    vertices, faces = hand["v_template"], hand["faces"] if "faces" in hand else hand["faces_stump"]
    length, unbalanced = np.ptp(vertices[np.unique(faces)], axis=0).max(), np.abs(hand["weights"].sum(1) - 1).max()
    typer.echo(
        f"{out}: {hand['side']} hand of {length:.3f} m, {len(vertices)} vertices, {len(faces)} faces, "
        f"{len(hand['parents'])} joints, {hand['shapedirs'].shape[2]} shape directions; "
        f"skin weights sum to 1 within {unbalanced:.0e}"
    )
    for part in str(hand["source"]).split("; "):
        typer.echo(f"  {part}")
