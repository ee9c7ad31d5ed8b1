"""Rows of a dataset as columns of a shard, before MANO completes them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from handgap.core.conventions import N_ANNOTATION_VERTICES, N_JOINTS
from handgap.core.images import encode_depth, encode_mask
from handgap.core.progress import track
from handgap.data.adapters.adapter import Adapter, Labels, Picture
from handgap.data.adapters.files import read_picture, stand_in
from handgap.data.adapters.index import Index

_SHAPES = {
    **{"K": (3, 3), "joints": (N_JOINTS, 3), "vertices": (N_ANNOTATION_VERTICES, 3)},
    **{"pose": (48,), "shape": (10,), "trans": (3,), "root": (3,)},
}


class Rows(NamedTuple):
    """Rows of a split.

    Attributes:
        columns: id, name, image, K, joints, vertices (nan: none), side, flag (empty: usable so far), and mask, depth,
            visibility, image_id, extras where the dataset has them; in the OpenCV camera's frame.
        parameters: pose, shape, trans, root as the dataset has them (nan: none), in its own frame.
        rotation: (N, 3, 3) from that frame to the camera's.
        translation: (N, 3) metres.
        faulty: (N,) bool: the flag tells of a fault of the files, not of what the dataset leaves out.
    """

    columns: dict[str, object]
    parameters: dict[str, np.ndarray]
    rotation: np.ndarray
    translation: np.ndarray
    faulty: np.ndarray


def read_rows(adapter: Adapter, split: str, index: Index, ids: Sequence[int]) -> Rows:
    """Read rows of a split by id; pictures one at a time, as bytes.

    Raises:
        CorruptFileError: the split has fewer rows.
    """
    rows = [
        _row(adapter, split, number, picture, labels)
        for number, picture, labels in track(adapter.samples(split, index, ids), len(ids), f"import {adapter.title}")
    ]
    columns: dict[str, object] = {"id": np.array(ids, np.int64)}
    for name in rows[0]:
        values = [row[name] for row in rows]
        keep = isinstance(values[0], str) or name in ("image", "mask", "depth")
        columns[name] = values if keep else np.stack(values)
    rotation, translation = columns.pop("rotation"), columns.pop("translation")
    for name in ("joints", "vertices"):
        moved = columns[name] @ np.swapaxes(rotation, 1, 2) + translation[:, None]
        columns[name] = moved.astype(np.float32)
    parameters = {name: columns.pop(name) for name in ("pose", "shape", "trans", "root")}
    return Rows(columns, parameters, rotation, translation, columns.pop("faulty"))


def _row(adapter: Adapter, split: str, number: int, picture: Picture, labels: Labels) -> dict[str, object]:
    image, trouble = read_picture(picture.image)
    (width, height), fault = adapter.size, labels.fault or trouble
    fault = fault.replace(f"{adapter.root}/", "")  # a shard does not know where the files were
    row: dict[str, object] = {
        "name": picture.name,
        "image": stand_in(adapter.size) if image is None else image,
        "side": np.uint8(labels.side),
        "flag": fault or labels.absent,
        "faulty": np.bool_(fault),
        "rotation": np.eye(3) if labels.rotation is None else np.asarray(labels.rotation, np.float64),
        "translation": np.zeros(3) if labels.translation is None else np.asarray(labels.translation, np.float64),
    }
    for name, shape in _SHAPES.items():
        value = getattr(labels, name)
        row[name] = np.full(shape, np.nan) if value is None else np.asarray(value, np.float64)
        trouble = ""
        if row[name].shape != shape:
            trouble = f"{name} has shape {row[name].shape}, expected {shape}"
        elif value is not None and not np.isfinite(row[name]).all():
            trouble = f"{name}: not finite"
        if trouble:
            row[name], row["flag"], row["faulty"] = np.full(shape, np.nan), row["flag"] or trouble, np.bool_(True)
    row["K"] = row["K"].astype(np.float32)
    if len(adapter.hands) > 1:
        row["image_id"] = np.int64(number)
    if labels.visibility is not None:
        row["visibility"] = np.asarray(labels.visibility, bool)
    if split in adapter.masks:
        row["mask"] = encode_mask(np.zeros((height, width)) if labels.mask is None else labels.mask)
    if split in adapter.depths:
        row["depth"] = encode_depth(np.zeros((height, width))) if picture.depth is None else picture.depth
    return row | adapter.extras(split) | labels.extras
