"""The table of what networks cost: parameters and multiply-accumulates, and those of the released code."""

from collections.abc import Mapping, Sequence

from handgap.core.config.network_table import NetworkRow, NetworkTable
from handgap.core.config.networks import Network
from handgap.networks.cost import Cost
from handgap.report.cells import Cell, Column, Table

# what is counted: key of the released counts, heading
COUNTS = {"trained": "parameters trained (M)", "used": "used by a prediction (M)", "gmacs": "GMACs"}
NOTE = (
    "GMACs: billions of multiply-accumulates of convolutions, linear layers, matrix products and attention, one image "
    "of {size} px. Where the released code has more parameters, it builds layers that it never uses."
)


def all_rows(table: NetworkTable, networks: Mapping[str, Network], study: str) -> list[NetworkRow]:
    """Rows of the table, then the study's own networks (settings by name), for which nothing is released."""
    own = [(f"{study}: {name}, {network.backbone}", network) for name, network in networks.items()]
    return [*table.rows, *(NetworkRow(label=label, network=network) for label, network in own)]


def build_network_table(name: str, table: NetworkTable, rows: Sequence[NetworkRow], costs: Sequence[Cost]) -> Table:
    """The table, with our counts, those of the released code, and the differences.

    Args:
        name: of the experiment.
        table: whose title, source and image size it has.
        rows: see `all_rows`.
        costs: one per row.
    """
    columns = [
        Column(group, heading, f"{prefix}{heading}")
        for group, prefix in (("here", ""), ("released code", "released "), ("here − released", "difference "))
        for heading in COUNTS.values()
    ]
    return Table(
        name=name,
        title=table.title,
        notes=(f"{table.source}.", NOTE.format(size=table.image_size)),
        columns=tuple(columns),
        labels=tuple(row.label for row in rows),
        cells=tuple(_cells(row, cost) for row, cost in zip(rows, costs, strict=True)),
        unit="",
        last_apart=False,
    )


def _cells(row: NetworkRow, cost: Cost) -> tuple[Cell, ...]:
    here = {"trained": cost.trained / 1e6, "used": cost.used / 1e6, "gmacs": cost.macs / 1e9}
    released = row.released.model_dump()
    difference = {key: None if released[key] is None else here[key] - released[key] for key in COUNTS}
    styles = ((here, "size"), (released, "size"), (difference, "difference"))
    return tuple(Cell(values[key], style) for values, style in styles for key in COUNTS)
