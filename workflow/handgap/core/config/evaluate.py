"""Settings of the evaluate stage."""

from typing import Literal

from pydantic import Field

from handgap.core.config.base import Section


class Evaluate(Section):
    """Protocol settings."""

    protocol: Literal["freihand"] = Field("freihand", description="whose evaluation script is followed")
    bootstrap: int = Field(1000, ge=0, description="resamples for the 95 % confidence intervals")
