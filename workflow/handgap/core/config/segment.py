"""Settings of the segment stage."""

from typing import Literal

from pydantic import Field

from handgap.core.config.base import Section


class Segment(Section):
    """Cutting arm and object out of the real side."""

    segmenter: Literal["mobilesam"] = Field("mobilesam", description="segmentation model")
    boxes: Literal["annotation", "palm"] = Field(
        "annotation", description="box prompts from the labels, or from a palm detector (and the labels where it fails)"
    )
    box_margin: float = Field(0.1, ge=0, description="margin around the box of the joints, share of its edge")
    min_area: float = Field(1e-3, ge=0, description="smallest mask kept, share of the image")
