"""Settings of the train stage: recipes, augmentation, optimisation."""

from typing import Literal

from pydantic import Field

from handgap.core.config.base import Name, Section, Unit


class Amplitude(Section):
    """Amplitude spectrum augmentation of synthetic images.

    PASTA (Chattopadhyay et al., ICCV 2023) or FDA (Yang & Soatto, CVPR 2020).
    """

    method: Literal["pasta", "fda"] = Field("pasta", description="pasta: noise; fda: low frequencies of a real image")
    alpha: float = Field(3.0, ge=0, description="pasta: growth of the noise with frequency")
    beta: float = Field(0.25, ge=0, description="pasta: noise at zero frequency")
    k: float = Field(2.0, gt=0, description="pasta: exponent of the growth")
    window: float = Field(0.01, ge=0, lt=0.5, description="fda: half the swapped square's edge over the image's")


class Source(Section):
    """One ingredient of a training recipe."""

    dataset: Name = Field(description="a key of datasets")
    images: Name = Field(description="'real', or the name of a composition")
    weight: float = Field(1.0, gt=0, description="share of the images drawn, relative to the others")


class Recipe(Section):
    """What a network is trained on."""

    sources: list[Source] = Field(min_length=1, description="datasets mixed")
    amplitude: bool = Field(description="amplitude spectrum augmentation on synthetic images")


class Train(Section):
    """Optimisation, the same for every network unless the paper of one says otherwise."""

    image_size: int = Field(128, ge=64, multiple_of=32, description="crop edge the network sees, px")
    box_expansion: float = Field(1.25, ge=1.0, description="crop edge over that of the tight square around the joints")
    epochs: int = Field(12, ge=1, description="passes over the recipe")
    batch: int = Field(8, ge=1, description="images per step")
    learning_rate: float = Field(5e-4, gt=0, description="peak AdamW step")
    weight_decay: float = Field(1e-2, ge=0, description="AdamW weight decay")
    warmup: Unit = Field(0.1, description="share of the steps with a rising rate")
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    workers: int = Field(0, ge=0, description="loader processes; 0 is best while the images fit into memory")
    rotation_deg: float = Field(45.0, ge=0, le=180, description="in-plane rotation, uniform within +-")
    scale_jitter: Unit = Field(0.15, description="crop size jitter, uniform within +-")
    shift_jitter: Unit = Field(0.08, description="crop centre jitter, share of the crop, uniform within +-")
    colour_jitter: Unit = Field(0.3, description="brightness, contrast and channel jitter, uniform within +-")
