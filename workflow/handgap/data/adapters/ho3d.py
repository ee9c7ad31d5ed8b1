"""HO3D versions 2 and 3 (Hampali et al., CVPR 2020).

`{train,evaluation}/<sequence>/{rgb,meta}/<frame>`, listed in `train.txt` and `evaluation.txt` as `sequence/frame`; a
pickle of labels beside each picture, in an OpenGL camera (x right, y up, z backward) and MANO's joint order. Of the
evaluation split the pickles have the wrist alone; `evaluation_xyz.json` and `evaluation_verts.json` came later.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from handgap.core.config.imported import Ho3d
from handgap.core.conventions import MANO_TO_SIMPLE, OPENGL_TO_OPENCV
from handgap.core.errors import CorruptFileError
from handgap.core.pickles import read_pickle
from handgap.data.adapters.adapter import Adapter, Labels, Picture, PoseSpace
from handgap.data.adapters.files import Need, json_columns, read_frames
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import labels_from, numbers

PIECE = 256
_FOLDERS = {"train": "train", "test": "evaluation"}
_TRUTH = {"xyz": (21, 3), "verts": (778, 3)}
_NOT_ANNOTATED = "no label: the frame is not annotated"
_UNRELEASED = "no label: evaluation_xyz.json and evaluation_verts.json, released in November 2024, are not there"


class Ho3dAdapter(Adapter):
    """See the module."""

    title = "HO3D"
    licence = "research only, by HO3D's terms; not to be passed on"
    source = "the HO-3D page of TU Graz"
    splits = ("train", "test")
    size = (640, 480)
    pose_space = PoseSpace(use_pca=False, flat_hand_mean=True)
    tips = "ho3d"

    def __init__(self, options: Ho3d):
        super().__init__(options)
        self._suffix = ".png" if options.version == "v2" else ".jpg"
        self._cure = f"unpack HO3D_{options.version}.zip again"

    def needs(self, split: str) -> Sequence[Need]:
        """The split's folder and its list."""
        folder, archive = _FOLDERS[split], f"HO3D_{self.options.version}.zip"
        return Need(f"{folder}/", archive), Need(f"{folder}.txt", archive)

    def _list(self, split: str) -> list[str]:
        return read_frames(self.root / f"{_FOLDERS[split]}.txt", self._cure)

    def pictures(self, split: str) -> int:
        """Lines of the list."""
        return len(self._list(split))

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Names, and the labels of the evaluation split if they are there."""
        names = self._list(split)
        files = {name: (self.root / f"evaluation_{name}.json", shape) for name, shape in _TRUTH.items()}
        present = [path for path, _ in files.values() if path.is_file()]
        if split == "train" or not present:
            index.append(name=names)
            return len(names)
        done = 0
        for piece in json_columns(files, PIECE, self._cure):
            count = len(piece["xyz"])
            if done + count > len(names):
                break
            index.append(name=names[done : done + count], **piece)
            done += count
        if done != len(names):
            problem = f"has not the {len(names)} entries that evaluation.txt lists"
            raise CorruptFileError(present[0], problem, "take both from the same version of HO3D")
        return done

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Labels out of the frame's pickle, or of the evaluation files."""
        name = index.column("name", number)
        sequence, frame = name.split("/")
        folder = self.root / _FOLDERS[split] / sequence
        image, meta = folder / "rgb" / f"{frame}{self._suffix}", folder / "meta" / f"{frame}.pkl"
        if split == "train":
            return Picture(name, image, labels_from(meta, read_pickle, _annotated))
        truth = {key: index.column(key, number).astype(np.float64) for key in _TRUTH if key in index}
        return Picture(name, image, labels_from(meta, read_pickle, lambda values: _evaluated(values, truth)))

    def extras(self, split: str) -> dict[str, np.ndarray]:
        """Of the evaluation split the wrist, which methods are given, in the OpenCV camera's frame."""
        return {"wrist": np.full(3, np.nan, np.float32)} if split == "test" else {}


def _annotated(values: dict) -> list[Labels]:
    K = numbers(values["camMat"], (3, 3))
    if values["handJoints3D"] is None:
        return [Labels(K=K, absent=_NOT_ANNOTATED)]
    labels = Labels(
        K=K,
        joints=numbers(values["handJoints3D"], (21, 3))[MANO_TO_SIMPLE],
        pose=numbers(values["handPose"], (48,)),
        shape=numbers(values["handBeta"], (10,)),
        trans=numbers(values["handTrans"], (3,)),
        rotation=OPENGL_TO_OPENCV,
    )
    return [labels]


def _evaluated(values: dict, truth: dict[str, np.ndarray]) -> list[Labels]:
    wrist = numbers(np.ravel(values["handJoints3D"])[:3], (3,)) @ OPENGL_TO_OPENCV
    labels = Labels(K=numbers(values["camMat"], (3, 3)), extras={"wrist": wrist.astype(np.float32)})
    if not truth:
        return [replace(labels, absent=_UNRELEASED)]
    joints = truth["xyz"][MANO_TO_SIMPLE]
    return [replace(labels, joints=joints, vertices=truth["verts"], rotation=OPENGL_TO_OPENCV)]
