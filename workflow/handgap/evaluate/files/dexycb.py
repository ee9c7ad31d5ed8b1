"""DexYCB: which samples a split has, its labels of joints, and the text file of predictions.

A split lists subjects, their sequences, cameras and frames; a sample's index is its place in that list. Each line of
the text file is `index,63 numbers`: 21 joints in mm, camera frame, wrist, thumb, index, middle, ring, pinky.
"""

import re
from pathlib import Path

import numpy as np
import yaml

from handgap.core.conventions import N_JOINTS
from handgap.core.errors import CorruptFileError, HandgapError, MissingAssetError
from handgap.core.files import read_arrays, written_whole
from handgap.core.progress import track
from handgap.evaluate.inputs import NOT_STATED, Predictions, Truth

SUBJECTS, SEQUENCES, CAMERAS = 10, 100, 8
NO_POSE = -1  # every joint coordinate of a frame without a hand pose
MM_PER_M = 1000.0
_SUBJECT = re.compile(r"\d{8}-subject-(\d{2})")
_SERIAL = re.compile(r"\d{12}")
_CURE = "unpack the archives of all ten subjects there, as published"
_LINE = f"write lines of 64 numbers: the sample's index and {N_JOINTS} joints in mm"


def in_test_split(setup: str, subject: int, sequence: int, camera: int) -> bool:
    """Whether a recording is tested on.

    Args:
        setup: "s0" default, "s1" unseen subjects, "s2" unseen views, "s3" unseen grasps.
        subject: 0 to 9.
        sequence: place among the subject's sequences sorted by name, 0 to 99.
        camera: place of its serial among all eight sorted, 0 to 7.
    """
    match setup:
        case "s0":
            return sequence % 5 == 4 and subject >= 2
        case "s1":
            return subject in (7, 8)
        case "s2":
            return camera == 7
        case "s3":
            return sequence // 5 in (7, 11, 15)
    raise ValueError(f"no split {setup}")


def read_dexycb_truth(root: Path, setup: str) -> Truth:
    """Joints of the test split from a dataset's folder; frames without a pose are not valid.

    Raises:
        MissingAssetError: a file is absent.
        HandgapError: a subject or sequence is absent.
        CorruptFileError: a file of labels is truncated.
    """
    folders = [folder for recording in recordings(root, setup) for folder in recording]
    joints = np.empty((len(folders), N_JOINTS, 3))
    for row, path in enumerate(track(folders, len(folders), "reading labels")):
        joints[row] = read_arrays(path, {"joint_3d"}, _CURE)["joint_3d"].reshape(N_JOINTS, 3)
    valid = ~(joints == NO_POSE).all((1, 2))
    return Truth(root, np.arange(len(joints)), valid, {"joints": joints})


def recordings(root: Path, setup: str) -> list[list[Path]]:
    """Files of labels of the test split, one list for each sequence seen by one camera."""
    found = {}
    for path in root.iterdir() if root.is_dir() else ():
        if match := _SUBJECT.fullmatch(path.name):
            found[int(match[1]) - 1] = path
    if len(found) != SUBJECTS:
        raise HandgapError(root, f"{len(found)} of {SUBJECTS} folders *-subject-*: not DexYCB", _CURE)
    files = []
    for subject, folder in sorted(found.items()):
        sequences = sorted(path for path in folder.iterdir() if path.is_dir())
        if len(sequences) != SEQUENCES:
            raise HandgapError(folder, f"has {len(sequences)} sequences, not {SEQUENCES}", _CURE)
        for place, sequence in enumerate(sequences):
            cameras = [k for k in range(CAMERAS) if in_test_split(setup, subject, place, k)]
            if cameras:
                files += _of_sequence(sequence, cameras)
    return files


def _of_sequence(sequence: Path, cameras: list[int]) -> list[list[Path]]:
    meta = sequence / "meta.yml"
    if not meta.is_file():
        raise MissingAssetError(meta, "no such file", _CURE)
    try:
        frames = int(yaml.safe_load(meta.read_text())["num_frames"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(meta, f"no num_frames in it ({error})", _CURE) from error
    serials = sorted(path for path in sequence.iterdir() if _SERIAL.fullmatch(path.name))
    if len(serials) != CAMERAS:
        raise HandgapError(sequence, f"has folders of {len(serials)} cameras, not {CAMERAS}", _CURE)
    return [[serials[k] / f"labels_{frame:06d}.npz" for frame in range(frames)] for k in cameras]


def read_dexycb_text(path: Path, truth: Truth, crop: str = NOT_STATED) -> Predictions:
    """A file of predictions; samples whose truth has no pose may be left out.

    Raises:
        MissingAssetError: no such file.
        CorruptFileError: a line without 64 numbers, an index that is none.
    """
    if not path.is_file():
        raise MissingAssetError(path, "no such file of predictions", "check the path")
    try:
        table = np.loadtxt(path, np.float64, comments=None, delimiter=",", ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise CorruptFileError(path, f"not a table of numbers ({error})", _LINE) from error
    if table.shape[1] != 1 + 3 * N_JOINTS:
        raise CorruptFileError(path, f"lines of {table.shape[1]} numbers", _LINE)
    ids = table[:, 0].astype(np.int64)
    if (table[:, 0] != ids).any():
        raise CorruptFileError(path, "the first number of a line is no index", _LINE)
    joints = table[:, 1:].reshape(-1, N_JOINTS, 3) / MM_PER_M
    # official: predictions of samples without a pose are ignored, and need not be there
    absent = np.setdiff1d(truth.ids[~truth.valid], ids)
    joints = np.concatenate([joints, np.full((len(absent), N_JOINTS, 3), np.nan)])
    valid = np.arange(len(joints)) < len(ids)
    return Predictions(path, np.concatenate([ids, absent]), valid, {"joints": joints}, crop)


def write_dexycb_text(path: Path, ids: np.ndarray, joints: np.ndarray) -> None:
    """Predictions as the official script takes them, to a ten-thousandth of a mm.

    Args:
        path: the file.
        ids: (N,) index of each sample in its split.
        joints: (N, 21, 3) metres, OpenCV camera, simple order.

    Raises:
        CorruptFileError: a number is not finite.
    """
    if not np.isfinite(joints).all():
        raise CorruptFileError(path, "predictions are not finite", "predict all samples of the split")
    table = np.concatenate([ids[:, None], MM_PER_M * np.asarray(joints, np.float64).reshape(len(ids), -1)], 1)
    with written_whole(path) as temporary:
        np.savetxt(temporary, table[np.argsort(ids)], ["%d", *["%.4f"] * 3 * N_JOINTS], delimiter=",")
