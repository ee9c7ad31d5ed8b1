"""Where an export comes from and on what terms: PROVENANCE.json and LICENCES.md."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from handgap.assets.table import Asset, read_table
from handgap.core.conventions import Side
from handgap.core.errors import ConfigError
from handgap.core.files import read_arrays
from handgap.core.provenance import file_sha256
from handgap.export.folder import MANIFEST, dumps
from handgap.export.records import Record, Records

LICENCES = "LICENCES.md"
SCHEMA = 1
PROXY_REAL = (
    "proxy-real: renders that take the part of photographs in a study without licensed data. They are not real images."
)
KINDS = {
    "proxy-real": PROXY_REAL,
    "synthetic": "synthetic: renders of a hand model.",
    "composed": "composed: synthetic renders with arms and objects cut out of images of the study's real side, whose "
    "terms hold for these pieces. In the open study they are proxy-real: renders that take the part of photographs, not"
    " real images.",
    "dataset": "those of the dataset that the stores were made from; its own terms hold.",
}
SKINS, SEGMENTER, CATALOGUE = "skins", "mobilesam", "objects_sweethome3d"  # assets that columns tell of


def kind_of(records: Records) -> str:
    """What the images are, by what their stage writes (docs/store.md); a key of `KINDS`."""
    names = set(records.fields)
    if any("variant" in attributes for attributes in records.attributes):
        return "composed"
    if names & {"residual_mm", "extrinsics"}:
        return "synthetic"
    return "proxy-real" if {"render_pose", "hdri"} <= names else "dataset"


@dataclass
class Tally:
    """What went into an export, counted while the samples pass."""

    written: int = 0
    invalid: int = 0
    left_hands: int = 0
    mirrored: int = 0
    folders: set[str] = field(default_factory=set)  # of the environment maps used: ids of assets

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Hand the samples on, and note what they were made with."""
        for record in records:
            self.invalid += not record.valid
            self.left_hands += record.side is Side.LEFT
            if record.valid and "/" in str(record.values.get("hdri", "")):
                self.folders.add(str(record["hdri"]).split("/")[0])
            yield record


def assets_of(records: Records, tally: Tally, table: dict[str, Asset], named: Sequence[str]) -> list[Asset]:
    """Rows of the table of assets that the images were made with.

    Args:
        records: the stores.
        tally: after the last sample.
        table: id -> row.
        named: ids that a person names; they replace those that the columns tell of.

    Raises:
        ConfigError: an id that is not in the table.
    """
    if unknown := sorted(set(named) - set(table)):
        raise ConfigError(f"--asset {unknown[0]}", "no such asset", f"one of {', '.join(table)}")
    used = set(named)
    if not named:
        used = tally.folders | ({SKINS} if "skin" in records.fields else set())
        used |= {SEGMENTER} if kind_of(records) == "composed" else set()
        used |= {CATALOGUE} if any("object_creators" in attributes for attributes in records.attributes) else set()
    return [asset for name, asset in table.items() if name in used]


@dataclass(frozen=True)
class Terms:
    """What was used and on what terms.

    Attributes:
        kind: key of `KINDS`.
        assets: files from outside.
        models: file name -> sha256 and licence of hand models and textures.
        creators: people to be credited for objects.
        datasets: name -> licence of datasets that the stores were imported from, as they say.
    """

    kind: str
    assets: list[Asset]
    models: dict[str, dict[str, str]]
    creators: list[str]
    datasets: dict[str, str]

    def text(self) -> str:
        """LICENCES.md."""
        lines = ["# Licences", "", f"The images are {KINDS[self.kind]}", ""]
        lines += ["What they were made with, as far as the stores and the one who exported them say:", ""]
        lines += ["| what | version | licence |", "| --- | --- | --- |"]
        lines += [f"| {dataset} | | {licence} |" for dataset, licence in self.datasets.items()]
        lines += [f"| {asset.id}: {asset.package} | {asset.version} | {asset.licence} |" for asset in self.assets]
        lines += [f"| {name} | {model['sha256'][:12]} | {model['licence']} |" for name, model in self.models.items()]
        if self.creators:
            lines += ["", f"Objects held were made by: {'; '.join(self.creators)}."]
        lines += ["", "handgap's own licence is of its code and says nothing about these images."]
        return "\n".join(lines) + "\n"


def model_terms(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
    """sha256 and licence of converted models, by file name.

    Raises:
        MissingAssetError, CorruptFileError: see `core.files.read_arrays`.
    """
    terms = {}
    for path in paths:
        licence = read_arrays(path).get("licence", np.array("not stated in the file"))
        terms[path.name] = {"sha256": file_sha256(path), "licence": " ".join(str(licence).split())}
    return terms


def terms_of(
    records: Records, tally: Tally, table: Path, named: Sequence[str], models: dict[str, dict[str, str]]
) -> Terms:
    """What an export was made with, once all samples have passed. Raises as `assets_of` and `read_table` do."""
    creators = {
        str(attributes["object_creators"]) for attributes in records.attributes if "object_creators" in attributes
    }
    datasets = {
        str(attributes["dataset"]): str(attributes.get("licence", "not stated in the store"))
        for attributes in records.attributes
        if "dataset" in attributes
    }
    assets = assets_of(records, tally, read_table(table), named)
    return Terms(kind_of(records), assets, models, sorted(creators), datasets)


def provenance(records: Records, tally: Tally, terms: Terms, described: dict[str, object]) -> dict[str, object]:
    """Content of PROVENANCE.json.

    Args:
        records: the stores.
        tally: after the last sample.
        terms: what was used.
        described: format, its settings and conventions, code of the exporter.
    """
    sources = []
    for path, attributes in zip(records.paths, records.attributes, strict=True):
        stated = {name: value.item() if isinstance(value, np.generic) else value for name, value in attributes.items()}
        stated["parents"] = json.loads(str(stated.get("parents", "[]")))
        sources.append({"file": path.name, **stated})
    counts = {"read": len(records), "valid": records.valid, "written": tally.written, "not_valid": tally.invalid}
    return {
        "handgap_export": SCHEMA,
        **described,
        "images": KINDS[terms.kind],
        "samples": counts | {"left_hands": tally.left_hands, "mirrored": tally.mirrored},
        "assets": [
            asset.model_dump(include={"id", "package", "version", "licence", "sha256"}) for asset in terms.assets
        ],
        "models": terms.models,
        "datasets": terms.datasets,
        "object_creators": terms.creators,
        "sources": sources,
    }


def write_terms(folder: Path, terms: Terms, content: dict[str, object]) -> None:
    """Write LICENCES.md, and PROVENANCE.json last."""
    (folder / LICENCES).write_text(terms.text(), encoding="utf-8")
    (folder / MANIFEST).write_text(dumps(content, indent=1) + "\n", encoding="utf-8")
