"""Settings of the compose stage."""

from typing import Literal

from pydantic import Field

from handgap.core.config.base import Section


class Composition(Section):
    """What of the real image is pasted into the synthetic one."""

    arm: Literal["none", "own", "random"] = Field("own", description="own: same sample; random: another one")
    object: Literal["none", "own", "random"] = Field("own", description="as arm; pasted over everything")
    fill: Literal["real", "rgb"] = Field("real", description="pixels pasted: the real ones, or random RGB")
