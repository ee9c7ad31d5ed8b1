"""Settings of the compose stage."""

from typing import Literal

from pydantic import Field, model_validator

from handgap.core.config.base import Section

Origin = Literal["none", "own", "random"]


class Composition(Section):
    """What of the real image is pasted into the synthetic one, and how; the defaults are the paper's hard paste."""

    arm: Origin = Field("own", description="own: of the same sample; random: of another one; below the synthetic hand")
    object: Origin = Field("own", description="as arm; pasted over everything; both come from one real image")
    fill: Literal["real", "rgb", "region_rgb"] = Field(
        "real", description="pixels pasted: the real ones, a random colour for each pixel, or one for each piece"
    )
    feather: float = Field(0.0, ge=0, le=64, description="width of the pieces' soft edge, px; 0 and 1 are a hard paste")
    colour: Literal["none", "reinhard"] = Field(
        "none", description="reinhard: the real hand's colour mean and deviation become the synthetic hand's"
    )

    @property
    def origin(self) -> Origin:
        """Where the one real image comes from."""
        return self.object if self.arm == "none" else self.arm

    @model_validator(mode="after")
    def _is_of_one_real_image(self) -> "Composition":
        if {self.arm, self.object} == {"own", "random"}:
            raise ValueError("arm and object come from one real image: both own, both random, or one of them none")
        if self.colour != "none" and self.fill != "real":
            raise ValueError(f"colour '{self.colour}' is for real pixels, fill is '{self.fill}'")
        return self
