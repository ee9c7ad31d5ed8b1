"""FreiHAND (Zimmermann et al., ICCV 2019), version 2 of the release.

`training/rgb/%08d.jpg` holds four colour versions of 32,560 pictures one after the other: green screen, homogenised,
sampled, automatic. Label files have one entry for each of the 32,560. Labels of the evaluation split came later, in a
download of their own.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from handgap.core.config.imported import FreiHand
from handgap.core.conventions import MaskLabel
from handgap.data.adapters.adapter import Adapter, Labels, Picture, PoseSpace
from handgap.data.adapters.files import Need, json_columns, read_pixels
from handgap.data.adapters.index import Index, IndexWriter

_TRAIN, _TEST = "FreiHAND_pub_v2.zip", "FreiHAND_pub_v2_eval.zip"
_FOLDERS = {"train": "training", "test": "evaluation"}
_LABELS = {"K": (3, 3), "xyz": (21, 3), "verts": (778, 3), "mano": (1, 61)}
_CURE = f"unpack {_TRAIN} (training) or {_TEST} (labels of the evaluation split) again"
_UNRELEASED = f"no label: {_TEST} is not there"
PIECE = 256  # entries of the label files held in memory


class FreiHandAdapter(Adapter):
    """See the module."""

    title = "FreiHAND"
    licence = "research only, by FreiHAND's terms; not to be passed on"
    source = "the FreiHAND page of the University of Freiburg"
    splits = ("train", "test")
    size = (224, 224)
    pose_space = PoseSpace(use_pca=False, flat_hand_mean=False)
    masks = ("train",)

    def __init__(self, options: FreiHand):
        super().__init__(options)
        self._versions = options.colour_versions

    def needs(self, split: str) -> Sequence[Need]:
        """Pictures, masks and label files; of the evaluation split, labels are not needed."""
        folder = _FOLDERS[split]
        if split == "test":
            return Need(f"{folder}/rgb/", _TRAIN), Need(f"{folder}_K.json", _TRAIN)
        files = [Need(f"{folder}_{name}.json", _TRAIN) for name in _LABELS]
        return Need(f"{folder}/rgb/", _TRAIN), Need(f"{folder}/mask/", _TRAIN), *files

    def pictures(self, split: str) -> int:
        """Entries of K.json, the smallest label file, times the versions."""
        path = self.root / f"{_FOLDERS[split]}_K.json"
        entries = sum(len(piece["K"]) for piece in json_columns({"K": (path, (3, 3))}, PIECE, _CURE))
        return entries * (self._versions if split == "train" else 1)

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Labels, one row for each entry of the files, not for each picture."""
        folder = _FOLDERS[split]
        files = {name: (self.root / f"{folder}_{name}.json", shape) for name, shape in _LABELS.items()}
        files = {name: item for name, item in files.items() if split == "train" or item[0].is_file()}
        entries = 0
        for piece in json_columns(files, PIECE, _CURE):
            index.append(**piece)
            entries += len(piece["K"])
        return entries * (self._versions if split == "train" else 1)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Labels of entry `number` mod 32,560; in the frame of an OpenCV camera, metres, simple order."""
        folder, entries = _FOLDERS[split], int(index.attrs["pictures"])
        if split == "train":
            entries //= self._versions
        entry = number % entries
        image = self.root / folder / "rgb" / f"{number:08d}.jpg"
        labels, mask, trouble = self.labels(index, entry), None, ""
        if split == "train":
            pixels, trouble = read_pixels(self.root / folder / "mask" / f"{entry:08d}.jpg")
            if pixels is not None:
                # one channel or three alike; JPEG leaves other values than 0 and 255
                mask = np.uint8(pixels.reshape(*pixels.shape[:2], -1)[..., 0] > 127) * np.uint8(MaskLabel.HAND)
        return Picture(image.stem, image, [replace(labels, mask=mask, fault=trouble)])

    def labels(self, index: Index, entry: int) -> Labels:
        """Labels of an entry of the label files."""
        K = index.column("K", entry)
        if "xyz" not in index:
            return Labels(K=K, absent=_UNRELEASED)
        labels = Labels(K=K, joints=index.column("xyz", entry))
        if "verts" in index:
            labels = replace(labels, vertices=index.column("verts", entry))
        if "mano" in index:
            mano = index.column("mano", entry)[0]
            labels = replace(labels, pose=mano[:48], shape=mano[48:58], root=root_of(mano, K))
        return labels


def root_of(mano: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Where the hand's root, joint 9, is: (3,) metres, camera frame.

    The vector's last three entries are the root's pixel and a scale in px per metre (`recover_root` of the official
    tools): x and y by that scale, z as the mean focal length over it.

    Args:
        mano: (61,) pose, shape, root's u and v, scale.
        K: (3, 3) px.
    """
    u, v, scale = mano[58:].astype(np.float64)
    focal = 0.5 * (float(K[0, 0]) + float(K[1, 1]))
    return np.array([u - K[0, 2], v - K[1, 2], focal]) / scale
