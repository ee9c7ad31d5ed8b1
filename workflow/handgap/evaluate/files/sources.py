"""Which reader a file of predictions or a place of truth needs, and all that a protocol wants of both."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from handgap.core.conventions import JOINT_NAMES
from handgap.core.errors import ConfigError
from handgap.core.files import read_arrays
from handgap.core.geometry import project
from handgap.core.images import picture_size
from handgap.core.store import ShardedStore
from handgap.evaluate.files.challenge import read_challenge, read_challenge_truth, write_challenge
from handgap.evaluate.files.dexycb import read_dexycb_text, read_dexycb_truth, write_dexycb_text
from handgap.evaluate.inputs import NOT_STATED, Pairs, Predictions, Truth, match, read_truth_stores
from handgap.evaluate.inputs import read_prediction_store as read_store
from handgap.evaluate.occlusion import hidden_joints
from handgap.evaluate.pixels import evaluate_pixels
from handgap.evaluate.protocols import Protocol
from handgap.evaluate.scores import Score, evaluate
from handgap.evaluate.two_hands import evaluate_two_hands, in_pairs

CHALLENGES = ("freihand", "ho3d_v2", "ho3d_v3")
_ARRAYS = "save joints (N, 21, 3) and, where the protocol needs them, vertices (N, 778, 3), uv (N, 21, 2) and id (N,)"


def read_sources(protocol: Protocol, pred: Path, truth: Sequence[Path], crop: str = "") -> Pairs:
    """Predictions and truth in any of the formats that go with a protocol.

    Args:
        protocol: decides which do.
        pred: .h5 store; .npz; .json or .zip (FreiHAND, HO3D); .txt or .csv (DexYCB).
        truth: one folder as its authors publish it (FreiHAND, HO3D, DexYCB), or stores with labels.
        crop: what the network was shown, where the file does not say.

    Raises:
        ConfigError: a format does not go with the protocol; the file names another crop.
        HandgapError: see the readers and `inputs.match`.
    """
    labels = read_truth(protocol, truth)
    found = read_predictions(protocol, pred, labels)
    if crop and found.crop not in (NOT_STATED, crop):
        raise ConfigError(f"--crop {crop}", f"{pred} says: {found.crop}", "leave the option out")
    return match(replace(found, crop=crop) if crop else found, labels)


def read_truth(protocol: Protocol, paths: Sequence[Path]) -> Truth:
    """Labels, and what else of a store the protocol needs: the picture's edge, or which hands belong together."""
    if len(paths) == 1 and paths[0].is_dir():
        if protocol.name in CHALLENGES:
            return read_challenge_truth(paths[0], protocol.name)
        if protocol.setup:
            return read_dexycb_truth(paths[0], protocol.setup)
        cure = "give the stores that the workflow has made of the dataset"
        raise ConfigError(f"--truth {paths[0]}", f"protocol {protocol.name} reads no folder", cure)
    others = (["K"] if protocol.pixels else []) + (["image_id", "side"] if protocol.hands == 2 else [])
    truth = read_truth_stores(paths, protocol.meshes, others)
    if protocol.pixels:
        truth.columns["edge"] = _edges(paths)
    return truth


def read_predictions(protocol: Protocol, path: Path, truth: Truth) -> Predictions:
    """Predictions by the suffix of their file."""
    match path.suffix:
        case ".h5":
            return read_store(path, protocol.meshes)
        case ".npz":
            return _read_arrays(path)
        case ".json" | ".zip" if protocol.name in CHALLENGES:
            return read_challenge(path, protocol.name)
        case ".txt" | ".csv" if protocol.setup:
            return read_dexycb_text(path, truth)
    known = ".h5, .npz" + ", .json, .zip" * (protocol.name in CHALLENGES) + ", .txt, .csv" * bool(protocol.setup)
    raise ConfigError(f"--pred {path}", f"protocol {protocol.name} reads no such file", f"give one of {known}")


