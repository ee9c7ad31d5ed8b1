"""ObMan (Hasson et al., CVPR 2019).

`{train,val,test}/{rgb/%08d.jpg, segm/%08d.png, meta/%08d.pkl}`; pictures of 256 px from one camera. A pickle has joints
(simple order) and vertices of the hand, metres, y up and z backward, as the release's own loader (`obman.py`) reads
them. Poses are of a whole body's model, and are left out.
"""

from collections.abc import Sequence

import numpy as np

from handgap.core.conventions import OPENGL_TO_OPENCV, MaskLabel, Side
from handgap.core.errors import CorruptFileError
from handgap.core.pickles import read_pickle
from handgap.data.adapters.adapter import TWO_HANDS, Adapter, Labels, Picture
from handgap.data.adapters.files import Need, read_pixels
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import labels_from, numbers

K = np.array([[480.0, 0, 128.0], [0, 480.0, 128.0], [0, 0, 1]])
_ARCHIVE = "obman.zip"
_HAND = {Side.LEFT: (21, 23), Side.RIGHT: (22, 24)}  # classes of the blue channel
_OBJECT = 100


class ObManAdapter(Adapter):
    """See the module."""

    title = "ObMan"
    licence = "research only, by ObMan's terms; not to be passed on"
    source = "the ObMan page of Inria"
    splits = ("train", "val", "test")
    sides = TWO_HANDS
    size = (256, 256)
    masks = ("train", "val", "test")

    def needs(self, split: str) -> Sequence[Need]:
        """Pictures, classes and labels."""
        return [Need(f"{split}/{part}/", _ARCHIVE) for part in ("rgb", "segm", "meta")]

    def pictures(self, split: str) -> int:
        """Label files."""
        return sum(path.suffix == ".pkl" for path in (self.root / split / "meta").iterdir())

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Numbers of the pictures."""
        folder = self.root / split / "meta"
        names = sorted(path.stem for path in folder.iterdir() if path.suffix == ".pkl")
        if strange := [name for name in names if not name.isdigit()]:
            raise CorruptFileError(folder, f"'{strange[0]}.pkl' is no number of a picture", f"unpack {_ARCHIVE} again")
        index.append(name=names)
        return len(names)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Labels out of the picture's pickle."""
        name = index.column("name", number)
        folder = self.root / split
        pixels, trouble = read_pixels(folder / "segm" / f"{name}.png")

        def build(values: dict) -> list[Labels]:
            side = Side[str(values["side"]).upper()]
            labels = Labels(
                side=side,
                K=K,
                joints=numbers(values["coords_3d"], (21, 3)),
                vertices=numbers(values["verts_3d"], (778, 3)),
                rotation=OPENGL_TO_OPENCV,
                mask=None if pixels is None else _classes(pixels, side),
                fault=trouble,
            )
            return [labels]

        return Picture(
            name, folder / "rgb" / f"{name}.jpg", labels_from(folder / "meta" / f"{name}.pkl", read_pickle, build)
        )


def _classes(pixels: np.ndarray, side: Side) -> np.ndarray:
    """Hand and object; the body, arm and all, belongs to the background."""
    codes = pixels.reshape(*pixels.shape[:2], -1)
    codes = codes[..., min(2, codes.shape[2] - 1)]
    classes = np.full(codes.shape, MaskLabel.BACKGROUND, np.uint8)
    classes[np.isin(codes, _HAND[side])] = MaskLabel.HAND
    classes[codes == _OBJECT] = MaskLabel.OBJECT
    return classes
