"""SynFrei (Zhao et al., CVPR 2025): FreiHAND's training hands rendered anew, several rounds of 32,560 pictures.

`rgb_<round>/%08d.png`, counted from 0 or 1, and `segmentation/%08d.png`. The labels and intrinsics are FreiHAND's own.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from handgap.core.config.imported import FreiHand, SynFrei
from handgap.core.conventions import MaskLabel
from handgap.data.adapters.adapter import Adapter, Picture
from handgap.data.adapters.files import Need, check_layout, read_pixels
from handgap.data.adapters.freihand import FreiHandAdapter
from handgap.data.adapters.index import Index, IndexWriter

_DOWNLOAD = "the renders of SynFrei"


class SynFreiAdapter(Adapter):
    """See the module."""

    title = "SynFrei"
    licence = "as FreiHAND's, whose labels these are: research only"
    source = "HandSynthesis"
    splits = ("train",)
    size = (224, 224)
    pose_space = FreiHandAdapter.pose_space

    def __init__(self, options: SynFrei):
        super().__init__(options)
        labels = FreiHand(kind="freihand", root=options.labels, colour_versions=1)
        self._labels = FreiHandAdapter(labels)
        self._first = 0 if (self.root / "rgb_0").is_dir() else 1
        if (self.root / "segmentation").is_dir():
            self.masks = ("train",)

    def needs(self, split: str) -> Sequence[Need]:
        """One folder for each round."""
        return [Need(f"rgb_{self._first + k}/", _DOWNLOAD) for k in range(self.options.rounds)]

    def check(self, split: str) -> None:
        """See whether the renders are there, and FreiHAND's training labels where the settings say."""
        super().check(split)
        files = [need for need in self._labels.needs("train") if need.path.endswith(".json")]
        what = "FreiHAND's training labels, which SynFrei has (`labels`)"
        check_layout(self._labels.root, files, what, self._labels.source)

    def pictures(self, split: str) -> int:
        """FreiHAND's entries times the rounds."""
        return self._labels.pictures("train") * self.options.rounds

    def write_index(self, split: str, index: IndexWriter) -> int:
        """FreiHAND's labels, once."""
        return self._labels.write_index("train", index) * self.options.rounds

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """FreiHAND's labels with the picture of a round."""
        turn, entry = divmod(number, int(index.attrs["pictures"]) // self.options.rounds)
        name = f"rgb_{self._first + turn}/{entry:08d}"
        labels, trouble = self._labels.labels(index, entry), ""
        if self.masks:
            pixels, trouble = read_pixels(self.root / "segmentation" / f"{entry:08d}.png")
            if pixels is not None:
                hand = pixels.reshape(*pixels.shape[:2], -1)[..., 0] > 0
                labels = replace(labels, mask=np.uint8(hand) * np.uint8(MaskLabel.HAND))
        return Picture(name, self.root / f"{name}.png", [replace(labels, fault=trouble)])
