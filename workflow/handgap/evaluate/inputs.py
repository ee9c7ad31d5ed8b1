"""Reading predictions and truth, matched sample by sample and checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handgap.core.conventions import N_ANNOTATION_VERTICES, N_JOINTS
from handgap.core.errors import CorruptFileError
from handgap.core.store import ShardedStore, Store

SHAPES = {"joints": (N_JOINTS, 3), "vertices": (N_ANNOTATION_VERTICES, 3)}


@dataclass(frozen=True)
class Pairs:
    """Valid samples, truth and prediction in the same order.

    Attributes:
        ids: (N,) int64.
        joints, pred_joints: (N, 21, 3) metres.
        vertices, pred_vertices: (N, 778, 3) metres.
        excluded: samples left out because their truth is not valid.
        crop: what the network was shown, as the predictions state it.
        digests: content digests of all files read.
    """

    ids: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray
    pred_joints: np.ndarray
    pred_vertices: np.ndarray
    excluded: int
    crop: str
    digests: list[str]


def read_pairs(pred: Path, truth: Sequence[Path]) -> Pairs:
    """Match a file of predictions with the shards it was made for.

    Raises:
        MissingAssetError: a file is absent.
        CorruptFileError: a file is truncated, empty or of the wrong shape; ids differ or repeat; a coordinate of a
            valid sample is not finite; a sample is valid in the truth and not in the predictions.
    """
    with Store(pred) as predictions, ShardedStore(truth) as labels:
        true_ids, pred_ids = labels.column("id"), predictions.column("id")
        _check_ids(pred, pred_ids, true_ids)
        order = np.argsort(pred_ids)[np.argsort(np.argsort(true_ids))]
        valid = labels.column("valid")
        if not valid.any():
            raise CorruptFileError(truth[0], "no valid sample in the truth", "evaluate on a split that has some")
        if not predictions.column("valid")[order][valid].all():
            raise CorruptFileError(pred, "valid samples have no valid prediction", "predict all samples of the split")
        columns = {}
        for name, shape in SHAPES.items():
            columns[name] = _checked(truth[0].parent, labels.column(name), valid, shape, name)
            columns[f"pred_{name}"] = _checked(pred, predictions.column(name)[order], valid, shape, name)
        return Pairs(
            ids=true_ids[valid],
            excluded=int((~valid).sum()),
            crop=str(predictions.attrs.get("crop", "not stated")),
            digests=[predictions.digest, *labels.digests],
            **columns,
        )


def _check_ids(pred: Path, pred_ids: np.ndarray, true_ids: np.ndarray) -> None:
    cure = "predict exactly the samples of the split that is evaluated"
    if len(pred_ids) == 0:
        raise CorruptFileError(pred, "no predictions in it", cure)
    if len(np.unique(pred_ids)) != len(pred_ids):
        raise CorruptFileError(pred, "sample ids repeat", cure)
    if missing := np.setdiff1d(true_ids, pred_ids).tolist():
        raise CorruptFileError(pred, f"{len(missing)} of {len(true_ids)} samples missing, first id {missing[0]}", cure)
    if unknown := np.setdiff1d(pred_ids, true_ids).tolist():
        raise CorruptFileError(pred, f"{len(unknown)} samples not in the truth, first id {unknown[0]}", cure)


def _checked(path: Path, values: np.ndarray, valid: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    if values.shape[1:] != shape:
        problem = f"column '{name}' has shape {values.shape}, expected (N, {shape[0]}, {shape[1]})"
        raise CorruptFileError(path, problem, "predict in the annotation hand's topology and joint order")
    values = values[valid]
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any((1, 2)).sum())
        raise CorruptFileError(path, f"column '{name}' is not finite in {bad} valid samples", "make the file again")
    return values
