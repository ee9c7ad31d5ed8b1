"""Step: annotation-hand meshes of a shard -> render-hand parameters, with the labels carried on."""

from pathlib import Path
from typing import Annotated

import typer

from handgap.core.config.base import parse_json
from handgap.core.config.fit import Fit
from handgap.core.errors import run_step
from handgap.core.geometry import mirrored_left
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
    fitter = Fitter.to_render(render_hand, annotation_hand, chosen)
    with Store(real) as store:
        columns = {name: store.column(name) for name in LABELS}
        valid, flags = store.column("valid"), list(store.column("flag"))
        parent = store.digest
    found = fitter.fit(mirrored_left(columns["vertices"], columns["side"]))
    flags = [flag or reason for flag, reason in zip(flags, found.reason, strict=True)]
    columns |= {"render_pose": found.pose, "render_shape": found.shape, "render_trans": found.trans}
    columns |= {"residual_mm": found.residual_mm, "valid": valid & found.valid, "flag": flags}
    config = settings_hash(chosen.model_dump(mode="json"))
    write_store(out, columns, study=study, seed=seed, code=code, config=config, parents=[parent])


if __name__ == "__main__":
    run_step(app)
