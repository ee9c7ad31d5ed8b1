"""`python -m handgap.report.networks_step`: the table of what networks cost."""

from copy import deepcopy
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter

from handgap.core.config.base import parse_json
from handgap.core.config.network_table import NetworkTable
from handgap.core.config.networks import Network
from handgap.core.errors import run_step
from handgap.core.progress import track
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.hierarchy import Hierarchy
from handgap.networks.build import build
from handgap.networks.cost import network_cost
from handgap.report.network_table import all_rows, build_network_table
from handgap.report.table_formats import write_formats

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def networks(
    name: Annotated[str, typer.Option(help="of the experiment, e.g. table_networks")],
    experiment: Annotated[str, typer.Option(help="JSON of the experiment")],
    study_networks: Annotated[str, typer.Option(help="JSON of the study's networks, by name")],
    annotation_hand: Annotated[Path, typer.Option(help="hand model of the labels (.npz)")],
    hierarchy: Annotated[Path, typer.Option(help="mesh hierarchy of the hand model (.npz)")],
    study: Annotated[str, typer.Option(help="name of the study")],
    csv: Annotated[Path, typer.Option()],
    tex: Annotated[Path, typer.Option()],
    html: Annotated[Path, typer.Option()],
) -> None:
    """Count parameters and multiply-accumulates of networks with random weights; write the table in three formats."""
    table = parse_json(NetworkTable, experiment, "--experiment")
    own = parse_json(TypeAdapter(dict[str, Network]), study_networks, "--study-networks")
    hand, meshes = AnnotationHand.load(annotation_hand), Hierarchy.load(hierarchy)
    rows = all_rows(table, own, study)
    costs = []
    for row in track(rows, len(rows), "counting network"):
        network = build(row.network, deepcopy(hand), None, table.image_size, meshes)
        costs.append(network_cost(network, table.image_size))
    write_formats(build_network_table(name, table, rows, costs), csv, tex, html)


if __name__ == "__main__":
    run_step(app)
