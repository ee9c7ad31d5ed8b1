"""Settings of datasets that come as files, and the choice between all kinds of datasets."""

from typing import Annotated, Any, ClassVar, Literal, Self, Union

from pydantic import Discriminator, Field, Tag, model_validator

from handgap.core.config.base import Name, Section
from handgap.core.config.dataset import Dataset
from handgap.core.config.evaluate import ProtocolName

Count = Annotated[int, Field(ge=1)]


class Imported(Section):
    """What all datasets that come as files have in common."""

    published: ClassVar[dict[str, int]] = {}  # rows of each split, where the authors state them

    kind: str
    root: str = Field(description="folder of the dataset, laid out as published (docs/datasets.md)")
    splits: dict[Name, Count] = Field(
        {},
        description="rows imported of each split, its first ones; `handgap inspect-dataset` prints them all",
    )
    mano: bool = Field(
        True,
        description="labels completed with MANO (licensed): pose, shape, trans, vertices; false: as they are",
    )

    @model_validator(mode="after")
    def _sizes_are_known(self) -> Self:
        self.splits = self.splits or dict(self._published())
        if not self.splits:
            raise ValueError("splits: give the number of rows of each split; `handgap inspect-dataset` prints them")
        return self

    def _published(self) -> dict[str, int]:
        return self.published

    @property
    def protocol(self) -> ProtocolName | None:
        """Protocol of its authors, where they have published one."""
        return None


class FreiHand(Imported):
    """FreiHAND (Zimmermann et al., ICCV 2019)."""

    published: ClassVar[dict[str, int]] = {"train": 32_560, "test": 3_960}

    kind: Literal["freihand"] = Field(description="what the files are")
    colour_versions: int = Field(4, ge=1, le=4, description="versions of each training image: 1 green screen, 4 all")

    def _published(self) -> dict[str, int]:
        return self.published | {"train": self.colour_versions * self.published["train"]}

    @property
    def protocol(self) -> ProtocolName:
        """FreiHAND's."""
        return "freihand"


class Ho3d(Imported):
    """HO3D (Hampali et al., CVPR 2020), version 2 or 3."""

    kind: Literal["ho3d"] = Field(description="what the files are")
    version: Literal["v2", "v3"] = Field("v3", description="release: v2 has PNG images, v3 JPEG")

    def _published(self) -> dict[str, int]:
        # of version 3 two numbers circulate
        return {"train": 66_034, "test": 11_524} if self.version == "v2" else {}

    @property
    def protocol(self) -> ProtocolName:
        """That of its version."""
        return f"ho3d_{self.version}"


class DexYcb(Imported):
    """DexYCB (Chao et al., CVPR 2021)."""

    kind: Literal["dexycb"] = Field(description="what the files are")
    setup: Literal["s0", "s1", "s2", "s3"] = Field(
        "s0", description="official split: default, unseen subjects, unseen views, unseen grasps"
    )
    subjects: list[Annotated[int, Field(ge=0, le=9)]] = Field(
        list(range(10)), min_length=1, description="subjects taken; ids are the official ones only with all ten"
    )

    @property
    def protocol(self) -> ProtocolName:
        """That of its split."""
        return "dexycb" if self.setup == "s0" else f"dexycb_{self.setup}"


class SynFrei(Imported):
    """Pictures rendered after FreiHAND's training labels (HandSynthesis): several rounds of 32,560."""

    kind: Literal["synfrei"] = Field(description="what the files are")
    labels: str = Field(description="folder of FreiHAND, whose training labels these pictures have")
    rounds: int = Field(10, ge=1, description="rounds of rendering, rgb_0 and on")

    def _published(self) -> dict[str, int]:
        return {"train": self.rounds * FreiHand.published["train"]}


class HandSynthesis(Imported):
    """Folders of NIMBLE hands with their renders, as HandSynthesis writes them."""

    kind: Literal["handsynthesis"] = Field(description="what the files are")
    round: int = Field(1, ge=1, description="round of rendering: images/rgb_<round>")


