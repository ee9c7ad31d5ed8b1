"""What is present, what is missing, what works without it and how to get it."""

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from handgap.assets.fetch import state
from handgap.assets.table import Asset

STYLES = {"present": "green", "missing": "yellow", "unchecked": "cyan", "corrupt": "bold red"}


def doctor_table(assets: Mapping[str, Asset], root: Path) -> Table:
    """One row per asset, in the table's order.

    Args:
        assets: id -> row (`read_table`).
        root: results/assets.
    """
    table = Table(title="Assets", show_lines=True)
    for title in ("asset", "kind", "state", "licence", "needed by", "without it", "how to get it"):
        table.add_column(title, overflow="fold")
    for asset in assets.values():
        found = state(asset, root / asset.id)
        source = asset.kind if asset.kind == "manual" else f"{asset.kind}\n{asset.package} {asset.version}"
        shown = f"[{STYLES[found]}]{found}[/]"
        table.add_row(asset.id, source, shown, asset.licence, asset.needed_by, asset.without, asset.how_to_get)
    return table
