"""MOW (Cao et al., ICCV 2021): 512 pictures of hands holding objects, with MANO hands fitted to them.

`poses.json` lists `image_id`, `hand_pose` (global turn and 45 coefficients), `trans`, `hand_R`, `hand_t`, `hand_s`;
pictures are `images/<image_id>.jpg`. The hand is (v R + t) s in the frame of a camera whose focal length is the longer
edge of the picture, and whose axis meets the middle of the square that the picture is the top left of (the release's
`vis_anno.py`). A scale about the camera does not show: without it the hand is in metres, as MANO is. All are right
hands.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from handgap.core.errors import CorruptFileError
from handgap.core.images import DAMAGED
from handgap.core.json_stream import walk_json
from handgap.data.adapters.adapter import Adapter, Labels, Picture, PoseSpace
from handgap.data.adapters.files import Need, shaped
from handgap.data.adapters.index import Index, IndexWriter

_ARCHIVE = "mow.zip"
_CURE = f"unpack {_ARCHIVE} again"
_SHAPES = {"hand_pose": (48,), "trans": (3,), "hand_R": (9,), "hand_t": (3,)}


class MowAdapter(Adapter):
    """See the module."""

    title = "MOW"
    licence = "not stated by the authors; MANO's licence applies to the labels"
    source = "MOW's repository"
    splits = ("test",)
    size = (640, 480)
    pose_space = PoseSpace(use_pca=True, flat_hand_mean=False)

    def needs(self, split: str) -> Sequence[Need]:
        """Pictures and poses."""
        return Need("poses.json", _ARCHIVE), Need("images/", _ARCHIVE)

    def pictures(self, split: str) -> int:
        """Entries of poses.json."""
        return sum(1 for _ in walk_json(self.root / "poses.json", 1, _CURE))

    def write_index(self, split: str, index: IndexWriter) -> int:
        """All poses."""
        path, names = self.root / "poses.json", []
        columns: dict[str, list[np.ndarray]] = {key: [] for key in _SHAPES}
        for place, entry in walk_json(path, 1, _CURE):
            try:
                names.append(entry["image_id"])
                for key, shape in _SHAPES.items():
                    columns[key].append(shaped(np.ravel(entry[key]), shape, path, place, _CURE))
            except (KeyError, TypeError) as error:
                raise CorruptFileError(path, f"entry {place} has no {error}", _CURE) from error
        if names:
            index.append(name=names, **{key: np.stack(values) for key, values in columns.items()})
        return len(names)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """MANO's parameters; vertices and joints are the model's."""
        name = index.column("name", number)
        image = self.root / "images" / f"{name}.jpg"
        values = {key: index.column(key, number).astype(np.float64) for key in _SHAPES}
        try:
            with Image.open(image) as opened:
                edge = max(opened.size)
        except DAMAGED:
            edge = max(self.size)  # the picture's own fault is told where it is read
        labels = Labels(
            K=np.array([[edge, 0, edge / 2], [0, edge, edge / 2], [0, 0, 1]]),
            pose=values["hand_pose"],
            shape=np.zeros(10),
            trans=values["trans"],
            rotation=values["hand_R"].reshape(3, 3).T,
            translation=values["hand_t"],
        )
        return Picture(name, image, [labels])
