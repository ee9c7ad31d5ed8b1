"""DexYCB (Chao et al., CVPR 2021).

`<subject>/<sequence>/<serial>/{color_%06d.jpg, aligned_depth_to_color_%06d.png, labels_%06d.npz}`, ten subjects of a
hundred sequences seen by eight cameras. Labels are in an OpenCV camera, metres, simple order; a frame without a pose
has joints of -1. A split lists sequences, then cameras, then frames, as the official toolkit does: with all ten
subjects a row's id is the official index.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from handgap.core.config.imported import DexYcb
from handgap.core.conventions import MaskLabel, Side
from handgap.core.errors import CorruptFileError, HandgapError, MissingAssetError
from handgap.core.files import read_arrays
from handgap.data.adapters.adapter import TWO_HANDS, Adapter, Labels, Picture, PoseSpace
from handgap.data.adapters.files import Need
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import labels_from, numbers

CAMERAS, SUBJECTS, SEQUENCES = 8, 10, 100
_SUBJECT = re.compile(r"\d{8}-subject-(\d{2})")
_ARCHIVE = "the archives of the ten subjects and calibration.tar.gz"
_CURE = "unpack the subject's archive and calibration.tar.gz again"
_HAND, _OBJECTS = 255, 21  # of `seg`
_NO_POSE = "no label: the frame has no hand pose"


def chosen(setup: str, split: str, subject: int, sequence: int, camera: int) -> bool:
    """Whether an official split has a sequence (its place among the subject's, 0 to 99) seen by a camera (0 to 7)."""
    match setup, split:
        case "s0", "train":
            return sequence % 5 != 4
        case "s0", "val":
            return sequence % 5 == 4 and subject in (0, 1)
        case "s0", "test":
            return sequence % 5 == 4 and subject not in (0, 1)
        case "s1", _:
            return subject in {"train": (0, 1, 2, 3, 4, 5, 9), "val": (6,), "test": (7, 8)}[split]
        case "s2", _:
            return camera in {"train": (0, 1, 2, 3, 4, 5), "val": (6,), "test": (7,)}[split]
        case "s3", "train":
            return sequence // 5 not in (3, 7, 11, 15, 19)
    return sequence // 5 in {"val": (3, 19), "test": (7, 11, 15)}[split]


class DexYcbAdapter(Adapter):
    """See the module."""

    title = "DexYCB"
    licence = "CC BY-NC 4.0"
    source = "the DexYCB page"
    splits = ("train", "val", "test")
    sides = TWO_HANDS
    size = (640, 480)
    pose_space = PoseSpace(use_pca=True, flat_hand_mean=False, released_left=True)
    tips = "manopth"
    masks = depths = ("train", "val", "test")

    options: DexYcb

    @cached_property
    def _subjects(self) -> dict[int, Path]:
        """Folder of each subject asked for, by its place among all ten."""
        found = {}
        for path in self.root.iterdir():
            if (match := _SUBJECT.fullmatch(path.name)) and path.is_dir():
                found[int(match[1]) - 1] = path
        if missing := sorted(set(self.options.subjects) - set(found)):
            names = ", ".join(f"*-subject-{number + 1:02d}" for number in missing)
            cure = f"unpack their archives ({self.source}), or leave them out of the dataset's `subjects`"
            raise HandgapError(self.root, f"no folder {names}", cure)
        return {number: found[number] for number in sorted(set(self.options.subjects))}

    @cached_property
    def _sequences(self) -> list[tuple[int, int, Path, dict]]:
        """Subject, place among the subject's sequences, folder and meta.yml of every sequence."""
        sequences = []
        for subject, folder in self._subjects.items():
            paths = sorted(path for path in folder.iterdir() if path.is_dir())
            if len(paths) != SEQUENCES:
                raise CorruptFileError(folder, f"has {len(paths)} sequences, not {SEQUENCES}", _CURE)
            sequences += [(subject, place, path, _meta(path)) for place, path in enumerate(paths)]
        return sequences

    def needs(self, split: str) -> Sequence[Need]:
        """The calibration; subjects are looked for by name."""
        return (Need("calibration/intrinsics/", _ARCHIVE),)

    def _seen(self, split: str) -> list[tuple[int, Path, dict, list[int]]]:
        """Subject, folder, meta.yml and cameras of the sequences of a split."""
        seen = []
        for subject, place, path, meta in self._sequences:
            cameras = [k for k in range(CAMERAS) if chosen(self.options.setup, split, subject, place, k)]
            if cameras:
                seen.append((subject, path, meta, cameras))
        return seen

    def pictures(self, split: str) -> int:
        """Frames of the sequences times cameras."""
        return sum(meta["num_frames"] * len(cameras) for _, _, meta, cameras in self._seen(split))

    def label_files(self, split: str) -> list[Path]:
        """Files of labels in the order of the split; none is opened, and calibration is not needed."""
        return [
            path / sorted(map(str, meta["serials"]))[camera] / f"labels_{frame:06d}.npz"
            for _, path, meta, cameras in self._seen(split)
            for camera in cameras
            for frame in range(meta["num_frames"])
        ]

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Sequence, camera and frame of each picture; calibration as tables."""
        seen = self._seen(split)
        if not seen:
            raise HandgapError(self.root, f"split {split} has no sequence of the subjects asked for", "ask for others")
        serials = sorted(map(str, seen[0][2]["serials"]))
        index.table("serials", serials)
        index.table("K", np.stack([self._intrinsics(serial) for serial in serials]))
        index.table("sequences", [f"{path.parent.name}/{path.name}" for _, path, _, _ in seen])
        index.table("sides", np.array([Side[_side(path, meta).upper()] for _, path, meta, _ in seen], np.uint8))
        index.table("shapes", np.stack([self._shape(path, meta) for _, path, meta, _ in seen]))
        for number, (_, path, meta, cameras) in enumerate(seen):
            if sorted(map(str, meta["serials"])) != serials:
                raise CorruptFileError(path / "meta.yml", f"serials are not {serials}", _CURE)
            frames = np.arange(meta["num_frames"], dtype=np.int32)
            index.append(
                sequence=np.full(len(cameras) * len(frames), number, np.int32),
                camera=np.repeat(np.array(cameras, np.uint8), len(frames)),
                frame=np.tile(frames, len(cameras)),
            )
        return self.pictures(split)

    def _intrinsics(self, serial: str) -> np.ndarray:
        path = self.root / "calibration/intrinsics" / f"{serial}_640x480.yml"
        try:
            color = _read_yaml(path)["color"]
            return np.array([[color["fx"], 0, color["ppx"]], [0, color["fy"], color["ppy"]], [0, 0, 1]], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(path, f"no intrinsics of a colour camera ({error})", _CURE) from error

    def _shape(self, sequence: Path, meta: dict) -> np.ndarray:
        path = self.root / "calibration" / f"mano_{meta['mano_calib'][0]}" / "mano.yml"
        try:
            return numbers(_read_yaml(path)["betas"], (10,))
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(path, f"no shape of a hand ({error})", _CURE) from error

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Labels out of the frame's `.npz`."""
        sequence, camera, frame = (int(index.column(name, number)) for name in ("sequence", "camera", "frame"))
        name = f"{index.table('sequences')[sequence]}/{index.table('serials')[camera]}/{frame:06d}"
        folder = self.root / Path(name).parent
        side, shape = Side(int(index.table("sides")[sequence])), index.table("shapes")[sequence]
        K = index.table("K")[camera]
        path = folder / f"labels_{frame:06d}.npz"
        labels = labels_from(path, read_arrays, lambda values: [_labels(values, side, K, shape)], (side,))
        depth = folder / f"aligned_depth_to_color_{frame:06d}.png"
        stored = np.frombuffer(depth.read_bytes(), np.uint8) if depth.is_file() else None
        return Picture(name, folder / f"color_{frame:06d}.jpg", labels, stored)


def _labels(values: dict[str, np.ndarray], side: Side, K: np.ndarray, shape: np.ndarray) -> Labels:
    joints, pose = numbers(values["joint_3d"], (21, 3)), numbers(values["pose_m"], (51,))
    labels = Labels(side=side, K=K, mask=_classes(values["seg"]))
    if (joints == -1).all() or (pose == 0).all():
        return replace(labels, absent=_NO_POSE)
    return replace(labels, joints=joints, pose=pose[:48], shape=shape, trans=pose[48:])


def _classes(seg: np.ndarray) -> np.ndarray:
    """Hand and objects; a forearm belongs to the background."""
    classes = np.full(seg.shape, MaskLabel.BACKGROUND, np.uint8)
    classes[seg == _HAND] = MaskLabel.HAND
    classes[(seg > 0) & (seg <= _OBJECTS)] = MaskLabel.OBJECT
    return classes


def _read_yaml(path: Path) -> object:
    if not path.is_file():
        raise MissingAssetError(path, "no such file", _CURE)
    try:
        return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CorruptFileError(path, f"not readable YAML ({error})", _CURE) from error


def _meta(sequence: Path) -> dict:
    path = sequence / "meta.yml"
    meta = _read_yaml(path)
    missing = {"serials", "num_frames", "mano_calib", "mano_sides"} - set(meta if isinstance(meta, dict) else ())
    if missing or len(meta["serials"]) != CAMERAS or len(meta["mano_sides"]) != 1:
        raise CorruptFileError(path, f"not one hand seen by {CAMERAS} cameras (missing: {sorted(missing)})", _CURE)
    return meta


def _side(sequence: Path, meta: dict) -> str:
    side = meta["mano_sides"][0]
    if side not in ("right", "left"):
        raise CorruptFileError(sequence / "meta.yml", f"side is {side!r}", _CURE)
    return side
