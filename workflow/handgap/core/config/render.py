"""Settings of the render stage."""

from typing import Literal

from pydantic import Field

from handgap.core.config.base import Section


class Render(Section):
    """Cycles settings shared by both domains."""

    size: int = Field(224, ge=32, description="image edge, px")
    samples: int = Field(16, ge=1, description="Cycles samples per pixel, denoised")
    subsurface: bool = Field(True, description="skin with subsurface scattering (false: the paper's plain material)")
    hdri_ratio: float = Field(1.0, gt=0, le=1.0, description="share of the sorted HDRI list used on the synthetic side")
    hdri_rotation: Literal["vertical", "released"] = Field(
        "vertical", description="turn of the synthetic side's HDRIs: random heading, or the release's tilt about x"
    )
    exposure_stops: float = Field(
        0.35, ge=0, description="standard deviation of the synthetic side's brightness about the meter's reading, stops"
    )
    textures: int = Field(100, ge=1, description="random textures of the synthetic side")
    texture_ratio: float = Field(1.0, gt=0, le=1.0, description="share of these textures used")
