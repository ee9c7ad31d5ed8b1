"""DARTset (Gao et al., NeurIPS 2022).

`{train,test}/part_<part>.pkl` lists the hands of a part: `img`, `pose` (16, 3), `joint3d` and `joint2d` (21), joints in
MANO's order with the tips behind them, metres, y up and z backward. `<part>_wbg/<img>` is the picture (384 px; the 2D
joints are those of 512 px), `<part>_verts/<img>.pkl` the vertices about the index finger's knuckle. The release's own
loader (`DARTset.py`) says so. Pictures are orthographic: no pinhole camera made them. Here a hand is 50 m away from a
camera with the focal length that gives the picture's scale: that differs by a fraction of a pixel.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handgap.core.conventions import OPENGL_TO_OPENCV
from handgap.core.errors import CorruptFileError
from handgap.core.pickles import read_pickle
from handgap.data.adapters.adapter import Adapter, Labels, Picture, PoseSpace
from handgap.data.adapters.files import Need
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import labels_from, numbers

# MANO's 16 joints, then the tips of index, middle, pinky, ring, thumb -> simple order
TO_SIMPLE = np.array([0, 13, 14, 15, 20, 1, 2, 3, 16, 4, 5, 6, 17, 10, 11, 12, 19, 7, 8, 9, 18])
DISTANCE = 50.0  # metres; the hand's depth is a five-hundredth of it
SCALE_2D = 384 / 512
_INDEX_MCP, _ROOT = 5, 9
_DOWNLOAD = "DARTset"


class DartSetAdapter(Adapter):
    """See the module."""

    title = "DARTset"
    licence = "research only; MANO's licence applies to the labels"
    source = "DART's repository"
    splits = ("train", "test")
    size = (384, 384)
    pose_space = PoseSpace(use_pca=False, flat_hand_mean=False)

    def _parts(self, split: str) -> list[str]:
        return sorted(path.stem.removeprefix("part_") for path in (self.root / split).glob("part_*.pkl"))

    def needs(self, split: str) -> Sequence[Need]:
        """The split's folder, and pictures with a background of each part."""
        folder = Need(f"{split}/", _DOWNLOAD)
        if not (self.root / split).is_dir():
            return (folder,)
        return folder, *(Need(f"{split}/{part}_wbg/", _DOWNLOAD) for part in self._parts(split) or ["0"])

    def pictures(self, split: str) -> int:
        """Pictures with a background."""
        folders = [self.root / split / f"{part}_wbg" for part in self._parts(split)]
        return sum(path.suffix == ".png" for folder in folders for path in folder.iterdir())

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Labels of all parts."""
        total = 0
        for part in self._parts(split):
            path = self.root / split / f"part_{part}.pkl"
            values = read_pickle(path)
            try:
                names = [f"{part}/{name}" for name in values["img"]]
                pose = np.stack([numbers(one, (16, 3)).ravel() for one in values["pose"]])
                joints = np.stack([numbers(one, (21, 3)) for one in values["joint3d"]])
                flat = np.stack([numbers(one, (21, 2)) for one in values["joint2d"]])
            except (KeyError, TypeError, ValueError) as error:
                raise CorruptFileError(path, f"not a part of DARTset ({error})", f"fetch {_DOWNLOAD} again") from error
            if len({len(names), len(pose), len(joints), len(flat)}) != 1:
                raise CorruptFileError(path, "its lists differ in length", f"fetch {_DOWNLOAD} again")
            index.append(name=names, pose=pose, joints=joints, flat=flat)
            total += len(names)
        return total

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Labels about the middle knuckle, moved 50 m away."""
        name = index.column("name", number)
        part, image = name.split("/")
        joints = index.column("joints", number)[TO_SIMPLE]
        joints = joints - joints[_ROOT]
        flat = index.column("flat", number)[TO_SIMPLE] * SCALE_2D
        path = self.root / split / f"{part}_verts" / Path(image).with_suffix(".pkl")

        def build(values: object) -> list[Labels]:
            labels = Labels(
                K=orthographic_K(joints @ OPENGL_TO_OPENCV, flat),
                joints=joints,
                vertices=numbers(np.asarray(values)[:778], (778, 3)) + joints[_INDEX_MCP],
                pose=index.column("pose", number),
                shape=np.zeros(10),
                root=np.zeros(3),
                rotation=OPENGL_TO_OPENCV,
                translation=np.array([0.0, 0.0, DISTANCE]),
            )
            return [labels]

        return Picture(name, self.root / split / f"{part}_wbg" / image, labels_from(path, read_pickle, build))


def orthographic_K(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Intrinsics (3, 3), px, that show points moved `DISTANCE` away where an orthographic camera shows them.

    Args:
        points: (P, 3) metres about a point that is put on the optical axis, x right and y down.
        uv: (P, 2) px; the scale and shift that fit best in the least-squares sense are taken.
    """
    centre, flat = points[:, :2].mean(0), uv.mean(0)
    spread = points[:, :2] - centre
    scale = float((spread * (uv - flat)).sum() / (spread**2).sum())
    u, v = flat - scale * centre
    return np.array([[scale * DISTANCE, 0, u], [0, scale * DISTANCE, v], [0, 0, 1]])
