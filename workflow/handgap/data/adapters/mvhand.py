"""MVHand (Yu et al., BMVC 2021): four sequences of a right hand seen by four RealSense cameras.

`<sequence>/{rgb/%05d_<view>.jpg, calib.pkl, mlresults/<sequence>-joints.npy}`: joints (N, 21, 4, 1) in a world frame,
millimetres, the thumb last; camera poses by serial number. Intrinsics are in the authors' toolkit, not in the files.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handgap.core.config.imported import MvHand
from handgap.core.conventions import MM
from handgap.core.errors import CorruptFileError, HandgapError
from handgap.core.pickles import read_pickle
from handgap.data.adapters.adapter import Adapter, Labels, Picture
from handgap.data.adapters.files import Need
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import numbers

# views in order, with fx, fy, cx, cy in px (the toolkit's camera.py)
CAMERAS = {
    "840412062035": (619.598, 619.116, 325.345, 245.441),
    "840412062037": (615.85, 615.477, 316.062, 247.156),
    "840412062038": (619.475, 619.189, 313.715, 223.921),
    "840412062076": (615.665, 615.09, 306.514, 240.344),
}
# wrist, index, middle, ring, pinky, thumb -> simple order
TO_SIMPLE = np.array([0, 17, 18, 19, 20, *range(1, 17)])
_DOWNLOAD = "MVHand's sequences"
_CURE = f"fetch {_DOWNLOAD} again"


class MvHandAdapter(Adapter):
    """See the module."""

    title = "MVHand"
    licence = "research only; the repository names no licence of the data"
    source = "MVHand's repository (multiviewDataset)"
    splits = ("train", "test")
    size = (640, 480)

    options: MvHand

    def _sequences(self, split: str) -> list[Path]:
        found = sorted(path.parent for path in self.root.glob("*/calib.pkl"))
        if not found:
            raise HandgapError(
                self.root, "no sequence with a calib.pkl in it", f"unpack {_DOWNLOAD} there ({self.source})"
            )
        test = self.options.test_sequences
        if missing := set(test) - {path.name for path in found}:
            cure = "unpack it, or set the dataset's `test_sequences`"
            raise HandgapError(self.root, f"no sequence {', '.join(sorted(missing))}", cure)
        return [path for path in found if (path.name in test) == (split == "test")]

    def needs(self, split: str) -> Sequence[Need]:
        """Pictures and joints of the split's sequences."""
        if not self.root.is_dir():
            return ()
        sequences = self._sequences(split)
        pictures = [Need(f"{path.name}/rgb/", _DOWNLOAD) for path in sequences]
        return pictures + [Need(f"{path.name}/mlresults/{path.name}-joints.npy", _DOWNLOAD) for path in sequences]

    def _joints(self, sequence: Path) -> np.ndarray:
        path = sequence / "mlresults" / f"{sequence.name}-joints.npy"
        try:
            joints = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise CorruptFileError(path, f"not a readable array ({error})", _CURE) from error
        if joints.shape[1:] not in ((21, 4, 1), (21, 4)):
            raise CorruptFileError(path, f"has shape {joints.shape}, expected (N, 21, 4, 1)", _CURE)
        return joints.reshape(len(joints), 21, 4)[:, :, :3]

    def pictures(self, split: str) -> int:
        """Frames times views."""
        return sum(len(self._joints(path)) for path in self._sequences(split)) * len(CAMERAS)

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Joints and cameras: a picture's row is its frame's times four plus the view."""
        total, poses = 0, []
        for number, path in enumerate(self._sequences(split)):
            values = read_pickle(path / "calib.pkl")
            try:
                poses.append(np.stack([numbers(values[serial], (4, 4)) for serial in CAMERAS]))
            except (KeyError, TypeError, ValueError) as error:
                raise CorruptFileError(path / "calib.pkl", f"not the poses of the cameras ({error})", _CURE) from error
            joints = self._joints(path)
            index.append(
                sequence=np.full(len(joints), number, np.int32),
                frame=np.arange(len(joints), dtype=np.int32),
                joints=np.asarray(joints, np.float32),
            )
            total += len(joints) * len(CAMERAS)
        index.table("sequences", [path.name for path in self._sequences(split)])
        index.table("poses", np.array(poses))
        return total

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """A frame's joints in a view's camera."""
        row, view = divmod(number, len(CAMERAS))
        sequence = int(index.column("sequence", row))
        name = f"{index.table('sequences')[sequence]}/{int(index.column('frame', row)):05d}_{view}"
        fx, fy, cx, cy = list(CAMERAS.values())[view]
        world_to_camera = np.linalg.inv(index.table("poses")[sequence][view])
        labels = Labels(
            K=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
            joints=index.column("joints", row)[TO_SIMPLE] * MM,
            rotation=world_to_camera[:3, :3],
            translation=world_to_camera[:3, 3] * MM,
        )
        folder, stem = name.split("/")
        return Picture(name, self.root / folder / "rgb" / f"{stem}.jpg", [labels])
