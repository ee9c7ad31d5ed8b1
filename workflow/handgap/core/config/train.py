"""Settings of the train stage: recipes, augmentation, optimisation."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

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


Share = Annotated[float, Field(gt=0, le=1)]


class Subset(Section):
    """Which samples of a source are trained on; smaller subsets lie within larger ones (`data.selection`)."""

    images: Annotated[int, Field(ge=1, strict=True)] | Annotated[float, Field(gt=0, le=1, strict=True)] = Field(
        1.0, description="a whole number: that many images; a fraction: that share of them (1.0: all)"
    )
    poses: Share = Field(1.0, description="share of the distinct poses")
    backgrounds: Share = Field(1.0, description="images before the first share of the environment maps, by name")
    textures: Share = Field(1.0, description="images of the first share of the skins, by number")


class Source(Section):
    """One ingredient of a training recipe."""

    dataset: Name = Field(description="a key of datasets")
    images: Name = Field(description="'real', or the name of a composition")
    weight: float = Field(1.0, gt=0, description="share of the images drawn, relative to the others")
    subset: Subset = Field(default_factory=Subset, description="which of its samples")


class Recipe(Section):
    """What a network is trained on."""

    sources: list[Source] = Field(min_length=1, description="datasets mixed")
    amplitude: bool = Field(description="amplitude spectrum augmentation on synthetic images")
    joints: Literal["mano", "nimble"] = Field(
        "mano", description="whose joints the labels are: the annotation hand's, or the render hand's anatomical ones"
    )


class Train(Section):
    """Crops, augmentation and optimisation; a network may override any of it by its own `train`."""

    image_size: int = Field(96, ge=64, multiple_of=32, description="crop edge the network sees, px")
    box_expansion: float = Field(1.25, ge=1.0, description="crop edge over that of the tight square around the joints")
    epochs: int = Field(12, ge=1, description="passes over the recipe")
    batch: int = Field(8, ge=1, description="images a device works on at once")
    effective_batch: int | None = Field(
        None, ge=1, description="images per step, gathered over devices and several batches; null: batch"
    )
    devices: int = Field(1, ge=1, description="processes, one for each GPU (CPUs where there is none), by torchrun")
    optimiser: Literal["adamw", "adam"] = Field("adamw", description="adamw, or adam with L2 for its weight decay")
    learning_rate: float = Field(5e-4, gt=0, description="peak learning rate")
    weight_decay: float = Field(1e-2, ge=0, description="of matrices and kernels")
    warmup: Unit = Field(0.1, description="share of the steps with a rising rate")
    schedule: Literal["cosine", "steps"] = Field("cosine", description="after warm-up: half a cosine, or milestones")
    milestones: tuple[Unit, ...] = Field((0.5,), description="steps: shares of the run after which the rate falls")
    gamma: float = Field(0.1, gt=0, lt=1, description="steps: factor on the rate at each milestone")
    gradient_clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: any")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights that are kept; 0: the last weights")
    validation: float = Field(0.05, ge=0, lt=1, description="share of each source's images held out of training")
    validate_every: int = Field(1, ge=1, description="epochs between two validations; the last has one")
    workers: int = Field(0, ge=0, description="loader processes; 0 is best while the images fit into memory")
    rotation_deg: float = Field(45.0, ge=0, le=180, description="in-plane rotation, uniform within +-")
    scale_jitter: Unit = Field(0.15, description="crop size jitter, uniform within +-")
    shift_jitter: Unit = Field(0.08, description="crop centre jitter, share of the crop, uniform within +-")
    colour_jitter: Unit = Field(0.3, description="brightness, contrast and channel jitter, uniform within +-")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.step_images < self.batch:
            raise ValueError(f"effective_batch {self.effective_batch} is smaller than batch {self.batch}")
        if self.step_images < self.devices:
            raise ValueError(f"a step of {self.step_images} images leaves some of {self.devices} devices without any")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {self.milestones} do not rise")
        return self

    @property
    def step_images(self) -> int:
        """Images of an optimiser's step."""
        return self.effective_batch or self.batch

    def overridden(self, overrides: "TrainOverrides") -> "Train":
        """These settings with those of one network in their place.

        Raises:
            ValidationError: they contradict each other.
        """
        return Train.model_validate(self.model_dump() | overrides.model_dump())


class TrainOverrides(Train):
    """Keys of `train` that one network sets for itself: only those given count."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        return self  # what they are merged into is checked

    @model_serializer(mode="wrap")
    def _given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}
