"""H2O-3D (Hampali et al., CVPR 2022): two hands and an object, files as HO3D's.

`{train,evaluation}/<sequence>/{rgb/*.jpg, meta/*.pkl}`, listed in `train.txt` and `evaluation.txt`; OpenGL camera,
MANO's joint order, one shape for both hands. Of the evaluation split the pickles have the wrists alone.
"""

from collections.abc import Sequence

import numpy as np

from handgap.core.conventions import MANO_TO_SIMPLE, OPENGL_TO_OPENCV, Side
from handgap.core.pickles import read_pickle
from handgap.data.adapters.adapter import TWO_HANDS, Adapter, Labels, Picture, PoseSpace
from handgap.data.adapters.files import Need, read_frames
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import labels_from, numbers

_FOLDERS = {"train": "train", "test": "evaluation"}
_ARCHIVE = "H2O-3D's archive"
_UNRELEASED = "no label: of the evaluation split only the wrists are given"


class H2o3dAdapter(Adapter):
    """See the module."""

    title = "H2O-3D"
    licence = "research only, by H2O-3D's terms; not to be passed on"
    source = "the page of TU Graz"
    splits = ("train", "test")
    hands = sides = TWO_HANDS
    size = (640, 480)
    pose_space = PoseSpace(use_pca=False, flat_hand_mean=True)
    tips = "ho3d"

    def needs(self, split: str) -> Sequence[Need]:
        """The split's folder and its list."""
        return Need(f"{_FOLDERS[split]}/", _ARCHIVE), Need(f"{_FOLDERS[split]}.txt", _ARCHIVE)

    def _list(self, split: str) -> list[str]:
        return read_frames(self.root / f"{_FOLDERS[split]}.txt", f"unpack {_ARCHIVE} again")

    def pictures(self, split: str) -> int:
        """Lines of the list."""
        return len(self._list(split))

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Names."""
        names = self._list(split)
        index.append(name=names)
        return len(names)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Labels of both hands out of the frame's pickle."""
        name = index.column("name", number)
        sequence, frame = name.split("/")
        folder = self.root / _FOLDERS[split] / sequence
        build = _annotated if split == "train" else _evaluated
        hands = labels_from(folder / "meta" / f"{frame}.pkl", read_pickle, build, self.hands)
        return Picture(name, folder / "rgb" / f"{frame}.jpg", hands)

    def extras(self, split: str) -> dict[str, np.ndarray]:
        """Of the evaluation split the wrists, which methods are given, in the OpenCV camera's frame."""
        return {"wrist": np.full(3, np.nan, np.float32)} if split == "test" else {}


def _annotated(values: dict) -> list[Labels]:
    K, shape = numbers(values["camMat"], (3, 3)), numbers(values["handBeta"], (10,))
    return [
        Labels(
            side=side,
            K=K,
            joints=numbers(values[f"{side.name.lower()}HandJoints3D"], (21, 3))[MANO_TO_SIMPLE],
            pose=numbers(values[f"{side.name.lower()}HandPose"], (48,)),
            shape=shape,
            trans=numbers(values[f"{side.name.lower()}HandTrans"], (3,)),
            rotation=OPENGL_TO_OPENCV,
        )
        for side in TWO_HANDS
    ]


def _evaluated(values: dict) -> list[Labels]:
    K = numbers(values["camMat"], (3, 3))
    hands = []
    for side in (Side.RIGHT, Side.LEFT):
        wrist = numbers(np.ravel(values[f"{side.name.lower()}HandJoints3D"])[:3], (3,)) @ OPENGL_TO_OPENCV
        hands.append(Labels(side=side, K=K, absent=_UNRELEASED, extras={"wrist": wrist.astype(np.float32)}))
    return hands
