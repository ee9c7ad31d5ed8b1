"""Settings of the segment stage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from handgap.core.config.base import Section, Unit
from handgap.core.errors import MissingAssetError


@dataclass(frozen=True)
class Weights:
    """Where a model's weights come from: asset of config/assets.csv, its file, the project that publishes it."""

    asset: str
    file: str
    project: str

    @property
    def cure(self) -> str:
        """What to do where they are missing."""
        fetched = f"in a checkout: snakemake results/assets/{self.asset}/asset.json"
        return f"{fetched}; elsewhere: get {self.file} of {self.project} and pass the folder that holds all"

    def find(self, where: Path) -> Path:
        """The file, if `where` is a file or holds it, beside others or as a folder of assets does.

        Raises:
            MissingAssetError: it is not there.
        """
        for path in (where, where / self.asset / self.file, where / self.file):
            if path.is_file():
                return path
        raise MissingAssetError(where, f"no {self.file} there", self.cure)


SEGMENTERS = {
    "mobilesam": Weights("mobilesam", "mobile_sam.pt", "ChaoningZhang/MobileSAM"),
    "vit_b": Weights("sam_vit_b", "sam_vit_b_01ec64.pth", "facebookresearch/segment-anything"),
    "vit_l": Weights("sam_vit_l", "sam_vit_l_0b3195.pth", "facebookresearch/segment-anything"),
    "vit_h": Weights("sam_vit_h", "sam_vit_h_4b8939.pth", "facebookresearch/segment-anything"),
}
GROUNDING_DINO = Weights("groundingdino_swint", "groundingdino_swint_ogc.pth", "IDEA-Research/GroundingDINO")
VOCAB = Weights("bert_vocab", "vocab.txt", "google-bert/bert-base-uncased")
SAM_INPUT = 1024  # px, edge of the input the ViTs' position embedding belongs to


# what ends a text for grounding_dino, or stands for a special token
Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^.?\[\]]+$")]


class Segment(Section):
    """Cutting arm and object out of the real side."""

    segmenter: Literal["mobilesam", "vit_b", "vit_l", "vit_h"] = Field(
        "mobilesam",
        description="segmentation model: MobileSAM, or SAM with a ViT",
    )
    boxes: Literal["annotation", "palm", "grounding_dino"] = Field(
        "annotation",
        description="box prompts of the labels, a palm detector or text (the labels' where it finds none)",
    )
    input_size: int = Field(512, ge=256, multiple_of=64, description="edge the model sees images at, px (ViTs: 1024)")
    multimask: bool = Field(True, description="three candidates a question, the best is taken (false: one)")
    box_margin: float = Field(0.05, ge=0, description="margin around the hand's box, share of its longer edge")
    min_area: float = Field(1e-3, ge=0, description="smallest island kept and hole left, share of the image")
    object_area: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] = Field(
        (0.04, 3.0), description="least and greatest area of a held object, times the hand's"
    )
    min_object_score: Unit = Field(0.55, description="score below which a held object is not believed")
    min_coverage: Unit = Field(0.5, description="share of the hand's outline that must be found for a valid mask")
    prompts: tuple[Prompt, Prompt, Prompt] = Field(
        ("hand", "hand and arm", "object"), description="texts of hand, hand + arm and held object for grounding_dino"
    )
    box_threshold: Unit = Field(0.3, description="least probability of a text's best word")
    text_threshold: Unit = Field(0.25, description="probability below which a word of the text counts for nothing")
    detector_side: int = Field(800, ge=256, description="shorter edge grounding_dino sees, px (trained at up to 800)")

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Segment":
        if self.segmenter != "mobilesam" and self.input_size != SAM_INPUT:
            raise ValueError(f"segmenter {self.segmenter} sees images at {SAM_INPUT} px: set input_size: {SAM_INPUT}")
        if self.object_area[0] >= self.object_area[1]:
            raise ValueError(f"object_area: {self.object_area[0]} is not below {self.object_area[1]}")
        return self
