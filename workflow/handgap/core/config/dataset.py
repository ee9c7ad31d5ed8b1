"""Settings of one dataset."""

from typing import Annotated, Literal

from pydantic import Field

from handgap.core.config.base import Name, Section, Unit


class Dataset(Section):
    """One real (or proxy-real) dataset and its size."""

    kind: Literal["free_hands", "grasp_sequences"] = Field(
        "free_hands",
        description="free_hands: single proxy-real images (role of FreiHAND); "
        "grasp_sequences: each hand takes an object, image after image (role of Dex-YCB)",
    )
    splits: dict[Name, Annotated[int, Field(ge=1)]] = Field(
        {"train": 144, "test": 48}, description="images in each split"
    )
    sequence_length: int = Field(24, ge=2, description="consecutive images of a sequence, for grasp_sequences")
    held_object_ratio: Unit = Field(0.5, description="share of images with an object in the hand, for free_hands")
    sleeve_ratio: Unit = Field(0.35, description="share of forearms in a sleeve")
    watch_ratio: Unit = Field(0.15, description="share of bare forearms with a wrist watch")
    clutter_ratio: Unit = Field(0.15, description="share of images with another thing behind the hand")
    motion_blur_ratio: Unit = Field(0.15, description="share of images blurred by motion")
    noise: float = Field(1.0, ge=0, description="strength of sensor noise; 1 = a phone camera indoors")
