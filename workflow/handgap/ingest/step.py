"""Step of imported datasets: the index of a split, and its shards."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter

from handgap.core.config.base import parse_json
from handgap.core.config.imported import AnyImported
from handgap.core.errors import run_step
from handgap.core.provenance import file_sha256, settings_hash
from handgap.core.store import write_store
from handgap.data.adapters.index import Index
from handgap.data.adapters.registry import open_adapter
from handgap.ingest.shard import imported_columns, load_hands, summary

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
Settings = Annotated[str, typer.Option(help="the dataset's section, JSON")]
Split = Annotated[str, typer.Option(help="its split")]


@app.command()
def index(settings: Settings, split: Split, out: Annotated[Path, typer.Option(help="index to write")]) -> None:
    """List a split's samples and gather labels that come as one file."""
    adapter = open_adapter(parse_json(TypeAdapter(AnyImported), settings, "--settings"))
    adapter.make_index(split, out)


@app.command()
def shard(
    index: Annotated[Path, typer.Argument(help="the split's index")],
    settings: Settings,
    split: Split,
    first: Annotated[int, typer.Option(min=0, help="id of the shard's first row")],
    count: Annotated[int, typer.Option(min=1, help="rows in the shard")],
    out: Annotated[Path, typer.Option(help="shard to write")],
    study: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option()],
    code: Annotated[str, typer.Option()],
    hand: Annotated[Path | None, typer.Option(help="MANO's right hand, converted; completes labels")] = None,
    left_hand: Annotated[Path | None, typer.Option(help="MANO's left hand, converted")] = None,
) -> None:
    """Write rows of a split as one shard of the real side."""
    options = parse_json(TypeAdapter(AnyImported), settings, "--settings")
    adapter = open_adapter(options)
    # neither where the files lie nor how many there are changes a row
    config = settings_hash(options.model_dump(mode="json", exclude={"root", "labels", "splits"}))
    parents = [file_sha256(path) for path in (index, hand, left_hand) if path is not None]
    ids = range(first, first + count)
    with Index(index) as opened:
        columns = imported_columns(adapter, split, opened, ids, load_hands(hand, left_hand))
    extra = {"dataset": adapter.title, "licence": adapter.licence, "tips": adapter.tips}
    write_store(out, columns, study=study, seed=seed, code=code, config=config, parents=parents, extra=extra)
    typer.echo(summary(columns))


if __name__ == "__main__":
    run_step(app)
