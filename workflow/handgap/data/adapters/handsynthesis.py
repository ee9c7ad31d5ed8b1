"""Hands that HandSynthesis rendered (Zhao et al., CVPR 2025): sample folders and their pictures.

`samples/<name>/{joints.json, manov.json}` and `images/rgb_<round>/<name>.png`, or a folder of sample folders with
`render_rgb.png` inside. Labels are in millimetres (some rounds: metres, which the hand's size tells) in NIMBLE's frame,
joints in MANO's order with each tip behind its finger. `cam_RT_syn_data_<round - 1>.json` has each picture's camera;
without it, it is the first of the released ones: half a metre away, 355 px focal length.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from handgap.core.config.imported import HandSynthesis
from handgap.core.conventions import HANDSYNTHESIS_FOCAL, HANDSYNTHESIS_TO_SIMPLE, MM, MaskLabel
from handgap.core.errors import CorruptFileError, HandgapError
from handgap.core.json_stream import walk_json
from handgap.data.adapters.adapter import Adapter, Labels, Picture
from handgap.data.adapters.checks import unit_of
from handgap.data.adapters.files import Need, read_pixels
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import labels_from, numbers

# NIMBLE's frame (x right, y depth, z along the fingers) -> Blender's world, and that -> the first camera (OpenCV)
NIMBLE_TO_WORLD = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
FIRST_CAMERA = np.array([[1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -1.0, 0.5], [0, 0, 0, 1.0]])
_DOWNLOAD = "the samples and renders of HandSynthesis"


class HandSynthesisAdapter(Adapter):
    """See the module."""

    title = "HandSynthesis"
    licence = "not stated by the authors; MANO's and NIMBLE's licences apply to labels and meshes"
    source = "HandSynthesis"
    splits = ("train",)
    size = (224, 224)

    options: HandSynthesis

    @property
    def _samples(self) -> Path:
        return self.root / "samples" if (self.root / "samples").is_dir() else self.root

    def _image(self, name: str, kind: str, inner: str) -> Path:
        """A picture among the images, or in the sample's own folder."""
        outer = self.root / "images" / f"{kind}_{self.options.round}" / f"{name}.png"
        return outer if outer.parent.is_dir() else self._samples / name / inner

    def needs(self, split: str) -> Sequence[Need]:
        """The sample folders; where they are beside pictures, these too."""
        if self._samples == self.root:
            return (Need("./", _DOWNLOAD),)
        return Need("samples/", _DOWNLOAD), Need(f"images/rgb_{self.options.round}/", _DOWNLOAD)

    def _names(self) -> list[str]:
        names = sorted(path.name for path in self._samples.iterdir() if (path / "joints.json").is_file())
        if not names:
            cure = "give a folder of sub-folders with joints.json, or one with samples/ and images/"
            raise HandgapError(self._samples, f"no sample of {self.title} in it", cure)
        return names

    def pictures(self, split: str) -> int:
        """Sample folders."""
        return len(self._names())

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Names and cameras."""
        names, path = self._names(), self.root / f"cam_RT_syn_data_{self.options.round - 1}.json"
        cameras = np.tile(FIRST_CAMERA, (len(names), 1, 1))
        if path.is_file():
            cameras = np.array([matrix for _, matrix in walk_json(path, 1, "render again")], np.float64)
            if cameras.shape != (len(names), 4, 4):
                problem = f"has cameras of shape {cameras.shape}, expected ({len(names)}, 4, 4)"
                raise CorruptFileError(path, problem, "give the file of this round")
        index.append(name=names, camera=cameras)
        return len(names)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Labels of a sample folder in the picture's camera."""
        name, camera = index.column("name", number), index.column("camera", number)
        folder, image = self._samples / name, self._image(name, "rgb", "render_rgb.png")
        labels = labels_from(folder, _read, lambda files: [self._labels(files, name, image, camera)])
        return Picture(name, image, labels)

    def _labels(self, files: dict[str, object], name: str, image: Path, camera: np.ndarray) -> Labels:
        width, height = _size(image) or self.size
        joints = numbers(files["joints.json"], (21, 3))[HANDSYNTHESIS_TO_SIMPLE]
        scale = unit_of(joints[None]) or MM
        vertices = numbers(files["manov.json"], (778, 3)) * scale if "manov.json" in files else None
        pixels, _ = read_pixels(self._image(name, "segmentation", "render_mask.png"))
        mask = None
        if pixels is not None:
            mask = np.uint8(pixels.reshape(*pixels.shape[:2], -1)[..., 0] > 0) * np.uint8(MaskLabel.HAND)
        return Labels(
            K=np.array([[HANDSYNTHESIS_FOCAL, 0, width / 2], [0, HANDSYNTHESIS_FOCAL, height / 2], [0, 0, 1]]),
            joints=joints * scale,
            vertices=vertices,
            rotation=camera[:3, :3] @ NIMBLE_TO_WORLD,
            translation=camera[:3, 3],
            mask=mask,
        )

    masks = ("train",)


def _read(folder: Path) -> dict[str, object]:
    files = {}
    for name in ("joints.json", "manov.json"):
        if name == "joints.json" or (folder / name).is_file():
            ((files[name],),) = walk_json(folder / name, 0, "make the sample again")
    return files


def _size(image: Path) -> tuple[int, int] | None:
    """Width and height of a picture; None where it cannot be read, which is told elsewhere."""
    try:
        with Image.open(image) as opened:
            return opened.size
    except OSError:
        return None