class Rhd(Imported):
    """Rendered Handpose Dataset (Zimmermann & Brox, ICCV 2017); two rows a picture."""

    published: ClassVar[dict[str, int]] = {"train": 2 * 41_258, "test": 2 * 2_728}

    kind: Literal["rhd"] = Field(description="what the files are")


class DartSet(Imported):
    """DARTset (Gao et al., NeurIPS 2022)."""

    kind: Literal["dartset"] = Field(description="what the files are")


class ObMan(Imported):
    """ObMan (Hasson et al., CVPR 2019)."""

    kind: Literal["obman"] = Field(description="what the files are")


class RenderIh(Imported):
    """RenderIH (Li et al., ICCV 2023); two rows a picture."""

    kind: Literal["renderih"] = Field(description="what the files are")


class InterHand(Imported):
    """InterHand2.6M v1.0 at 5 frames a second (Moon et al., ECCV 2020); two rows a picture."""

    published: ClassVar[dict[str, int]] = {"train": 2 * 1_361_062, "val": 2 * 380_125, "test": 2 * 849_160}

    kind: Literal["interhand"] = Field(description="what the files are")


class H2o3d(Imported):
    """H2O-3D (Hampali et al., CVPR 2022); two rows a picture."""

    kind: Literal["h2o3d"] = Field(description="what the files are")


class Ego3dHands(Imported):
    """Ego3DHands, static (Lin et al., WACV 2021); two rows a picture."""

    published: ClassVar[dict[str, int]] = {"train": 2 * 50_000, "test": 2 * 5_000}

    kind: Literal["ego3dhands"] = Field(description="what the files are")
    train_folder: str = Field("combined_pose_train", description="folder of the training pictures' folders")
    test_folder: str = Field("combined_pose_test", description="folder of the test pictures' folders")


class Tzionas(Imported):
    """Hands in action, hand-hand sequences (Tzionas et al., IJCV 2016); two rows a picture."""

    kind: Literal["tzionas"] = Field(description="what the files are")


class MvHand(Imported):
    """MVHand (Yu et al., BMVC 2021)."""

    kind: Literal["mvhand"] = Field(description="what the files are")
    test_sequences: list[str] = Field(
        ["9-17-1-2", "9-25-1-2"],
        description="sequences of split test, the others are train; the authors give no split",
    )


class Hand3dStudio(Imported):
    """Hand-3D-Studio (Zhao et al., ICASSP 2020) as cropped by RegDA."""

    kind: Literal["h3d"] = Field(description="what the files are")
    objects: Literal["without", "with", "all"] = Field(
        "without", description="hands without an object, with one, or all"
    )


class Mow(Imported):
    """MOW (Cao et al., ICCV 2021)."""

    published: ClassVar[dict[str, int]] = {"test": 512}

    kind: Literal["mow"] = Field(description="what the files are")


IMPORTED = (
    *(FreiHand, Ho3d, DexYcb, SynFrei, HandSynthesis, Rhd, DartSet, ObMan, RenderIh, InterHand),
    *(H2o3d, Ego3dHands, Tzionas, MvHand, Hand3dStudio, Mow),
)


def _kind_of(value: Any) -> str:
    kind = value.get("kind", "free_hands") if isinstance(value, dict) else value.kind
    return "proxy" if kind in ("free_hands", "grasp_sequences") else kind


def _tag(section: type[Imported]) -> str:
    return section.model_fields["kind"].annotation.__args__[0]


AnyImported = Annotated[Union[tuple(IMPORTED)], Field(discriminator="kind")]  # noqa: UP007
# a dataset of any kind: rendered proxies, which need not name their kind, or files
AnyDataset = Annotated[
    Union[Annotated[Dataset, Tag("proxy")], *(Annotated[section, Tag(_tag(section))] for section in IMPORTED)],
    Discriminator(_kind_of),
]
