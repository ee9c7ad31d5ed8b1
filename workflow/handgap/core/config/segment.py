"""Settings of the segment stage."""

from typing import Literal

from pydantic import Field

from handgap.core.config.base import Section, Unit


class Segment(Section):
    """Cutting arm and object out of the real side."""

    segmenter: Literal["mobilesam"] = Field("mobilesam", description="segmentation model")
    boxes: Literal["annotation", "palm"] = Field(
        "annotation", description="box prompts from the labels, or from a palm detector (and the labels where it fails)"
    )
    input_size: int = Field(512, ge=256, multiple_of=64, description="edge SAM sees images at, px (trained at 1024)")
    box_margin: float = Field(0.05, ge=0, description="margin around the hand's box, share of its longer edge")
    min_area: float = Field(1e-3, ge=0, description="smallest island kept and hole left, share of the image")
    min_object_score: Unit = Field(0.6, description="score below which a held object is not believed")
    min_coverage: Unit = Field(0.5, description="share of the hand's outline that must be found for a valid mask")
