"""Hand-3D-Studio (Zhao et al., ICASSP 2020), the pictures cropped around hands by RegDA (Jiang et al., CVPR 2021).

`annotation.json` lists `name`, `keypoint2d`, `keypoint3d` (21, simple order, OpenCV camera), `intrinsic_matrix` and
`without_object`; pictures are in `part1` to `part5`. RegDA's split: the chosen samples shuffled with seed 42, a fifth
of them, 3,200 at most, for testing. The unit is not stated, and told by the hands' size; nor is which hand it is: all
are taken for right ones.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handgap.core.config.imported import Hand3dStudio
from handgap.core.errors import CorruptFileError
from handgap.core.json_stream import walk_json
from handgap.data.adapters.adapter import Adapter, Labels, Picture
from handgap.data.adapters.checks import unit_of
from handgap.data.adapters.files import Need, shaped
from handgap.data.adapters.index import Index, IndexWriter

SEED, TEST_SHARE, MOST_TEST = 42, 0.2, 3200  # RegDA's
PIECE = 1024
_ARCHIVE = "H3D_crop.tar"
_CURE = f"unpack {_ARCHIVE} again"
_WANTED = {"without": (1,), "with": (0,), "all": (0, 1)}


class Hand3dStudioAdapter(Adapter):
    """See the module."""

    title = "Hand-3D-Studio"
    licence = "research only; the authors' links are dead and state no licence"
    source = "whoever still has RegDA's copy"
    splits = ("train", "test")
    size = (256, 256)

    options: Hand3dStudio

    @property
    def _file(self) -> Path:
        return self.root / "annotation.json"

    def needs(self, split: str) -> Sequence[Need]:
        """The list; pictures are where it says."""
        return (Need("annotation.json", _ARCHIVE),)

    def _chosen(self) -> list[int]:
        """Places of the chosen samples in the list, in RegDA's order."""
        places = []
        for place, sample in walk_json(self._file, 1, _CURE):
            try:
                if int(sample["without_object"]) in _WANTED[self.options.objects]:
                    places.append(place)
            except (KeyError, TypeError, ValueError) as error:
                raise CorruptFileError(self._file, f"entry {place} has no 'without_object' ({error})", _CURE) from error
        random.Random(SEED).shuffle(places)
        return places

    def _split(self, split: str) -> list[int]:
        places = self._chosen()
        test = min(int(len(places) * TEST_SHARE), MOST_TEST)
        return places[:test] if split == "test" else places[test:]

    def pictures(self, split: str) -> int:
        """Samples of RegDA's split."""
        return len(self._split(split))

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Labels in the order of the list, and where in it each picture's are."""
        places = self._split(split)
        kept, piece, row_of = set(places), [], {}
        for place, sample in walk_json(self._file, 1, _CURE):
            if place not in kept:
                continue
            try:
                joints = shaped(sample["keypoint3d"], (21, 3), self._file, place, _CURE)
                K = shaped(sample["intrinsic_matrix"], (3, 3), self._file, place, _CURE)
                piece.append((str(sample["name"]), joints, K))
            except KeyError as error:
                raise CorruptFileError(self._file, f"entry {place} has no {error}", _CURE) from error
            row_of[place] = len(row_of)
            if len(piece) == PIECE:
                _flush(index, piece)
        if piece:
            _flush(index, piece)
        index.table("order", np.array([row_of[place] for place in places], np.int64))
        return len(places)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """A sample of the split."""
        row = int(index.table("order")[number])
        name, joints = index.column("name", row), index.column("joints", row)
        unit = unit_of(joints[None]) or 1.0
        return Picture(name, self.root / name, [Labels(K=index.column("K", row), joints=joints * unit)])


def _flush(index: IndexWriter, piece: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    names, joints, K = zip(*piece, strict=True)
    index.append(name=list(names), joints=np.stack(joints), K=np.stack(K))
    piece.clear()
