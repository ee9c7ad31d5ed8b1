"""What all datasets have in common: what lies on disk, which splits there are, and samples by number.

A split is a sequence of pictures, each with one row, or two where pictures show two hands: first the right hand, then
the left one, both with the picture's number as `image_id`. A row's id is its place in the split, in the order the
authors give. Rows that cannot be used stay in place: not valid, with the reason.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

import h5py
import numpy as np

from handgap.core.config.imported import Imported
from handgap.core.conventions import Side
from handgap.core.errors import CorruptFileError, HandgapError
from handgap.core.files import written_whole
from handgap.data.adapters.files import Need, check_layout
from handgap.data.adapters.index import Index, IndexWriter

ONE_HAND, TWO_HANDS = (Side.RIGHT,), (Side.RIGHT, Side.LEFT)


class PoseSpace(NamedTuple):
    """How a dataset writes MANO's pose: the two switches that MANO layers have, and which left hand it was made with.

    With `released_left` the left model is the released one, whose `shapedirs` have the wrong sign in x.
    """

    use_pca: bool
    flat_hand_mean: bool
    released_left: bool = False


@dataclass(frozen=True)
class Labels:
    """Labels of one hand in metres and pixels, in the dataset's own frame and MANO conventions; None: it has none.

    Attributes:
        side: which hand.
        K: (3, 3) px.
        joints: (21, 3) simple order.
        vertices: (778, 3).
        pose: (48,) global axis-angle and 45 coefficients or angles, see `PoseSpace`.
        shape: (10,).
        trans: (3,) added after the hand has been posed.
        root: (3,) instead of `trans`: where joint 9 is.
        rotation, translation: (3, 3) and (3,) from the frame of these labels to the OpenCV camera.
        visibility: (21,) bool.
        mask: (H, W) of `conventions.MaskLabel`, where HAND is this hand and SECOND_HAND the other one.
        absent: why the dataset has no labels here, by its own account; empty if it has.
        fault: what is wrong with the files; empty if nothing is.
        extras: further columns of this dataset, among those of `Adapter.extras`.
    """

    side: Side = Side.RIGHT
    K: np.ndarray | None = None
    joints: np.ndarray | None = None
    vertices: np.ndarray | None = None
    pose: np.ndarray | None = None
    shape: np.ndarray | None = None
    trans: np.ndarray | None = None
    root: np.ndarray | None = None
    rotation: np.ndarray | None = None
    translation: np.ndarray | None = None
    visibility: np.ndarray | None = None
    mask: np.ndarray | None = None
    absent: str = ""
    fault: str = ""
    extras: dict[str, np.ndarray] = field(default_factory=dict)


class Picture(NamedTuple):
    """One picture with the labels of its hands; `depth` are the bytes of a 16-bit PNG in millimetres."""

    name: str
    image: Path
    hands: Sequence[Labels]
    depth: np.ndarray | None = None


class Adapter(ABC):
    """A dataset in a folder.

    Args:
        options: its section of the configuration.

    Attributes:
        title: the dataset's name.
        licence: what it may be used for.
        source: where its files are from.
        splits: splits that it has, by our names.
        hands: sides of the rows of each picture.
        sides: hands that occur, for the models needed.
        size: (width, height) of its pictures, px; of the grey ones that stand in for missing ones.
        pose_space: how it writes MANO's pose, or None if it has no such labels.
        regressed: whether its joints are to be regressed from its vertices with the hand model.
        tips: fingertips of its joints, a key of `conventions.TIP_VERTICES`.
        masks, depths: splits that have these columns.
    """

    title: ClassVar[str]
    licence: ClassVar[str]
    source: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]
    hands: ClassVar[tuple[Side, ...]] = ONE_HAND
    sides: ClassVar[tuple[Side, ...]] = ONE_HAND
    size: ClassVar[tuple[int, int]]
    pose_space: ClassVar[PoseSpace | None] = None
    regressed: ClassVar[bool] = False
    tips: ClassVar[str] = "freihand"
    masks: ClassVar[tuple[str, ...]] = ()
    depths: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: Imported):
        self.options, self.root = options, Path(options.root)

    @abstractmethod
    def needs(self, split: str) -> Sequence[Need]:
        """Files and folders of a split."""

    @abstractmethod
    def pictures(self, split: str) -> int:
        """How many pictures a split has, found cheaply.

        Raises:
            HandgapError: it cannot be told.
        """

    @abstractmethod
    def write_index(self, split: str, index: IndexWriter) -> int:
        """Fill the index of a split, streaming.

        Returns:
            How many pictures it has.

        Raises:
            MissingAssetError, CorruptFileError: a label file is absent or faulty.
        """

    @abstractmethod
    def picture(self, split: str, index: Index, number: int) -> Picture:
        """The picture with a number, counted from 0 in the authors' order.

        A fault of files that concern this picture alone is told in its labels.
        """

    def extras(self, split: str) -> dict[str, np.ndarray]:
        """Further columns of a split: name -> what rows without a value have."""
        return {}

    def check(self, split: str) -> None:
        """See whether the folder is this dataset, laid out as published.

        Raises:
            HandgapError: no such split; or what was expected where, what was found, and where to get it.
        """
        if split not in self.splits:
            raise HandgapError(f"{self.title}, split '{split}'", "no such split", f"one of {', '.join(self.splits)}")
        check_layout(self.root, self.needs(split), f"{self.title}, split {split}", self.source)

    def count(self, split: str) -> int:
        """How many rows a split has, found cheaply.

        Raises:
            HandgapError: see `check`.
        """
        self.check(split)
        return self.pictures(split) * len(self.hands)

    def make_index(self, split: str, path: Path) -> None:
        """Write the index of a split, whole or not at all.

        Raises:
            HandgapError: see `check`.
            MissingAssetError, CorruptFileError: a label file is absent or faulty; a sample is listed twice.
        """
        self.check(split)
        with written_whole(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
            writer = IndexWriter(file, self.root)
            pictures = self.write_index(split, writer)
            writer.finish()
            if pictures == 0:
                raise CorruptFileError(self.root, f"split {split} of {self.title} is empty", f"fetch it: {self.source}")
            file.attrs["kind"], file.attrs["split"], file.attrs["pictures"] = self.title, split, pictures

    def samples(self, split: str, index: Index, ids: Sequence[int]) -> Iterator[tuple[int, Picture, Labels]]:
        """Rows of a split by id: the picture's number, the picture, and the labels of the row's hand.

        Raises:
            CorruptFileError: the split has fewer rows.
        """
        total, per_picture = int(index.attrs["pictures"]) * len(self.hands), len(self.hands)
        if max(ids) >= total:
            problem = f"{self.title}, split {split}, has {total} rows, and {max(ids) + 1} were asked for"
            raise CorruptFileError(
                self.root, problem, f"set its `splits: {{{split}: {total}}}`, or fetch what is missing"
            )
        number, picture = -1, None
        for row in ids:
            if row // per_picture != number:
                number = row // per_picture
                picture = self.picture(split, index, number)
            yield number, picture, picture.hands[row % per_picture]
