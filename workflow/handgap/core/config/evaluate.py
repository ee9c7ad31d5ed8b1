"""Settings of the evaluate stage."""

from pydantic import Field

from handgap.core.config.base import Section


class Evaluate(Section):
    """Protocol settings."""

    bootstrap: int = Field(1000, ge=0, description="resamples for the 95 % confidence intervals")
