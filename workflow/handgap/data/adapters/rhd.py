"""Rendered Handpose Dataset (Zimmermann & Brox, ICCV 2017), version 2 of the release.

`{training,evaluation}/color/%05d.png` of 320 px, and one pickle of labels for each split: per picture 42 keypoints,
the left hand's first, each finger from tip to base, metres, OpenCV camera. A person with both hands is in every
picture; a hand counts as seen with more than 16 visible keypoints (RegDA's rule, Jiang et al., CVPR 2021).
"""

from collections.abc import Sequence

import numpy as np

from handgap.core.conventions import N_JOINTS, Side
from handgap.core.errors import CorruptFileError
from handgap.core.pickles import read_pickle
from handgap.data.adapters.adapter import TWO_HANDS, Adapter, Labels, Picture
from handgap.data.adapters.files import Need
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import numbers

# wrist, then each finger from tip to base -> simple order
TO_SIMPLE = np.array([0, *(4 * finger + k for finger in range(5) for k in (4, 3, 2, 1))])
FEWEST_VISIBLE = 17
_FOLDERS = {"train": "training", "test": "evaluation"}
_ARCHIVE = "RHD_v1-1.zip"
_FIRST = {Side.LEFT: 0, Side.RIGHT: N_JOINTS}


class RhdAdapter(Adapter):
    """See the module."""

    title = "RHD"
    licence = "research only, not commercial, by RHD's terms"
    source = "the RHD page of the University of Freiburg"
    splits = ("train", "test")
    hands = sides = TWO_HANDS
    size = (320, 320)

    def needs(self, split: str) -> Sequence[Need]:
        """Pictures and the pickle."""
        folder = _FOLDERS[split]
        return Need(f"{folder}/color/", _ARCHIVE), Need(f"{folder}/anno_{folder}.pickle", _ARCHIVE)

    def pictures(self, split: str) -> int:
        """PNG files."""
        return sum(path.suffix == ".png" for path in (self.root / _FOLDERS[split] / "color").iterdir())

    def write_index(self, split: str, index: IndexWriter) -> int:
        """All labels: they come in one pickle."""
        folder = _FOLDERS[split]
        path = self.root / folder / f"anno_{folder}.pickle"
        values = read_pickle(path)
        if not isinstance(values, dict) or not values:
            raise CorruptFileError(path, "not a dictionary of samples", f"unpack {_ARCHIVE} again")
        columns: dict[str, list] = {"K": [], "xyz": [], "uv_vis": []}
        names = sorted(values)
        for name in names:
            try:
                for key, shape in (("K", (3, 3)), ("xyz", (42, 3)), ("uv_vis", (42, 3))):
                    columns[key].append(numbers(values[name][key], shape))
            except (KeyError, TypeError, ValueError) as error:
                raise CorruptFileError(path, f"sample {name}: {error}", f"unpack {_ARCHIVE} again") from error
        stacked = {key: np.stack(column) for key, column in columns.items()}
        index.append(name=[f"{name:05d}" for name in names], **stacked)
        return len(names)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Both hands of a picture."""
        name = index.column("name", number)
        K, xyz, uv_vis = (index.column(key, number) for key in ("K", "xyz", "uv_vis"))
        hands = []
        for side in self.hands:
            rows = _FIRST[side] + TO_SIMPLE
            visible = uv_vis[rows, 2] > 0
            unseen = f"no label: {visible.sum()} of 21 keypoints of the {side.name.lower()} hand are visible"
            absent = "" if visible.sum() >= FEWEST_VISIBLE else unseen
            hands.append(Labels(side=side, K=K, joints=xyz[rows], visibility=visible, absent=absent))
        return Picture(name, self.root / _FOLDERS[split] / "color" / f"{name}.png", hands)
