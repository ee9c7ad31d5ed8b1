"""Evaluation protocols: a few declarative lines each, on top of `metrics`."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from handgap.core import geometry
from handgap.core.conventions import JOINT_NAMES, MIDDLE_MCP
from handgap.evaluate import metrics

CHUNK = 128  # samples at once: bounds memory and keeps the arrays in the cache; no metric depends on it


@dataclass(frozen=True)
class Protocol:
    """How a dataset's authors judge predictions.

    Attributes:
        name: value of --protocol.
        alignment: per-sample alignment of the `pa_` metrics, joints and vertices each with their own transform.
        root: joint that the root-relative error is measured from.
        tips: key of `conventions.TIP_VERTICES`: the fingertips among the 21 joints of truth and prediction.
        joints: where a prediction's 21 joints come from: its own column, or regressed from its vertices.
        auc_limit: largest PCK threshold, metres.
        auc_steps: number of PCK thresholds.
        f_thresholds: F-score thresholds, metres.
    """

    name: str
    alignment: Literal["similarity, reflection allowed"]
    root: int
    tips: str
    joints: Literal["predicted"]
    auc_limit: float
    auc_steps: int
    f_thresholds: tuple[float, ...]

    def describe(self) -> str:
        """What has to be known to compare a number with another: one line for metrics files and captions."""
        return (
            f"{self.name}: {self.alignment}; joints {self.joints}; tips {self.tips}; root {JOINT_NAMES[self.root]}; "
            f"AUC 0-{self.auc_limit * 1000:g} mm in {self.auc_steps} steps"
        )


FREIHAND = Protocol(
    name="freihand",
    alignment="similarity, reflection allowed",
    root=MIDDLE_MCP,
    tips="freihand",
    joints="predicted",
    auc_limit=0.05,
    auc_steps=100,
    f_thresholds=(0.005, 0.015),
)
PROTOCOLS = {protocol.name: protocol for protocol in (FREIHAND,)}


@dataclass(frozen=True)
class Score:
    """One metric of all samples.

    Attributes:
        values: (N,) float64, in `unit`.
        unit: "mm", or "" for a share.
    """

    values: np.ndarray
    unit: str


def evaluate(
    protocol: Protocol,
    joints: np.ndarray,
    vertices: np.ndarray,
    pred_joints: np.ndarray,
    pred_vertices: np.ndarray,
) -> dict[str, Score]:
    """All metrics of a protocol, per sample.

    Args:
        protocol: one of `PROTOCOLS`.
        joints, pred_joints: (N, 21, 3) metres, simple order; any common frame, as both are aligned or root-relative.
        vertices, pred_vertices: (N, 778, 3) metres, annotation-hand topology.

    Returns:
        metric -> score; the mean of its values over samples is the number the protocol reports.
    """
    columns = (joints, vertices, pred_joints, pred_vertices)
    chunks = [
        _evaluate_chunk(protocol, *(column[start : start + CHUNK] for column in columns))
        for start in range(0, len(joints), CHUNK)
    ]
    return {
        name: Score(np.concatenate([chunk[name].values for chunk in chunks]), score.unit)
        for name, score in chunks[0].items()
    }


def _evaluate_chunk(
    protocol: Protocol,
    joints: np.ndarray,
    vertices: np.ndarray,
    pred_joints: np.ndarray,
    pred_vertices: np.ndarray,
) -> dict[str, Score]:
    aligned = geometry.procrustes_align(vertices, pred_vertices)
    joint_errors = metrics.keypoint_errors(joints, geometry.procrustes_align(joints, pred_joints))
    vertex_errors = metrics.keypoint_errors(vertices, aligned)
    relative = metrics.keypoint_errors(
        metrics.root_relative(joints, protocol.root), metrics.root_relative(pred_joints, protocol.root)
    )
    nearest = metrics.nearest_distances(vertices, aligned, protocol.f_thresholds)
    scores = {
        "pa_mpjpe": Score(joint_errors.mean(1) * 1000.0, "mm"),
        "pa_mpvpe": Score(vertex_errors.mean(1) * 1000.0, "mm"),
        "mpjpe": Score(relative.mean(1) * 1000.0, "mm"),
        "pa_auc_joints": Score(metrics.auc(joint_errors, protocol.auc_limit, protocol.auc_steps), ""),
        "pa_auc_vertices": Score(metrics.auc(vertex_errors, protocol.auc_limit, protocol.auc_steps), ""),
    }
    for threshold in protocol.f_thresholds:
        scores[f"pa_f{threshold * 1000:g}"] = Score(metrics.f_scores(*nearest, threshold), "")
    return scores
