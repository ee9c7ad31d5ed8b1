"""A finished table as CSV (full precision), LaTeX (booktabs) and one self-contained HTML page."""

import csv
import io
from html import escape
from itertools import groupby
from pathlib import Path

from handgap.core.files import written_whole
from handgap.report.cells import Cell, Column, Table

DASH = "–"
DIGITS = {"cm": 2, "mm": 1, "": 2}
TEX_SPECIAL = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "→": r"$\to$", "−": "$-$", "–": "--", "@": "@"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1d2330; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { caption-side: top; text-align: left; font-size: 1.15rem; font-weight: 600; padding-bottom: .8rem; }
th { font-weight: 600; padding: .35rem .7rem; text-align: right; vertical-align: bottom; }
thead tr:first-child th { border-bottom: 1px solid #b9c0cc; text-align: center; }
thead tr:last-child th { border-bottom: 2px solid #1d2330; }
td { padding: .35rem .7rem; text-align: right; white-space: nowrap; }
th[scope=row] { text-align: left; font-weight: 400; }
tbody tr:nth-child(even) { background: #f4f6f9; }
tbody tr:last-child { border-bottom: 2px solid #1d2330; }
table.apart tbody tr:last-child { border-top: 1px solid #b9c0cc; color: #5a6373; }
small { color: #5a6373; display: block; font-weight: 400; }
p { font-size: .9rem; color: #3b4352; margin: .6rem 0 0; }
p.warning { color: #8a3b00; font-weight: 600; }
"""


def _number(cell: Cell, unit: str) -> str:
    if cell.value is None:
        return DASH
    if cell.style == "percent":
        return f"{cell.value:.0%}"
    if cell.style == "size":
        return f"{cell.value:.2f}"
    digits = 3 if cell.style == "share" else DIGITS[unit]
    return f"{cell.value:+z.{digits}f}" if cell.style == "difference" else f"{cell.value:.{digits}f}"


def _interval(cell: Cell, unit: str) -> str:
    if cell.interval is None:
        return ""
    return "[{}, {}]".format(*(_number(Cell(end, cell.style), unit) for end in cell.interval))


def _count(column: Column, text: str) -> str:
    return "" if column.count is None else text.format(column.count)


def _groups(table: Table) -> list[tuple[str, int]]:
    """Heads over several columns: text and width."""
    return [(group, len(list(columns))) for group, columns in groupby(table.columns, key=lambda c: c.group)]


def to_csv(table: Table) -> str:
    """One line per row, one column per number, unrounded; intervals in columns of their own.

    Columns about a part of the test images have their number in the last line.
    """
    with_interval = [any(cells[k].interval for cells in table.cells) for k in range(len(table.columns))]
    header = ["label", "unit"]
    for column, interval in zip(table.columns, with_interval, strict=True):
        header += [column.name, f"{column.name} ci_low", f"{column.name} ci_high"] if interval else [column.name]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for label, cells in zip(table.labels, table.cells, strict=True):
        line: list[object] = [label, table.unit]
        for cell, interval in zip(cells, with_interval, strict=True):
            values = [cell.value, *((cell.interval or (None, None)) if interval else ())]
            line += ["" if value is None else f"{value:.9g}" for value in values]
        writer.writerow(line)
    if any(column.count is not None for column in table.columns):
        line = ["test images", ""]
        for column, interval in zip(table.columns, with_interval, strict=True):
            line += ["" if column.count is None else column.count, *["", ""] * interval]
        writer.writerow(line)
    return buffer.getvalue()


def _tex(text: str) -> str:
    return "".join(TEX_SPECIAL.get(character, character) for character in text)


def to_tex(table: Table) -> str:
    r"""A `table*` environment for a document that loads booktabs."""
    groups = _groups(table)
    starts = [2 + sum(width for _, width in groups[:k]) for k in range(len(groups))]
    rules = "".join(rf"\cmidrule(lr){{{s}-{s + width - 1}}}" for s, (_, width) in zip(starts, groups, strict=True))
    lines = [
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_tex(' '.join((table.title + '.', *table.notes)))}}}",
        rf"\label{{tab:{table.name.removeprefix('table_')}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & " + " & ".join(rf"\multicolumn{{{width}}}{{c}}{{{_tex(text)}}}" for text, width in groups) + r" \\",
        rules,
        " & " + " & ".join(_tex(column.heading + _count(column, " (n = {})")) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for label, cells in zip(table.labels, table.cells, strict=True):
        if table.last_apart and label == table.labels[-1]:
            lines.append(r"\midrule")
        texts = []
        for cell in cells:
            interval = _interval(cell, table.unit)
            texts.append(_tex(_number(cell, table.unit)) + (rf" {{\tiny {interval}}}" if interval else ""))
        lines.append(f"{_tex(label)} & " + " & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])


def to_html(table: Table) -> str:
    """A page that needs no other file."""
    top = "".join(f'<th colspan="{width}">{escape(text)}</th>' for text, width in _groups(table))
    heads = "".join(
        f"<th>{escape(column.heading)}{_count(column, '<small>n = {}</small>')}</th>" for column in table.columns
    )
    rows = []
    for label, cells in zip(table.labels, table.cells, strict=True):
        line = f'<th scope="row">{escape(label)}</th>'
        for cell in cells:
            interval = _interval(cell, table.unit)
            line += f"<td>{_number(cell, table.unit)}{f'<small>{interval}</small>' if interval else ''}</td>"
        rows.append(f"<tr>{line}</tr>")
    warning, notes = (
        (table.notes[:1], table.notes[1:]) if table.notes[0].startswith("Open study") else ((), table.notes)
    )
    text = "".join(f'<p class="warning">{escape(note)}</p>' for note in warning)
    text += "".join(f"<p>{escape(note)}</p>" for note in notes)
    body = "\n".join(rows)
    apart = ' class="apart"' if table.last_apart else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(table.title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n<table{apart}>\n<caption>{escape(table.title)}</caption>\n"
        f"<thead>\n<tr><th></th>{top}</tr>\n<tr><th></th>{heads}</tr>\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
        f"{text}\n</body>\n</html>\n"
    )


def write_formats(table: Table, csv: Path, tex: Path, html: Path) -> None:
    """Write a table in the three formats.

    Raises:
        DiskFullError: no room left.
    """
    for path, text in ((csv, to_csv), (tex, to_tex), (html, to_html)):
        with written_whole(path) as temporary:
            temporary.write_text(text(table), encoding="utf-8")
