"""One table or figure of a paper, as data."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from handgap.core.config.base import Name, Section, problems
from handgap.core.config.network_table import NetworkTable
from handgap.core.errors import ConfigError

PRIOR = "+prior"  # end of the name of a run whose predictions the occlusion prior has refined


class Row(Section):
    """One row of a table: a run and what was published for it."""

    label: str = Field(description="text of the row")
    network: Name = Field(description="a key of networks")
    recipe: Name = Field(description="a key of recipes")
    prior: bool = Field(False, description="its joints refined by the occlusion prior")
    published: dict[str, dict[str, float]] = Field(
        {}, description="the paper's test data -> metric -> the paper's number, in the experiment's unit"
    )

    def run(self, seed: int) -> str:
        """Name of the row's run with one training seed: its folder among predictions and metrics."""
        return f"{self.network}-{self.recipe}-s{seed}{PRIOR if self.prior else ''}"


class Ratio(Section):
    """A column that compares each row with the same network's row of another recipe."""

    recipe: Name = Field(description="recipe whose error is divided by the row's")
    heading: str = Field(description="text of the column")


class Experiment(Section):
    """One table or figure of a paper, as data."""

    title: str = Field(description="caption's first sentence")
    source: str = Field(description="paper, table or figure, and what its numbers were measured on")
    kind: Literal["table", "spectrum"] = Field("table", description="what is drawn")
    test: str = Field(description="dataset/split the rows are tested on (or the spectra are taken from)")
    counterpart: str = Field("", description="the paper's test data that `test` stands in for: deltas refer to it")
    unit: Literal["cm", "mm"] = Field("cm", description="unit of the lengths, the paper's own")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1, description="training seeds, one run each")
    metrics: list[str] = Field(["pa_mpjpe", "pa_mpvpe"], min_length=1, description="columns; the first makes the ratio")
    ratio: Ratio | None = Field(None, description="column relative to another row")
    levels: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [],
        description="edges between occlusion levels, shares of a test image's joints that are hidden; columns by level",
    )
    rows: list[Row] = Field([], description="rows of a table")

    @property
    def test_stem(self) -> str:
        """The test set as file names have it: dataset-split."""
        return self.test.replace("/", "-")

    @model_validator(mode="after")
    def _rows_are_complete(self) -> "Experiment":
        if self.kind == "table" and not self.rows:
            raise ValueError("a table needs rows")
        keys = {(row.network, row.recipe, row.prior) for row in self.rows}
        for row in self.rows:
            if self.ratio and (row.network, self.ratio.recipe, row.prior) not in keys:
                raise ValueError(f"rows: the ratio needs a row of {row.network} with recipe {self.ratio.recipe}")
            if row.prior and (row.network, row.recipe, False) not in keys:
                raise ValueError(f"rows: {row.network} with recipe {row.recipe} and the prior needs one without")
        if self.levels != sorted(set(self.levels)):
            raise ValueError(f"levels {self.levels}: increasing edges only")
        return self


def load_experiment(path: Path) -> Experiment | NetworkTable:
    """Read one file of config/experiments; its `kind` says which of the two it is.

    Raises:
        ConfigError: the file is absent, no YAML or not an experiment.
    """
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(path, "no such experiment", f"one of: {known}")
    try:
        raw = yaml.safe_load(path.read_text())
        networks = isinstance(raw, dict) and raw.get("kind") == "networks"
        return (NetworkTable if networks else Experiment).model_validate(raw)
    except (ValidationError, yaml.YAMLError) as error:
        detail = problems(error) if isinstance(error, ValidationError) else str(error)
        raise ConfigError(path, detail, "see core/config/experiment.py: Experiment") from error
