"""One table or figure of a paper, as data."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from handgap.core.config.base import Name, Section, problems
from handgap.core.errors import ConfigError


class Row(Section):
    """One row of a table: a run and what was published for it."""

    label: str = Field(description="text of the row")
    network: Name = Field(description="a key of networks")
    recipe: Name = Field(description="a key of recipes")
    published: dict[str, float] = Field({}, description="metric (column) -> the paper's number, in the paper's unit")


class Experiment(Section):
    """One table or figure of a paper, as data."""

    title: str = Field(description="caption's first sentence")
    source: str = Field(description="paper, table or figure, and what its numbers were measured on")
    kind: Literal["table", "spectrum"] = Field("table", description="what is drawn")
    test: str = Field(description="dataset/split the rows are tested on (or the spectra are taken from)")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], description="training seeds, one run each")
    metrics: list[str] = Field(["pa_mpjpe", "pa_mpvpe"], description="columns")
    rows: list[Row] = Field([], description="rows of a table")


def load_experiment(path: Path) -> Experiment:
    """Read one file of config/experiments.

    Raises:
        ConfigError: the file is absent, no YAML or not an experiment.
    """
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(path, "no such experiment", f"one of: {known}")
    try:
        return Experiment.model_validate(yaml.safe_load(path.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        detail = problems(error) if isinstance(error, ValidationError) else str(error)
        raise ConfigError(path, detail, "see core/config.py: Experiment") from error
