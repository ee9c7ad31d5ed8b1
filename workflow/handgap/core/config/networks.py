"""Settings of the pose networks: which one, on which backbone, how large."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter, model_validator

from handgap.core.config.base import Name, Section, Unit
from handgap.core.config.train import TrainOverrides

Width = Annotated[int, Field(ge=4)]


class BaseNetwork(Section):
    """What all pose networks share. The defaults of the heads are the published sizes."""

    needs_masks: ClassVar[bool] = False  # whether it learns from the masks of its images
    needs_hierarchy: ClassVar[bool] = False  # whether it is built on the mesh hierarchy of the annotation hand

    architecture: str = Field(description="published network")
    backbone: str = Field("efficientnet_lite0", description="timm name of the image encoder")
    pretrained: bool = Field(True, description="ImageNet weights out of the asset of the backbone's name")
    input: Literal["backbone", "published"] = Field(
        "backbone", description="pixel values: as the backbone's weights were trained, or as the released code has them"
    )
    train: TrainOverrides = Field(default_factory=TrainOverrides, description="keys of train it sets for itself")
    initial: list[Name] = Field(
        [], description="networks, trained on the same recipe and seed, whose weights this one starts from"
    )

    @property
    def needs_keypoints(self) -> bool:
        """Whether it learns from detected 2D keypoints and sees no other label."""
        return False

    @property
    def has_texture(self) -> bool:
        """Whether it predicts colours and light, so that its hands can be rendered."""
        return False


class HourglassSize(Section):
    """Size of S2HAND's heatmap branch."""

    stacks: int = Field(2, ge=1, description="hourglasses one behind the other")
    depth: int = Field(4, ge=1, description="levels of each")
    modules: int = Field(2, ge=1, description="residual modules at each place")
    features: Width = Field(256, multiple_of=4, description="width of its features")


class S2HandNetwork(BaseNetwork):
    """S2HAND (Chen et al., CVPR 2021)."""

    architecture: Literal["s2hand"] = Field("s2hand", description="published network")
    stage: Literal["supervised", "shape", "kp", "finetune", "e2e"] = Field(
        "supervised", description="learns from labels, or a self-supervised stage: from detected 2D keypoints"
    )
    supervision: Literal["joints", "full"] = Field("full", description="supervised: joints, or joints, vertices, edges")
    pose_units: Literal["components", "deviations"] = Field(
        "components", description="pose coefficients: of the hand model's components, as released, or over their spread"
    )
    mean_shape: bool = Field(True, description="shape coefficients stay zero, as released")
    texture_confidence: Literal["freihand", "ho3d"] = Field(
        "freihand", description="whose rule says how far an image's colours are believed (finetune, e2e)"
    )
    render_size: int = Field(224, ge=16, description="edge of the pictures compared with the image (finetune, e2e), px")
    hourglass: HourglassSize = Field(default_factory=HourglassSize, description="heatmap branch (kp, finetune, e2e)")

    @property
    def needs_keypoints(self) -> bool:
        """See `BaseNetwork`."""
        return self.stage != "supervised"

    @property
    def has_texture(self) -> bool:
        """See `BaseNetwork`."""
        return self.stage in ("finetune", "e2e")

    @model_validator(mode="after")
    def _heatmaps_have_no_encoder(self) -> "S2HandNetwork":
        if self.stage == "kp" and self.pretrained:
            raise ValueError("stage kp has no encoder: pretrained must be false")
        return self


class SimpleHandNetwork(BaseNetwork):
    """simpleHand (Zhou et al., CVPR 2024)."""

    architecture: Literal["simplehand"] = Field("simplehand", description="published network")
    drop_path: float = Field(
        0.0, ge=0, lt=1, description="stochastic depth of the backbone in training; the released code's: 0.2"
    )


class CmrNetwork(BaseNetwork):
    """CMR (Chen et al., CVPR 2021)."""

    needs_masks: ClassVar[bool] = True
    needs_hierarchy: ClassVar[bool] = True

    architecture: Literal["cmr"] = Field("cmr", description="published network")
    variant: Literal["g", "sg", "pg"] = Field(
        "g", description="maps before the last backbone: joints; mask, joints; joints twice"
    )
    channels: tuple[Width, ...] = Field(
        (512, 256, 128, 64), min_length=1, description="features on each mesh level but the coarsest, coarse to fine"
    )
    spiral_length: int = Field(27, ge=3, multiple_of=3, description="vertices a spiral convolution sees")

    @model_validator(mode="after")
    def _channels_split(self) -> "CmrNetwork":
        if any(width % 4 for width in self.channels):
            raise ValueError(f"channels {self.channels}: multiples of 4 only")
        return self


class TransformerWeights(Section):
    """Factors on the losses of METRO and MeshGraphormer; 1 each in the scripts released for hands."""

    joints: float = Field(1.0, ge=0, description="of the squared distances of 3D joints, m^2")
    vertices: float = Field(1.0, ge=0, description="of the distances of vertices, m")
    uv: float = Field(1.0, ge=0, description="of the squared distances of 2D joints, in half images")


class _Transformer(BaseNetwork):
    """What METRO and MeshGraphormer share."""

    needs_hierarchy: ClassVar[bool] = True

    widths: tuple[Width, ...] = Field((1024, 256, 64), min_length=1, description="widths of the encoder's blocks")
    layers: int = Field(4, ge=1, description="layers of each block")
    heads: int = Field(4, ge=1, description="attention heads of each layer")
    coarse_level: int = Field(2, ge=0, description="level of the mesh hierarchy whose vertices are tokens")
    weights: TransformerWeights = Field(default_factory=TransformerWeights, description="factors on its losses")
    dropout: Unit = Field(0.1, description="of the encoder's tokens and attention in training")
    masked: Unit = Field(0.0, description="largest share of tokens hidden in training")

    @model_validator(mode="after")
    def _widths_split(self) -> "_Transformer":
        if any(width % self.heads or width % 2 for width in self.widths):
            raise ValueError(f"widths {self.widths}: even, and multiples of the {self.heads} heads")
        return self


class MetroNetwork(_Transformer):
    """METRO (Lin et al., CVPR 2021)."""

    architecture: Literal["metro"] = Field("metro", description="published network")
    ffn: int = Field(4, ge=1, description="width of a layer's feed-forward part over the block's")


class GraphormerNetwork(_Transformer):
    """MeshGraphormer (Lin et al., ICCV 2021)."""

    architecture: Literal["graphormer"] = Field("graphormer", description="published network")
    ffn: int = Field(2, ge=1, description="width of a layer's feed-forward part over the block's")


TransformerNetwork = MetroNetwork | GraphormerNetwork
Network = Annotated[
    S2HandNetwork | SimpleHandNetwork | CmrNetwork | MetroNetwork | GraphormerNetwork,
    Field(discriminator="architecture"),
]
NETWORK = TypeAdapter(Network)
