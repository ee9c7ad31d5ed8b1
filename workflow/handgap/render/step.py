"""The render stage: one process, one Blender, one shard."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from handgap.core.config.render import Render
from handgap.core.errors import run_step
from handgap.core.provenance import settings_hash
from handgap.core.store import Store, write_store
from handgap.hands.skins import SkinLibrary
from handgap.render.light import find_hdris
from handgap.render.shard import complete, discard
from handgap.render.synthetic import SyntheticShard
from handgap.render.worker import Renderer

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

Threads = Annotated[int, typer.Option(min=1, help="CPU threads")]


@app.callback()
def stage() -> None:
    """Render shards of hand images with their labels."""


@app.command()
def synthetic(
    fit: Annotated[Path, typer.Argument(help="shard of the fit stage")],
    render_hand: Annotated[Path, typer.Option(help="render hand (.npz)")],
    skins: Annotated[Path, typer.Option(help="its skins (.h5)")],
    hdri_dir: Annotated[list[Path], typer.Option(help="folder of .exr environment maps; repeatable")],
    dataset: Annotated[str, typer.Option(help="dataset the fit belongs to")],
    split: Annotated[str, typer.Option(help="its split")],
    state: Annotated[Path, typer.Option(help="folder of finished rows, taken up after a kill")],
    out: Annotated[Path, typer.Option(help="shard to write")],
    study: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option()],
    code: Annotated[str, typer.Option()],
    settings: Annotated[str, typer.Option(help="the render section, JSON")],
    threads: Threads = 1,
) -> None:
    """Render the fitted hands under random skins and light."""
    render = Render.model_validate_json(settings)
    torch.set_num_threads(threads)
    library, config = SkinLibrary(skins), settings_hash(render.model_dump(mode="json"))
    with Store(fit) as store, Renderer(library, samples=render.samples, threads=threads) as renderer:
        hdris = find_hdris(hdri_dir)
        shard = SyntheticShard(store, render_hand, len(library), hdris, render, seed, f"{dataset}/{split}")
        rows = state / f"{code}-{config}-{seed}-{store.digest[:12]}"
        columns = complete(shard.ids, lambda k: shard.row(k, renderer), rows, f"render {out.stem}")
        parents = [store.digest]
    write_store(out, columns, study=study, seed=seed, code=code, config=config, parents=parents)
    discard(state)


if __name__ == "__main__":
    run_step(lambda: app(standalone_mode=True))
