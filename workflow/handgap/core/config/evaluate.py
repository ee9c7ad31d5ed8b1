"""Settings of the evaluate stage."""

from typing import Literal

from pydantic import Field

from handgap.core.config.base import Section

# protocols of single hands in 3D: handgap.evaluate.protocols
ProtocolName = Literal["freihand", "ho3d_v2", "ho3d_v3", "dexycb", "dexycb_s1", "dexycb_s2", "dexycb_s3"]


class Evaluate(Section):
    """Protocol settings."""

    protocol: ProtocolName = Field(
        "freihand", description="whose evaluation is followed, but on imported datasets that have one of their own"
    )
    bootstrap: int = Field(1000, ge=0, description="resamples for the 95 % confidence intervals")
