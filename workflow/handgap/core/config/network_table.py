"""A table of what networks cost, as data."""

from typing import Annotated, Literal

from pydantic import Field

from handgap.core.config.base import Section
from handgap.core.config.networks import Network

Positive = Annotated[float, Field(gt=0)]


class Released(Section):
    """Counts of a network's released code; what was not counted is left out."""

    trained: Positive | None = Field(None, description="parameters built, M")
    used: Positive | None = Field(None, description="parameters that a prediction needs, M")
    gmacs: Positive | None = Field(None, description="multiply-accumulates of one image, G")


class NetworkRow(Section):
    """One network of the table."""

    label: str = Field(description="text of the row")
    network: Network = Field(description="its settings")
    released: Released = Field(default_factory=Released, description="counts of the released code")


class NetworkTable(Section):
    """A table of parameters and multiply-accumulates; the study's own networks follow its rows."""

    title: str = Field(description="caption's first sentence")
    source: str = Field(description="where the counts of the released code come from")
    kind: Literal["networks"] = Field("networks", description="what is made")
    image_size: int = Field(224, ge=32, description="edge of the input, px")
    rows: list[NetworkRow] = Field(min_length=1, description="rows of the table")
