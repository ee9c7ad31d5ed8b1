"""What keeps a mesh from being fitted, told before the fit."""

from pathlib import Path

import numpy as np
import torch

from handgap.core.conventions import N_ANNOTATION_VERTICES
from handgap.core.errors import HandgapError
from handgap.hands.render_hand import RenderHand

# natural hands differ from the mean one by less than this factor; a flat palm's third extent is at least this share
_SCALE_RANGE = 0.5, 2.0
_MIN_FLATNESS = 0.02
_MILLIMETRES = 500.0, 2000.0


class TargetCheck:
    """Compares targets with the palm of the model's mean hand.

    Args:
        palm: (P, 3) metres.
    """

    def __init__(self, palm: np.ndarray):
        self._palm = palm - palm.mean(0)
        self._size = np.linalg.norm(self._palm)

    def __call__(self, palms: np.ndarray, vertices: np.ndarray) -> list[str]:
        """Reasons, one a mesh, empty where it is a right hand in metres.

        A mirrored hand is told by the sign of the determinant of its covariance with the model's palm: vertices
        correspond, so that no rotation makes it positive.

        Args:
            palms: (B, P, 3) vertices of the palm.
            vertices: (B, 778, 3).
        """
        finite = np.isfinite(vertices).all((1, 2))
        centred = np.where(finite[:, None, None], palms, 0.0)
        centred = centred - centred.mean(1, keepdims=True)
        scale = np.linalg.norm(centred, axis=(1, 2)) / self._size
        extents = np.linalg.svd(np.swapaxes(centred, 1, 2) @ centred)[1] ** 0.5
        flat = extents[:, 2] < _MIN_FLATNESS * extents[:, 0]
        mirrored = np.linalg.det(self._palm.T @ centred) < 0
        return [self._reason(*row) for row in zip(finite, scale, flat, mirrored, strict=True)]

    @staticmethod
    def _reason(finite: bool, scale: float, flat: bool, mirrored: bool) -> str:
        if not finite:
            return "not a finite number in the mesh"
        if flat or scale == 0:
            return "degenerate mesh: the palm has no thickness"
        if _MILLIMETRES[0] < scale < _MILLIMETRES[1]:
            return f"wrong scale: the palm is {scale:.4g} times the model's; millimetres instead of metres?"
        if not _SCALE_RANGE[0] < scale < _SCALE_RANGE[1]:
            return f"wrong scale: the palm is {scale:.4g} times the model's"
        if mirrored:
            return "mirrored: a left hand given as a right one"
        return ""


def on_annotation_topology(path: Path, vertices: np.ndarray, hand: RenderHand) -> np.ndarray:
    """Annotation vertices (B, 778, 3) of the render hand's meshes (B, V, 3).

    Raises:
        HandgapError: the meshes of this file are not the render hand's.
    """
    count, known = vertices.shape[1], len(hand.v_template)
    if count != known:
        problem = (
            f"meshes of {count} vertices; the annotation hand has {N_ANNOTATION_VERTICES}, the render hand {known}"
        )
        raise HandgapError(path, problem, "give the model they are of: --render-hand; of NIMBLE, the skin alone")
    return hand.to_annotation(torch.as_tensor(vertices, dtype=torch.float32)).double().numpy()
