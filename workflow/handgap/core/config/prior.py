"""Settings of the occlusion prior."""

from typing import Literal

from pydantic import Field

from handgap.core.config.base import Name, Section, Unit

Frame = Literal["camera", "palm"]


class Prior(Section):
    """The occlusion prior's data, masking and optimisation. The defaults are those of the released code."""

    datasets: list[Name] = Field([], description="datasets whose training joints it learns; none: all of the study")
    drawn_hands: int = Field(
        0, ge=0, description="hands learnt beside them: drawn from the annotation hand's components, turned at random"
    )
    frame: Frame = Field("camera", description="camera: hands as they are seen; palm: their orientation taken out")
    epochs: int = Field(800, ge=1, description="passes over the hands")
    batch: int = Field(256, ge=1, description="hands per step")
    learning_rate: float = Field(1e-4, gt=0, description="Adam step")
    kl_weight: float = Field(0.01, ge=0, description="weight of the KL term (lambda)")
    mask_ratio: Unit = Field(0.5, description="probability that a joint is hidden in training")
    rotation_ratio: Unit = Field(0.6, description="share of hands turned in the image plane, for frame camera")
    rotation_std_deg: float = Field(30.0, ge=0, description="standard deviation of that turn")
    rotation_limit_deg: float = Field(60.0, ge=0, le=180, description="largest turn")
