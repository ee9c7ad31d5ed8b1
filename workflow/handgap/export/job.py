"""What a format is, and what it is told about the export besides the samples."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from handgap.core.errors import ConfigError
from handgap.export.origin import Terms
from handgap.export.records import Field, Record, Records


@dataclass(frozen=True)
class Job:
    """One export.

    Attributes:
        split: name of the split in the format's own file names.
        total: samples that will be written.
        fields: what the stores' columns hold.
        kind: what the images are; key of `origin.KINDS`.
        annotation_hand, render_hand, textures: converted models (.npz), for formats that need them.
        per_file: samples in one file, for formats of large files.
    """

    split: str
    total: int
    fields: Mapping[str, Field]
    kind: str
    annotation_hand: Path | None = None
    render_hand: Path | None = None
    textures: Path | None = None
    per_file: int = 1000

    def model(self, option: str, why: str) -> Path:
        """One of the models.

        Args:
            option: attribute of the job.
            why: what for.

        Raises:
            ConfigError: it is not given.
        """
        path = getattr(self, option)
        if path is None:
            raise ConfigError(f"--{option.replace('_', '-')}", f"not given; {why}", "name the converted model (.npz)")
        return path


Write = Callable[[Path, Iterator[Record], Job], None]


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        write: writes the samples into a folder.
        requires: columns that the stores must have.
        conventions: units, axes, orders and the like, as PROVENANCE.json states them.
        keeps_invalid: samples that are not valid have a place in it; otherwise they are left out.
        right_only: a left hand is written as its mirror image.
        card: writes what describes the export as a whole, after the samples.
    """

    write: Write
    requires: tuple[str, ...]
    conventions: dict[str, str]
    keeps_invalid: bool = False
    right_only: bool = False
    card: Callable[[Path, Job, Terms, dict[str, object]], None] = field(
        default=lambda folder, job, terms, content: None
    )

    def check(self, records: Records) -> None:
        """See that the stores have what the format needs.

        Raises:
            ConfigError: they lack a column.
        """
        if missing := [name for name in self.requires if name not in records.fields]:
            problem = f"no column '{missing[0]}', which this format needs (it has {', '.join(records.fields)})"
            raise ConfigError(records.paths[0], problem, "export a stage that has it: docs/export.md says which")
