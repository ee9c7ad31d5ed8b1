"""Ego3DHands, static version (Lin et al., WACV 2021).

One folder for each picture: `color_new.png` (480 x 270, hands before a background), `gt_seg.png`, and
`location_3d_global.npy` of (2, 22, 3): left hand first; elbow, wrist, five fingers from base to tip; (row, column,
depth), centimetres of a hand whose wrist and middle knuckle are 10 cm apart. A hand that is not there has zeros. The
focal length is 187.932 px.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handgap.core.config.imported import Ego3dHands
from handgap.core.conventions import MaskLabel, Side
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.data.adapters.adapter import TWO_HANDS, Adapter, Labels, Picture
from handgap.data.adapters.files import Need, read_pixels
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import labels_from, numbers

K = np.array([[187.932, 0, 240.0], [0, 187.932, 135.0], [0, 0, 1]])
_CM = 1e-2
_DOWNLOAD = "Ego3DHands static"
_ROW = {Side.LEFT: 0, Side.RIGHT: 1}
_ARMS, _CLASSES = (1, 8), 14  # of gt_seg: 1 to 7 left, 8 to 14 right, the arm first


class Ego3dHandsAdapter(Adapter):
    """See the module."""

    title = "Ego3DHands"
    licence = "research only, not commercial"
    source = "Ego3DHands' repository"
    splits = ("train", "test")
    hands = sides = TWO_HANDS
    size = (480, 270)
    masks = ("train", "test")

    options: Ego3dHands

    def _folder(self, split: str) -> str:
        return self.options.train_folder if split == "train" else self.options.test_folder

    def needs(self, split: str) -> Sequence[Need]:
        """The split's folder."""
        return (Need(f"{self._folder(split)}/", _DOWNLOAD),)

    def pictures(self, split: str) -> int:
        """Folders."""
        return len(self._names(split))

    def _names(self, split: str) -> list[str]:
        return sorted(path.name for path in (self.root / self._folder(split)).iterdir() if path.is_dir())

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Names."""
        names = self._names(split)
        index.append(name=names)
        return len(names)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Labels of both hands out of the picture's folder."""
        name = index.column("name", number)
        folder = self.root / self._folder(split) / name
        classes, trouble = read_pixels(folder / "gt_seg.png")
        if classes is not None:
            classes = classes.reshape(*classes.shape[:2], -1)[..., 0]
            if classes.max() > _CLASSES:
                classes, trouble = None, f"{folder / 'gt_seg.png'}: classes beyond {_CLASSES}"

        def build(values: np.ndarray) -> list[Labels]:
            return [_labels(numbers(values, (2, 22, 3)), side, classes, trouble) for side in self.hands]

        hands = labels_from(folder / "location_3d_global.npy", _read, build, self.hands)
        return Picture(name, folder / "color_new.png", hands)


def _labels(locations: np.ndarray, side: Side, classes: np.ndarray | None, trouble: str) -> Labels:
    points, mask = locations[_ROW[side], 1:], None
    if classes is not None:
        mask = np.zeros(classes.shape, np.uint8)
        for number in range(1, _CLASSES + 1):
            owner = Side.LEFT if number < _ARMS[1] else Side.RIGHT
            hand = MaskLabel.HAND if owner is side else MaskLabel.SECOND_HAND
            mask[classes == number] = MaskLabel.ARM if number in _ARMS else hand
    if not points.any():
        return Labels(side=side, K=K, mask=mask, absent=f"no {side.name.lower()} hand here", fault=trouble)
    return Labels(side=side, K=K, joints=points[:, [1, 0, 2]] * _CM, mask=mask, fault=trouble)


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise MissingAssetError(path, "no such file", f"unpack {_DOWNLOAD} again")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CorruptFileError(path, f"not a readable array ({error})", f"unpack {_DOWNLOAD} again") from error
