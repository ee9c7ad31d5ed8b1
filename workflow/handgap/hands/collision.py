"""NIMBLE's collision step (Li et al. 2022): skin that sinks into a muscle is lifted out again.

It costs about a second a hand and has no gradient: for pictures of extreme poses, never for fitting.
"""

from pathlib import Path
from typing import Self

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist

from handgap.core.files import read_arrays
from handgap.hands.mesh import vertex_normals

# share of the plain push; the rest comes from the push that the neighbours share
HARD = 0.7
CLEARANCE = 0.002
GEODESIC_SCALE = 0.050
_PAIRS_AT_ONCE = 1 << 17  # small enough for the cache


class MuscleCollision:
    """Pushes skin out of the muscles of a converted NIMBLE.

    Args:
        arrays: arrays of the model file: `faces_stump`, `faces_muscle`, `surface_mask` and the `geodesic_*` rows.
    """

    ARRAYS = (
        *("faces_stump", "faces_muscle", "surface_mask"),
        *("geodesic_indptr", "geodesic_indices", "geodesic_distances"),
    )

    def __init__(self, arrays: dict[str, np.ndarray]):
        self._skin_faces, self._muscle_faces = arrays["faces_stump"], arrays["faces_muscle"]
        self._surface = np.flatnonzero(arrays["surface_mask"])
        share = np.exp(-arrays["geodesic_distances"].astype(np.float64) / GEODESIC_SCALE)
        count = len(arrays["surface_mask"])
        rows = sparse.csr_matrix((share, arrays["geodesic_indices"], arrays["geodesic_indptr"]), (count, count))
        # distances are symmetric: a vertex's row is as long as its column, which is what it hands out
        length = np.sqrt(rows.multiply(rows).sum(1)).A1
        self._share = rows @ sparse.diags(1.0 / np.where(length > 0, length, 1.0))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a model file (`.npz`).

        Raises:
            MissingAssetError: there is no such file.
            CorruptFileError: it is truncated, or is no NIMBLE: it lacks an array of the step.
        """
        return cls(read_arrays(path, cls.ARRAYS, "take a file made by `handgap convert nimble`"))

    def __call__(self, skin: np.ndarray, muscle: np.ndarray) -> np.ndarray:
        """Skin (B, V, 3) clear of the muscles (B, M, 3), posed alike, metres.

        A surface vertex inside a muscle moves along its normal to the muscle's surface and 2 mm on. That makes .7 of
        the result; .3 is the skin moved by its neighbours' pushes, weighted by exp(-d / 50 mm) of the geodesic distance
        up to 30 mm; the weights that each pushed vertex hands out have unit length. A hand with at most one such vertex
        stays.
        """
        return np.stack([self._lift(*pair) for pair in zip(skin, muscle, strict=True)])

    def _lift(self, skin: np.ndarray, muscle: np.ndarray) -> np.ndarray:
        sunk = self._surface[inside(skin[self._surface], muscle, self._muscle_faces)]
        if len(sunk) <= 1:
            return skin
        normals = vertex_normals(skin, self._skin_faces)[sunk]
        distance = first_hit(skin[sunk], normals, muscle, self._muscle_faces)
        push = np.zeros_like(skin)
        hit = np.isfinite(distance)
        push[sunk[hit]] = normals[hit] * (distance[hit, None] + CLEARANCE)
        return (skin + HARD * push + (1 - HARD) * (self._share @ push)).astype(skin.dtype)


def inside(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Mask (P,) of the points inside closed meshes, which may overlap: winding number (Jacobson et al. 2013) over 1/2.

    Args:
        points: (P, 3).
        vertices, faces: (V, 3) and (F, 3), wound outwards.
    """
    # about their middle and in double precision, or the products below would cancel
    middle = np.mean(vertices, 0, np.float64)
    points, vertices = points - middle, vertices - middle
    corners = vertices[faces]
    low, high = corners.min((0, 1)), corners.max((0, 1))
    near = np.flatnonzero(((points > low) & (points < high)).all(1))
    found = np.zeros(len(points), bool)
    a, b, c = corners.transpose(1, 0, 2)
    normal, volume = np.cross(b - a, c - a), np.einsum("fi,fi->f", a, np.cross(b, c))
    for rows in _chunks(near, len(faces)):
        p, square = points[rows], np.square(points[rows]).sum(1)[:, None]
        la, lb, lc = cdist(p, vertices)[:, faces].transpose(2, 0, 1)
        # (x - p).(y - p) of two corners, and the triple product of all three, each by one matrix product
        ab, bc, ca = (np.einsum("fi,fi->f", x, y) - p @ (x + y).T + square for x, y in ((a, b), (b, c), (c, a)))
        # half the solid angle of a triangle (van Oosterom & Strackee 1983)
        half = np.arctan2(volume - p @ normal.T, la * lb * lc + ab * lc + bc * la + ca * lb)
        found[rows] = half.sum(1) > np.pi
    return found


def first_hit(origins: np.ndarray, directions: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Distance (P,) along each unit direction (P, 3) to a mesh, infinite where it misses (Moller & Trumbore 1997)."""
    corners = vertices[faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    nearest = np.full(len(origins), np.inf)
    for rows in _chunks(np.arange(len(origins)), len(faces)):
        ray, start = directions[rows, None], origins[rows, None] - corners[None, :, 0]
        across = np.cross(ray, second)
        determinant = np.einsum("pfi,fi->pf", across, first)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.einsum("pfi,pfi->pf", start, across) / determinant
            turned = np.cross(start, first)
            v = np.einsum("pfi,pfi->pf", np.broadcast_to(ray, turned.shape), turned) / determinant
            distance = np.einsum("pfi,fi->pf", turned, second) / determinant
            hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
        nearest[rows] = np.where(hit, distance, np.inf).min(1)
    return nearest


def _chunks(rows: np.ndarray, n_faces: int) -> list[np.ndarray]:
    """Rows in groups whose pairs with all faces fit in memory."""
    return np.array_split(rows, -(-len(rows) * n_faces // _PAIRS_AT_ONCE)) if len(rows) else []
