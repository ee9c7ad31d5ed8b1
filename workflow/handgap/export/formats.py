"""The formats by name, and the export itself: stores in, one whole folder out."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from handgap.core.conventions import Side
from handgap.core.errors import ConfigError
from handgap.core.progress import track
from handgap.export.folder import whole_folder
from handgap.export.job import Format, Job
from handgap.export.names import FormatName
from handgap.export.origin import Tally, kind_of, model_terms, provenance, terms_of, write_terms
from handgap.export.records import Record, Records

LEFT_OUT = "left_out.csv"
SPLIT = re.compile(r"[A-Za-z0-9_]+")


def format_of(name: FormatName) -> Format:
    """A format by name; only its own libraries are imported."""
    match name:
        case "freihand":
            from handgap.export.freihand import FREIHAND

            return FREIHAND
        case "coco":
            from handgap.export.coco import COCO

            return COCO
        case "handsynthesis":
            from handgap.export.handsynthesis import HANDSYNTHESIS

            return HANDSYNTHESIS
        case "webdataset":
            from handgap.export.tar_shards import WEBDATASET

            return WEBDATASET
        case "parquet":
            from handgap.export.parquet import PARQUET

            return PARQUET


def _passed(records: Iterator[Record], chosen: Format, tally: Tally, folder: Path) -> Iterator[Record]:
    """The samples that a format takes, as it takes them; those that are left out are listed with their reasons."""
    with ExitStack() as stack:
        listed = None
        for record in tally.watch(records):
            if not record.valid and not chosen.keeps_invalid:
                if listed is None:
                    file = stack.enter_context((folder / LEFT_OUT).open("w", newline="", encoding="utf-8"))
                    listed = csv.writer(file, lineterminator="\n")
                    listed.writerow(["id", "reason"])
                listed.writerow([record.id, record.flag])
                continue
            if chosen.right_only and record.side is Side.LEFT:
                record, tally.mirrored = record.mirrored(), tally.mirrored + 1
            tally.written += 1
            yield record


def export_stores(
    name: FormatName,
    stores: Sequence[Path],
    out: Path,
    *,
    split: str,
    code: str,
    table: Path,
    assets: Sequence[str] = (),
    annotation_hand: Path | None = None,
    render_hand: Path | None = None,
    textures: Path | None = None,
    per_file: int = 1000,
) -> Tally:
    """Write stores in a format: a new folder, there whole or not at all, the same bytes for the same stores.

    Args:
        name: of the format.
        stores: shards of one stage and split, in order.
        out: folder to make; an earlier export there is replaced.
        split: name of the split in the format's own file names.
        code: hash of the exporter's code.
        table: config/assets.csv, for the licences.
        assets: ids of the assets used, instead of those that the stores' columns tell of.
        annotation_hand, render_hand, textures: converted models (.npz), for formats that need them; their licences are
            stated.
        per_file: samples in one file, for formats of large files.

    Returns:
        What was counted.

    Raises:
        ConfigError: a split that is no name, stores that do not go together or lack a column, a model that is not
            given, an asset that is not in the table, an `out` that is no export.
        MissingAssetError, CorruptFileError: see `core.store.Store`; a label of a valid sample is not finite.
        DiskFullError: no room left; nothing of the export remains.
    """
    if not SPLIT.fullmatch(split):
        raise ConfigError(f"--split {split}", "no name", "letters, digits and underscores")
    chosen, records, tally = format_of(name), Records(stores), Tally()
    chosen.check(records)
    total = len(records) if chosen.keeps_invalid else records.valid
    models = {"annotation_hand": annotation_hand, "render_hand": render_hand, "textures": textures}
    job = Job(split, total, records.fields, kind_of(records), per_file=per_file, **models)
    with whole_folder(out) as folder:
        samples = track(records, len(records), f"export {name}")
        chosen.write(folder, _passed(samples, chosen, tally, folder), job)
        terms = terms_of(records, tally, table, assets, model_terms(path for path in models.values() if path))
        described = {"format": name, "split": split, "code": code, "conventions": chosen.conventions}
        content = provenance(records, tally, terms, described)
        chosen.card(folder, job, terms, content)
        write_terms(folder, terms, content)
    return tally
