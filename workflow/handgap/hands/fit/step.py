"""Step: annotation-hand meshes of a shard -> render-hand parameters, with the labels carried on."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from handgap.core.config.base import parse_json
from handgap.core.config.fit import Fit
from handgap.core.conventions import Side
from handgap.core.errors import run_step
from handgap.core.provenance import settings_hash
from handgap.core.seeds import round_alike
from handgap.core.store import Store, write_store
from handgap.hands.fit.fitter import Fitter

LABELS = ("id", "K", "joints", "vertices", "pose", "shape", "trans", "side")
app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def fit(
    real: Annotated[Path, typer.Argument(help="shard with annotation meshes")],
    render_hand: Annotated[Path, typer.Option(help="render hand, .npz")],
    annotation_hand: Annotated[Path, typer.Option(help="annotation hand, .npz")],
    out: Annotated[Path, typer.Option(help="shard of fits")],
    study: Annotated[str, typer.Option(help="name of the study")],
    seed: Annotated[int, typer.Option(min=0, help="root seed")],
    code: Annotated[str, typer.Option(help="hash of the code")],
    settings: Annotated[str, typer.Option(help="fit section of the study, JSON")],
) -> None:
    """Fit every mesh of a shard; a left hand is fitted as its mirror image (x -> -x)."""
    round_alike()
    chosen = parse_json(Fit, settings, "--settings")
    fitter = Fitter.load(render_hand, annotation_hand, chosen)
    with Store(real) as store:
        columns = {name: store.column(name) for name in LABELS}
        valid, flags = store.column("valid"), list(store.column("flag"))
        parent = store.digest
    mirror = np.where(columns["side"] == Side.LEFT, -1.0, 1.0)[:, None] * np.array([[1.0, 0.0, 0.0]])
    mirror[:, 1:] = 1.0
    found = fitter.fit(columns["vertices"] * mirror[:, None])
    close = found.residual_mm <= chosen.max_residual_mm
    reason = f"fit residual above {chosen.max_residual_mm:g} mm"
    flags = [flag or ("" if near else reason) for flag, near in zip(flags, close, strict=True)]
    columns |= vars(found) | {"valid": valid & close, "flag": flags}
    config = settings_hash(chosen.model_dump(mode="json"))
    write_store(out, columns, study=study, seed=seed, code=code, config=config, parents=[parent])


if __name__ == "__main__":
    run_step(app)
