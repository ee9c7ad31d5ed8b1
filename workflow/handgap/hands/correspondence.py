"""Surface maps: vertices of one hand's mesh as points on the surface of another's.

A map is what a model file keeps as `mano_vertices` (P, K) and `mano_weights` (P, K): point p is the sum over k of
weight times vertex. One pair of meshes in one pose gives a barycentric map (K = 3); NIMBLE averages twenty.
"""

from collections.abc import Sequence

import numpy as np
import trimesh
from scipy import sparse
from scipy.spatial import cKDTree


def closest_on_surface(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Project points onto a triangle mesh, exactly.

    Args:
        points: (P, 3).
        vertices: (V, 3), in the unit and frame of `points`.
        faces: (F, 3).

    Returns:
        Face ids (P,), barycentric coordinates (P, 3), and distances (P,).
    """
    corners = vertices[faces]
    centres = corners.mean(1)
    reach = np.linalg.norm(corners - centres[:, None], axis=2).max()
    # no point of a face is farther from its centre than `reach`, so these balls hold every face that could be nearest
    bound, _ = cKDTree(corners.reshape(-1, 3)).query(points)
    nearby = cKDTree(centres).query_ball_point(points, bound + reach)
    counts = np.array([len(ids) for ids in nearby])
    row, face = np.repeat(np.arange(len(points)), counts), np.concatenate(nearby).astype(np.int64)
    feet = trimesh.triangles.closest_point(corners[face], points[row])
    distance = np.linalg.norm(feet - points[row], axis=1)
    best = np.lexsort((face, distance, row))[np.cumsum(counts) - counts]
    bary = trimesh.triangles.points_to_barycentric(corners[face[best]], feet[best])
    return face[best], bary, distance[best]


def average_maps(
    face_ids: Sequence[np.ndarray], bary: Sequence[np.ndarray], faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of barycentric maps as one map.

    Args:
        face_ids: face of every point, (P,) for each map.
        bary: its barycentric coordinates, (P, 3) for each map.
        faces: (F, 3).

    Returns:
        Vertex ids and weights, (P, K) with K the most vertices that a point draws on; padded with weight 0.
    """
    corners = faces[np.asarray(face_ids)]
    weights = np.asarray(bary, np.float64) / len(corners)
    points = np.broadcast_to(np.arange(corners.shape[1])[None, :, None], corners.shape)
    # equal vertices add up
    merged = sparse.coo_matrix((weights.ravel(), (points.ravel(), corners.ravel()))).tocsr()
    merged.eliminate_zeros()
    count = np.diff(merged.indptr)
    filled = np.arange(count.max()) < count[:, None]
    ids, values = np.zeros(filled.shape, np.int64), np.zeros(filled.shape)
    ids[filled], values[filled] = merged.indices, merged.data
    return ids, values
