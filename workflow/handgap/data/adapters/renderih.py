"""RenderIH (Li et al., ICCV 2023): two interacting MANO hands, rendered.

`train/color_img/<id>.jpg` of 256 px and `train/color_annot/<id>.pkl`: MANO's parameters of both hands in a world frame,
the camera, and its intrinsics for the crop. Poses are PCA coefficients with the mean pose within them; the left model
is the corrected one. Vertices and joints are the model's: they are in no file.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from handgap.core.conventions import Side
from handgap.core.errors import CorruptFileError
from handgap.core.pickles import read_pickle
from handgap.data.adapters.adapter import TWO_HANDS, Adapter, Labels, Picture, PoseSpace
from handgap.data.adapters.files import Need
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import labels_from, numbers

_IMAGES, _ANNOTATIONS = "RenderIH's imgs archive", "RenderIH's annotations archive"


class RenderIhAdapter(Adapter):
    """See the module."""

    title = "RenderIH"
    licence = "GPL-3 (the repository's); MANO's licence applies to the labels"
    source = "RenderIH's repository"
    splits = ("train",)
    hands = sides = TWO_HANDS
    size = (256, 256)
    pose_space = PoseSpace(use_pca=True, flat_hand_mean=True)
    tips = "manopth"

    def needs(self, split: str) -> Sequence[Need]:
        """Pictures and labels."""
        return Need("train/color_img/", _IMAGES), Need("train/color_annot/", _ANNOTATIONS)

    def pictures(self, split: str) -> int:
        """Label files."""
        return sum(path.suffix == ".pkl" for path in (self.root / "train/color_annot").iterdir())

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Numbers of the pictures; the release's begin after InterHand2.6M's."""
        folder = self.root / "train/color_annot"
        stems = [path.stem for path in folder.iterdir() if path.suffix == ".pkl"]
        if strange := [stem for stem in stems if not stem.isdigit()]:
            cure = f"unpack {_ANNOTATIONS} into an empty folder"
            raise CorruptFileError(folder, f"'{strange[0]}.pkl' is no number of a picture", cure)
        index.append(name=[str(number) for number in sorted(map(int, stems))])
        return len(stems)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Labels of both hands out of the picture's pickle."""
        name = index.column("name", number)
        path = self.root / "train/color_annot" / f"{name}.pkl"
        hands = labels_from(path, read_pickle, _labels, self.hands)
        return Picture(name, self.root / "train/color_img" / f"{name}.jpg", hands)


def _labels(values: dict) -> list[Labels]:
    camera = values["camera"]
    K, rotation = numbers(camera["camera"], (3, 3)), numbers(camera["R"], (3, 3))
    translation = numbers(camera["t"], (3,))
    hands = []
    for side in (Side.RIGHT, Side.LEFT):
        parameters = values["mano_params"][side.name.lower()]
        turn = Rotation.from_matrix(numbers(parameters["R"], (3, 3))).as_rotvec()
        pose = np.concatenate([turn, numbers(parameters["pose"], (45,))])
        shape, trans = numbers(parameters["shape"], (10,)), numbers(parameters["trans"], (3,))
        hands.append(
            Labels(side=side, K=K, pose=pose, shape=shape, trans=trans, rotation=rotation, translation=translation)
        )
    return hands
