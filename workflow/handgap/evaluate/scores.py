"""Predictions judged by a protocol: every metric per sample, in float64, a few samples at a time."""

from dataclasses import dataclass

import numpy as np

from handgap.evaluate import metrics
from handgap.evaluate.alignments import align
from handgap.evaluate.protocols import Measure, Protocol

CHUNK = 128  # samples at once: bounds memory and keeps the arrays in the cache; no metric depends on it


@dataclass(frozen=True)
class Score:
    """One metric of all samples.

    Attributes:
        values: (N,) float64, in `unit`; nan: the metric does not apply to this sample.
        unit: "mm", or "" for a share.
        joints: (N, 21) errors of single joints in `unit`, of metrics that are their mean.
    """

    values: np.ndarray
    unit: str
    joints: np.ndarray | None = None

    def mean(self) -> float:
        """The number that is reported: the mean over the samples that the metric applies to; nan if to none."""
        known = self.values[np.isfinite(self.values)]
        return float(known.mean()) if len(known) else float("nan")


def evaluate(
    protocol: Protocol,
    joints: np.ndarray,
    vertices: np.ndarray | None,
    pred_joints: np.ndarray,
    pred_vertices: np.ndarray | None,
    *,
    camera: bool = False,
) -> dict[str, Score]:
    """All 3D metrics of a protocol for single hands, per sample.

    Args:
        protocol: one of `PROTOCOLS`.
        joints, pred_joints: (N, 21, 3) metres, simple order, in a common frame.
        vertices, pred_vertices: (N, 778, 3) metres, annotation-hand topology; None leaves out what is measured on them.
        camera: predictions are absolute, in the camera frame: otherwise what is measured there is left out.

    Returns:
        metric -> score: mean errors, then areas, then F-scores.
    """
    columns = {"joints": (joints, pred_joints)}
    if vertices is not None and pred_vertices is not None:
        columns["vertices"] = (vertices, pred_vertices)
    chosen = [m for m in protocol.measures if m.points in columns and (camera or m.alignment != "none")]
    chunks = [
        _evaluate_chunk(
            protocol, chosen, {name: tuple(c[start : start + CHUNK] for c in both) for name, both in columns.items()}
        )
        for start in range(0, len(joints), CHUNK)
    ]
    return {name: _joined([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _joined(parts: list[Score]) -> Score:
    joints = None if parts[0].joints is None else np.concatenate([part.joints for part in parts])
    return Score(np.concatenate([part.values for part in parts]), parts[0].unit, joints)


def _evaluate_chunk(
    protocol: Protocol, chosen: list[Measure], columns: dict[str, tuple[np.ndarray, ...]]
) -> dict[str, Score]:
    means, areas, shares = {}, {}, {}
    for measure in chosen:
        truth, pred = align(measure.alignment, *columns[measure.points], protocol.root)
        errors = metrics.keypoint_errors(truth, pred)
        single = errors * 1000.0 if measure.points == "joints" else None
        means[measure.error] = Score(errors.mean(1) * 1000.0, "mm", single)
        if measure.auc:
            areas[measure.auc] = Score(metrics.auc(errors, protocol.auc_limit, protocol.auc_steps), "")
        if measure.f:
            nearest = metrics.nearest_distances(truth, pred, protocol.f_thresholds)
            for threshold in protocol.f_thresholds:
                name = f"{measure.f}{threshold * 1000:g}"
                shares[name] = Score(metrics.f_scores(*nearest, threshold), "")
    return means | areas | shares
