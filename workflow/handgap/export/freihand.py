"""FreiHAND's files, as its official loader reads them (Zimmermann et al., ICCV 2019; freihand `utils/fh_utils.py`)."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from handgap.core.conventions import MIDDLE_MCP, MIDDLE_PIP, MaskLabel
from handgap.core.errors import CorruptFileError
from handgap.core.files import read_arrays
from handgap.core.images import DAMAGED, decode_mask, decode_rgb, encode_jpeg
from handgap.export.folder import JsonList
from handgap.export.job import Format, Job
from handgap.export.records import Record

QUALITY = 95  # of images that are no JPEG yet
MASK_QUALITY = 100
SETS = {"train": "training", "test": "evaluation"}
PARAMETERS = ("pose", "shape")  # columns that the MANO vector is made of


def set_name(split: str) -> str:
    """FreiHAND's word for a split: training or evaluation; another split keeps its name."""
    return SETS.get(split, split)


def mano_vector(
    pose: np.ndarray, shape: np.ndarray, root: np.ndarray, K: np.ndarray, hands_mean: np.ndarray
) -> np.ndarray:
    """FreiHAND's 61 numbers: pose less the mean pose, shape, root in the image, scale (`split_theta`, `recover_root`).

    The scale is that of a scaled orthographic camera, px per metre: s = f / z with f = (fx + fy) / 2; the root is
    joint 9, (u, v) = s (x, y) + (cx, cy).

    Args:
        pose: (48,) axis-angle, mean pose added.
        shape: (10,).
        root: (3,) metres, camera frame: joint 9.
        K: (3, 3) px.
        hands_mean: (45,) mean pose of the hand model.

    Returns:
        (61,) float64.
    """
    scale = 0.5 * (K[0, 0] + K[1, 1]) / root[2]
    uv = scale * root[:2] + K[:2, 2]
    fingers = pose[3:] - hands_mean
    return np.concatenate([pose[:3], fingers, shape, uv, [scale]])


def _jpeg(record: Record) -> bytes:
    data = record["image"]
    if record.suffix() == "jpg":
        return data
    return encode_jpeg(decode_rgb(np.frombuffer(data, np.uint8), record.origin), QUALITY).tobytes()


def _mask(record: Record) -> bytes:
    labels = decode_mask(np.frombuffer(record["mask"], np.uint8), record.origin)
    buffer = io.BytesIO()
    try:
        hand = Image.fromarray(np.where(labels == MaskLabel.HAND, 255, 0).astype(np.uint8))
        hand.save(buffer, format="JPEG", quality=MASK_QUALITY)
    except DAMAGED as error:
        raise CorruptFileError(record.origin, f"its mask is no image of labels ({error})", "make it again") from error
    return buffer.getvalue()


def write(folder: Path, records: Iterator[Record], job: Job) -> None:
    """Write images, masks and label lists; images are numbered in the order of the samples."""
    name = set_name(job.split)
    posed = all(column in job.fields for column in PARAMETERS)
    mean = np.zeros(45)
    if posed:
        path = job.model("annotation_hand", "FreiHAND's pose is less the mean pose of the hand model")
        mean = read_arrays(path, ["hands_mean"])["hands_mean"].astype(np.float64)
    lists = ["K", "xyz", "scale", "ids", "mirrored"]
    lists += [*(["verts"] if "vertices" in job.fields else []), *(["mano"] if posed else [])]
    rgb, mask = folder / name / "rgb", folder / name / "mask"
    rgb.mkdir(parents=True)
    if "mask" in job.fields:
        mask.mkdir()
    with ExitStack() as stack:
        files = {what: stack.enter_context(JsonList(folder / f"{name}_{what}.json")) for what in lists}
        for number, record in enumerate(records):
            (rgb / f"{number:08d}.jpg").write_bytes(_jpeg(record))
            if "mask" in record:
                (mask / f"{number:08d}.jpg").write_bytes(_mask(record))
            joints, K = record["joints"].astype(np.float64), record["K"].astype(np.float64)
            files["K"].append(K)
            files["xyz"].append(joints)
            files["scale"].append(np.linalg.norm(joints[MIDDLE_MCP] - joints[MIDDLE_PIP]))
            files["ids"].append(record.id)
            files["mirrored"].append(record.seen_mirrored)
            if "verts" in files:
                files["verts"].append(record["vertices"] if record.labelled("vertices") else None)
            if posed and not record.labelled(*PARAMETERS):
                files["mano"].append(None)
            elif posed:
                pose, shape = (record[column].astype(np.float64) for column in PARAMETERS)
                files["mano"].append(mano_vector(pose, shape, joints[MIDDLE_MCP], K, mean)[None])


FREIHAND = Format(
    write,
    requires=("image", "K", "joints"),
    conventions={
        "frame": "OpenCV camera: x right, y down, z forward; metres",
        "joints": "wrist, thumb, index, middle, ring, pinky, base to tip",
        "pixels": "as in the store: a pixel's centre is at integer + 0.5",
        "hands": "right; a left hand is written as its mirror image",
        "images": f"JPEG as in the store, others at quality {QUALITY}; masks 255 on the hand, JPEG",
    },
    right_only=True,
)
