"""The table of assets (config/assets.csv): one row per file or group of files that comes from outside."""

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from handgap.core.config.base import Name, Section, problems
from handgap.core.errors import ConfigError

Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class Asset(Section):
    """One row of the table."""

    id: Name = Field(description="name, and folder under results/assets")
    kind: Literal["pip", "npm", "deb", "manual"] = Field(description="client that fetches it; manual: a person does")
    package: str = Field(description="name of the package (of the data set, when manual)")
    version: str = Field(description="exact version")
    file: str = Field(min_length=1, description="file inside the archive, as a glob; several are separated by '|'")
    sha256: Sha256 = Field(description="of the archive; of nothing when manual")
    content_sha256: Sha256 = Field(description="`content_sha256` of the files taken out; empty = unknown")
    size: int = Field(ge=0, description="bytes of the archive (of the files, when manual); 0 = unknown")
    licence: str = Field(min_length=1, description="licence of the files")
    needed_by: str = Field(min_length=1, description="what stops without it")
    without: str = Field(min_length=1, description="what works without it")
    how_to_get: str = Field(min_length=1, description="what a person does to get it")

    @model_validator(mode="after")
    def _fetched_ones_are_pinned(self) -> "Asset":
        pins = (self.version, self.sha256, self.content_sha256)
        if self.kind != "manual" and not all(pins):
            raise ValueError("a fetched asset needs version, sha256 and content_sha256")
        return self

    @property
    def patterns(self) -> list[str]:
        """Globs of the files wanted."""
        return self.file.split("|")


def content_sha256(files: Mapping[str, str]) -> str:
    """One hash for a group of files.

    Args:
        files: file name -> sha256.

    Returns:
        The file's own sha256 when there is one; else that of the lines "<sha256>  <name>" sorted by name.
    """
    if len(files) == 1:
        return next(iter(files.values()))
    return hashlib.sha256("".join(f"{files[name]}  {name}\n" for name in sorted(files)).encode()).hexdigest()


def read_table(path: Path) -> dict[str, Asset]:
    """Read and check the table.

    Args:
        path: CSV file whose header is the fields of `Asset`.

    Returns:
        id -> row, in the file's order.

    Raises:
        ConfigError: no such file, other columns, or a row that is wrong; all wrong rows are listed at once.
    """
    if not path.is_file():
        raise ConfigError(path, "no such file", "restore config/assets.csv")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            rows = [(reader.line_num, row) for row in reader]
        except csv.Error as error:
            raise ConfigError(path, f"line {reader.line_num}: {error}", "mend the quotes of that line") from error
    if reader.fieldnames != list(Asset.model_fields):
        raise ConfigError(path, f"columns are {reader.fieldnames}", f"they must be {','.join(Asset.model_fields)}")
    assets: dict[str, Asset] = {}
    wrong = []
    for line, row in rows:
        try:
            asset = Asset.model_validate(row)
        except ValidationError as error:
            wrong.append(f"line {line}: {problems(error)}")
            continue
        if asset.id in assets:
            wrong.append(f"line {line}: id '{asset.id}' is there twice")
        assets[asset.id] = asset
    if wrong:
        raise ConfigError(path, "; ".join(wrong), "mend the lines named; columns are described in assets/table.py")
    return assets
