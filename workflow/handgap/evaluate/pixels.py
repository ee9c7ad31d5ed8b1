"""2D PCK: share of joints whose pixel error is small for the picture, or for the hand in it."""

import numpy as np

from handgap.evaluate.scores import Score

SHARE = 0.05  # of the picture's or box's edge: PCK@0.05
GRID = 64  # cells of a heat map's edge
GRID_LIMIT = 0.5 * GRID / 10  # cells; 5 % of the edge
GROUPS = {"mcp": (1, 5, 9, 13, 17), "pip": (2, 6, 10, 14, 18), "dip": (3, 7, 11, 15, 19), "tip": (4, 8, 12, 16, 20)}


def evaluate_pixels(uv: np.ndarray, pred: np.ndarray, edge: np.ndarray) -> dict[str, Score]:
    """PCK@0.05 by three measures, all with strict <.

    - ``pck2d_image``: within 5 % of the larger edge of the picture; also by group of joints.
    - ``pck2d_box``: within 5 % of the larger edge of the box around the true joints.
    - ``pck2d_heatmap``: as the scripts of RegDA and UniFrame count it, on a grid of 64 cells: positions become the
      cells they lie in; within 3.2 cells; joints whose true cell is in the first two columns or rows are left out.
      They average over the joints of a batch, here every picture weighs the same, so no batch size matters.

    Args:
        uv, pred: (N, 21, 2) px, simple order.
        edge: (N,) larger edge of the picture, px.

    Returns:
        metric -> score; nan where all joints of a picture are left out.
    """
    uv, pred, edge = (np.asarray(values, np.float64) for values in (uv, pred, edge))
    error = np.linalg.norm(pred - uv, axis=2)
    near = error < SHARE * edge[:, None]
    box = (uv.max(1) - uv.min(1)).max(1)
    scores = {"pck2d_image": Score(near.mean(1), "")}
    for name, joints in GROUPS.items():
        scores[f"pck2d_image_{name}"] = Score(near[:, list(joints)].mean(1), "")
    scores["pck2d_box"] = Score((error < SHARE * box[:, None]).mean(1), "")
    scores["pck2d_heatmap"] = Score(_on_grid(uv, pred, edge), "")
    scores["pixel_error"] = Score(error.mean(1), "px")
    return scores


def _on_grid(uv: np.ndarray, pred: np.ndarray, edge: np.ndarray) -> np.ndarray:
    cells, found = (np.floor(GRID * points / edge[:, None, None]) for points in (uv, pred))
    counted = (cells > 1).all(2)
    near = (np.linalg.norm(found - cells, axis=2) < GRID_LIMIT) & counted
    total = counted.sum(1)
    return np.divide(near.sum(1), total, out=np.full(len(uv), np.nan), where=total > 0)
