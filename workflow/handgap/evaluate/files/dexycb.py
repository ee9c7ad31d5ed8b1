"""DexYCB: labels of the joints of a test split, and the text file of predictions.

A sample's index is its place in the split. Each line of the text file is `index,63 numbers`: 21 joints in mm, camera
frame, wrist, thumb, index, middle, ring, pinky.
"""

from pathlib import Path

import numpy as np

from handgap.core.config.imported import DexYcb
from handgap.core.conventions import N_JOINTS
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.core.files import read_arrays, written_whole
from handgap.core.progress import track
from handgap.data.adapters.dexycb import DexYcbAdapter
from handgap.evaluate.inputs import NOT_STATED, Predictions, Truth

NO_POSE = -1  # every joint coordinate of a frame without a hand pose
MM_PER_M = 1000.0
_CURE = "unpack the archives of all ten subjects there, as published"
_LINE = f"write lines of 64 numbers: the sample's index and {N_JOINTS} joints in mm"


def read_dexycb_truth(root: Path, setup: str) -> Truth:
    """Joints of a test split from the dataset's folder; frames without a pose are not valid.

    Args:
        root: the folder, with all ten subjects.
        setup: "s0" default, "s1" unseen subjects, "s2" unseen views, "s3" unseen grasps.

    Raises:
        MissingAssetError: a file is absent.
        HandgapError: a subject or sequence is absent.
        CorruptFileError: a file of labels is truncated.
    """
    if not root.is_dir():
        raise MissingAssetError(root, "no such folder", _CURE)
    dataset = DexYcbAdapter(DexYcb(kind="dexycb", root=str(root), setup=setup, splits={"test": 1}))
    files = dataset.label_files("test")
    joints = np.empty((len(files), N_JOINTS, 3))
    for row, path in enumerate(track(files, len(files), "reading labels")):
        joints[row] = read_arrays(path, {"joint_3d"}, _CURE, only=True)["joint_3d"].reshape(N_JOINTS, 3)
    valid = ~(joints == NO_POSE).all((1, 2))
    return Truth(root, np.arange(len(joints)), valid, {"joints": joints})


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