def judge(protocol: Protocol, pairs: Pairs) -> tuple[np.ndarray, dict[str, Score], int]:
    """Everything a protocol measures.

    Returns:
        ids (N,): of samples; of pictures, where it judges two hands. Metric -> score. Samples left out.

    Raises:
        CorruptFileError: of two hands, no picture has both.
    """
    columns = (pairs.joints, pairs.vertices, pairs.pred_joints, pairs.pred_vertices)
    if protocol.hands == 2:
        ids, rows = in_pairs(pairs.labels["image_id"], pairs.labels["side"])
        scores = evaluate_two_hands(protocol, *(None if column is None else column[rows] for column in columns))
        return ids, scores, pairs.excluded + len(pairs.ids) - rows.size
    scores = evaluate(protocol, *columns, camera=pairs.camera)
    if protocol.pixels:
        K = pairs.labels["K"].astype(np.float64)
        pred = project(pairs.pred_joints, K) if pairs.pred_uv is None else pairs.pred_uv
        scores |= evaluate_pixels(project(pairs.joints, K), pred, pairs.labels["edge"])
    return pairs.ids, scores, pairs.excluded


def hidden_of(protocol: Protocol, truth: Sequence[Path]) -> tuple[np.ndarray, str]:
    """Hidden joints (N, 21) of the valid samples of stores with labels, and what they were told by.

    Raises:
        ConfigError: the truth is a folder or has two hands; its labels do not tell.
    """
    where = f"--truth {truth[0]}"
    if truth[0].is_dir() or protocol.hands == 2:
        raise ConfigError(where, "occlusion levels need stores of single hands", "leave --levels out")
    with ShardedStore(truth) as store:
        hidden, told_by = hidden_joints(store)
        if hidden is None:
            problem = "its labels do not tell which joints are hidden"
            raise ConfigError(where, problem, "leave --levels out, or give visibility, or mask and depth")
        return hidden[store.column("valid").astype(bool)], told_by


def write_submission(protocol: Protocol, pred: Path, out: Path) -> tuple[int, str]:
    """A store or .npz of predictions in the format that the dataset's own scripts take.

    FreiHAND's may be without a place: predictions that were given the true root are written relative to it, so that
    no absolute number profits from it.

    Returns:
        How many samples; what is to be known about them.

    Raises:
        ConfigError: the protocol has no such format; predictions are not in the camera frame; ids have gaps.
        HandgapError: see the writers.
    """
    if protocol.name not in CHALLENGES and not protocol.setup:
        raise ConfigError(f"--protocol {protocol.name}", "no file format of its own", "any store can be evaluated")
    found = read_store(pred, protocol.meshes) if pred.suffix == ".h5" else _read_arrays(pred)
    if not found.camera and protocol.name != "freihand":
        problem = "predictions are not absolute: they were given the true root"
        raise ConfigError(f"--pred {pred}", problem, "predict with the root that the test labels allow")
    ids = np.arange(len(found.valid)) if found.ids is None else found.ids
    order = np.argsort(ids)
    joints = found.columns["joints"][order]
    if protocol.setup:
        valid = found.valid[order]
        write_dexycb_text(out, ids[order][valid], joints[valid])
        return int(valid.sum()), ""
    if not np.array_equal(ids[order], np.arange(len(ids))):
        raise ConfigError(f"--pred {pred}", "ids are not 0 to N - 1", "predict the whole split once, then write it")
    vertices = found.columns["vertices"][order]
    root = np.zeros_like(joints[:, :1]) if found.camera else joints[:, protocol.root, None]
    write_challenge(out, protocol.name, joints - root, vertices - root)
    note = "" if found.camera else f", relative to {JOINT_NAMES[protocol.root]}: only aligned numbers count"
    return len(ids), note


def _edges(paths: Sequence[Path]) -> np.ndarray:
    """Larger edge (N,) of each picture, px."""
    with ShardedStore(paths) as store:
        return np.array([max(picture_size(store.row("image", k), store.origin(k))) for k in range(len(store))])


def _read_arrays(path: Path) -> Predictions:
    arrays = read_arrays(path, {"joints"}, _ARRAYS)
    columns = {name: arrays[name] for name in ("joints", "vertices", "uv") if name in arrays}
    valid = np.isfinite(arrays["joints"]).reshape(len(arrays["joints"]), -1).all(1)
    return Predictions(path, arrays.get("id"), valid, columns)
