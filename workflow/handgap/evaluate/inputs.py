"""Predictions and truth of the same samples, matched by id and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from handgap.core.conventions import N_ANNOTATION_VERTICES, N_JOINTS
from handgap.core.errors import CorruptFileError
from handgap.core.store import ShardedStore, Store
from handgap.evaluate.checks import check_hands, finite_rows
from handgap.evaluate.protocols import Protocol

CAMERA = "camera"  # attribute `frame` of predictions that are absolute; others have been given the true root, or none
NOT_STATED = "not stated"
SHAPES = {"joints": (N_JOINTS, 3), "vertices": (N_ANNOTATION_VERTICES, 3), "uv": (N_JOINTS, 2)}


@dataclass(frozen=True)
class Truth:
    """Labels of the samples that are judged.

    Attributes:
        path: file or folder, for messages.
        ids: (N,) int64.
        valid: (N,) bool.
        columns: ``joints`` (N, 21, 3), perhaps ``vertices`` (N, 778, 3): metres, OpenCV camera, simple order; and of
            stores others that were asked for.
        digests: content digests of the files, where they have some.
        tips: fingertips of the joints, a key of `conventions.TIP_VERTICES`; empty: the protocol's.
    """

    path: Path
    ids: np.ndarray
    valid: np.ndarray
    columns: dict[str, np.ndarray]
    digests: list[str] = field(default_factory=list)
    tips: str = ""


@dataclass(frozen=True)
class Predictions:
    """Predictions as a file has them.

    Attributes:
        path: the file.
        ids: (N,) int64; None: one for each sample of the truth, in its order.
        valid: (N,) bool.
        columns: ``joints`` (N, 21, 3), perhaps ``vertices`` (N, 778, 3) and ``uv`` (N, 21, 2); units as `Truth`'s.
        crop: what the network was shown, as the file states it.
        camera: they are absolute, in the camera frame.
        digests: content digest of the file, where it has one.
    """

    path: Path
    ids: np.ndarray | None
    valid: np.ndarray
    columns: dict[str, np.ndarray]
    crop: str = NOT_STATED
    camera: bool = True
    digests: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pairs:
    """Valid samples, truth and prediction in the same order.

    Attributes:
        ids: (N,) int64.
        joints, pred_joints: (N, 21, 3) metres.
        vertices, pred_vertices: (N, 778, 3) metres; None: not asked for, or the dataset or prediction has none.
        excluded: samples left out because their truth is not valid.
        crop: what the network was shown, as the predictions state it.
        camera: predictions are absolute, in the camera frame.
        digests: content digests of all files read.
        tips: fingertips of the true joints, if stated: `Truth.tips`.
        labels: further columns of the truth, by name.
        pred_uv: (N, 21, 2) px, if predicted.
    """

    ids: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray | None
    pred_joints: np.ndarray
    pred_vertices: np.ndarray | None
    excluded: int
    crop: str
    camera: bool
    digests: list[str]
    tips: str
    labels: dict[str, np.ndarray]
    pred_uv: np.ndarray | None


def read_pairs(pred: Path, truth: Sequence[Path], meshes: bool = True) -> Pairs:
    """Match a store of predictions with the shards it was made for; vertices only where meshes are judged.

    Raises:
        MissingAssetError: a file is absent.
        CorruptFileError: see `match`; a file is truncated.
    """
    return match(read_prediction_store(pred, meshes), read_truth_stores(truth, meshes))


def read_prediction_store(path: Path, meshes: bool = True) -> Predictions:
    """A store of predictions; vertices only where meshes are judged."""
    with Store(path) as store:
        names = ["joints", *(["vertices"] if meshes else []), *(["uv"] if "uv" in store else [])]
        return Predictions(
            path,
            store.column("id"),
            store.column("valid").astype(bool),
            {name: store.column(name) for name in names},
            str(store.attrs.get("crop", NOT_STATED)),
            store.attrs.get("frame") == CAMERA,
            [store.digest],
        )


def read_truth_stores(paths: Sequence[Path], meshes: bool = True, others: Sequence[str] = ()) -> Truth:
    """Shards with labels.

    Args:
        paths: the shards.
        meshes: vertices are needed.
        others: further columns, of fixed size.
    """
    with ShardedStore(paths) as store:
        names = ["joints", *(["vertices"] if meshes else []), *others]
        return Truth(
            paths[0].parent if len(paths) > 1 else paths[0],
            store.column("id"),
            store.column("valid").astype(bool),
            {name: store.column(name) for name in names},
            store.digests,
            str(store.shards[0].attrs.get("tips", "")),
        )


def describe(protocol: Protocol, pairs: Pairs) -> str:
    """What is measured and how, with the fingertips of the labels and the crop: the column `protocol` of metrics."""
    stated = replace(protocol, tips=pairs.tips) if pairs.tips else protocol
    return f"{stated.describe()}; crop: {pairs.crop}"


def match(pred: Predictions, truth: Truth) -> Pairs:
    """Predictions in the order of the truth, without samples whose truth is not valid.

    Raises:
        CorruptFileError: wrong shapes; ids differ or repeat; a coordinate of a valid sample is not finite; a sample is
            valid in the truth and not in the predictions; see also `checks.check_hands`.
    """
    order = _order(pred, truth)
    valid = truth.valid
    if not valid.any():
        raise CorruptFileError(truth.path, "no valid sample in the truth", "evaluate on a split that has some")
    if not pred.valid[order][valid].all():
        raise CorruptFileError(pred.path, "valid samples have no valid prediction", "predict all samples of the split")
    labels = {
        name: _checked(truth.path, values, valid, name) if name in SHAPES else values[valid]
        for name, values in truth.columns.items()
        if name != "vertices" or not np.isnan(values[valid]).all()  # a dataset without meshes
    }
    found = {name: _checked(pred.path, values[order], valid, name) for name, values in pred.columns.items()}
    joints = labels.pop("joints")
    check_hands(pred.path, truth.path, joints, found["joints"])
    return Pairs(
        ids=truth.ids[valid],
        joints=joints,
        vertices=labels.pop("vertices", None),
        pred_joints=found["joints"],
        pred_vertices=found.get("vertices"),
        excluded=int((~valid).sum()),
        crop=pred.crop,
        camera=pred.camera,
        digests=[*pred.digests, *truth.digests],
        tips=truth.tips,
        labels=labels,
        pred_uv=found.get("uv"),
    )


def _order(pred: Predictions, truth: Truth) -> np.ndarray:
    """Row of the prediction for each sample of the truth."""
    cure = "predict exactly the samples of the split that is evaluated"
    count, wanted = len(pred.valid), len(truth.ids)
    if count == 0:
        raise CorruptFileError(pred.path, "no predictions in it", cure)
    if len(np.unique(truth.ids)) != wanted:
        raise CorruptFileError(truth.path, "sample ids of the truth repeat", "give each shard once")
    if pred.ids is None:
        if count != wanted:
            share = wanted // count if wanted % count == 0 else 0
            hint = f"; that is one part in {share}: the share of one of {share} processes?" if share > 1 else ""
            raise CorruptFileError(
                pred.path, f"{count} predictions for {wanted} samples{hint}", "gather the results of all processes"
            )
        return np.arange(wanted)
    if len(np.unique(pred.ids)) != count:
        raise CorruptFileError(pred.path, "sample ids repeat", cure)
    if missing := np.setdiff1d(truth.ids, pred.ids).tolist():
        problem = f"{len(missing)} of {wanted} samples missing, first id {missing[0]}"
        raise CorruptFileError(pred.path, problem, cure)
    if unknown := np.setdiff1d(pred.ids, truth.ids).tolist():
        raise CorruptFileError(pred.path, f"{len(unknown)} samples not in the truth, first id {unknown[0]}", cure)
    return np.argsort(pred.ids)[np.argsort(np.argsort(truth.ids))]


def _checked(path: Path, values: np.ndarray, valid: np.ndarray, name: str) -> np.ndarray:
    shape = SHAPES[name]
    if values.shape[1:] != shape:
        problem = f"column '{name}' has shape {values.shape}, expected (N, {shape[0]}, {shape[1]})"
        raise CorruptFileError(path, problem, "predict in the annotation hand's topology and joint order")
    values = values[valid]
    if (bad := finite_rows(values)).any():
        problem = f"column '{name}' is not finite in {int(bad.sum())} valid samples"
        raise CorruptFileError(path, problem, "make the file again")
    return values
