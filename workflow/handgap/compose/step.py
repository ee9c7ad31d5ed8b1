"""Step of the compose stage: one shard of renders with pieces of real images pasted in."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from handgap.compose.composer import NOT_PASTED, Composer
from handgap.compose.pairs import random_partners
from handgap.compose.sources import RealSide
from handgap.core.config.base import parse_json
from handgap.core.config.compose import Composition
from handgap.core.errors import ConfigError, run_step
from handgap.core.progress import track
from handgap.core.provenance import settings_hash
from handgap.core.store import Column, Store, write_store

LISTED = ("image", "mask", "depth", "flag")  # columns of encoded files and text

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def compose(
    synthetic: Annotated[Path, typer.Argument(help="shard of synthetic renders")],
    variant: Annotated[str, typer.Option(help="name of the composition; random draws depend on it")],
    composition: Annotated[str, typer.Option(help="composition as JSON")],
    out: Annotated[Path, typer.Option()],
    study: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option()],
    code: Annotated[str, typer.Option()],
    real: Annotated[list[Path] | None, typer.Option(help="shards with the real images to paste from")] = None,
    masks: Annotated[list[Path] | None, typer.Option(help="their masks, in the same order")] = None,
    split_size: Annotated[int | None, typer.Option(help="samples of the whole split; random partners need it")] = None,
) -> None:
    """Paste arms and objects of the real side into one shard of synthetic renders."""
    choice = parse_json(Composition, composition, "--composition")
    with ExitStack() as stack:
        store = stack.enter_context(Store(synthetic))
        side = None
        if choice.origin != "none":
            if not real or not masks:
                raise ConfigError("--real, --masks", f"none given for {variant}", "pass the shards to paste from")
            side = stack.enter_context(RealSide(real, masks))
        columns = {name: _as_written(store.column(name)) for name in store.names}
        sources = _sources(choice, columns["id"], split_size, seed, variant)
        composer = Composer(choice, side, variant, seed)
        rows = []
        for index, source in track(enumerate(sources.tolist()), len(store), f"composing {variant}"):
            render = {name: values[index] for name, values in columns.items()}
            rows.append(composer.row(render, source, f"{synthetic}[{index}]"))
        for name in rows[0]:
            values = [row[name] for row in rows]
            columns[name] = values if name in LISTED else np.array(values)
        parents = [store.digest, *(side.digests if side else ())]
    provenance = {"study": study, "seed": seed, "code": code, "parents": parents, "extra": {"variant": variant}}
    settings = {"variant": variant, **choice.model_dump(mode="json")}
    write_store(out, columns, config=settings_hash(settings), **provenance)


def _sources(choice: Composition, ids: np.ndarray, split_size: int | None, seed: int, variant: str) -> np.ndarray:
    """Id of the real image that each sample's pieces come from."""
    if choice.origin == "none":
        return np.full_like(ids, NOT_PASTED)
    if choice.origin == "own":
        return ids
    if split_size is None:
        raise ConfigError(
            "--split-size", "not given; random partners need it", "pass the number of samples of the split"
        )
    return random_partners(ids, split_size, seed, variant)


def _as_written(values: np.ndarray) -> Column:
    """A column as `write_store` takes it: encoded files and text come as object arrays, and go as lists."""
    return list(values) if values.dtype == object else values


if __name__ == "__main__":
    run_step(app)
