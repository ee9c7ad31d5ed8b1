"""Quadric decimation that selects vertices: QSlim with contraction to an endpoint (Garland & Heckbert 1997).

`mesh.decimate` thins a disk to chosen counts inside and on the rim; this one takes any manifold mesh.
"""

import heapq
from collections.abc import Sequence

import numpy as np

from handgap.hands.mesh import vertex_normals

# times the quadrics of boundary planes: without it an open rim shrinks
BOUNDARY_WEIGHT = 10.0
# The quadrics are blind along straight fingers, where they make needles over several joints, and choose at random on
# flat parts: a hundredth of the squared edge length is added to them, and a face as thin as 0.3 (1 is equilateral)
# may not become thinner. On posed hands that takes the largest error at 389 vertices from 14 mm to 8 mm.
_LENGTH_SHARE = 1e-2
_COMPACT, _LEAST_COMPACT = 0.3, 0.001
# of a face's normal after a contraction with the one before, and with the template's normals at its corners: each
# turn alone may be small where a thin finger folds over
_LEAST_COSINE = 0.3


def plane_quadrics(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Quadrics of the faces' planes: h^T Q h is the squared distance of h = (x, y, z, 1) from a plane.

    Section 5 of Garland & Heckbert (1997), not weighted by area.

    Args:
        vertices: (V, 3), any unit.
        faces: (F, 3), none without area.

    Returns:
        (F, 4, 4), symmetric.
    """
    corners = vertices[faces]
    return _quadrics_through(corners[:, 0], _normals(corners))


def boundary_quadrics(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boundary edges, and quadrics of the planes through them that stand upright on their faces.

    Section 6 of Garland & Heckbert (1997); the penalty on them is the caller's.

    Args:
        vertices, faces: see `plane_quadrics`.

    Returns:
        Edges (E, 2) in the direction of their faces, and quadrics (E, 4, 4).
    """
    directed = np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2)
    present = set(map(tuple, directed.tolist()))
    alone = np.flatnonzero([(b, a) not in present for a, b in directed.tolist()])
    edges = directed[alone]
    along = vertices[edges[:, 1]] - vertices[edges[:, 0]]
    upright = np.cross(along, _normals(vertices[faces[alone // 3]]))
    return edges, _quadrics_through(vertices[edges[:, 0]], upright)


def contract(
    vertices: np.ndarray, faces: np.ndarray, sizes: Sequence[int], boundary_weight: float = BOUNDARY_WEIGHT
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Contract edges to one of their ends, the cheapest first, and keep the mesh at each size on the way.

    A contraction must keep the mesh manifold (the link condition of Dey et al. 1999), leave a boundary only along
    that boundary, not turn a face over, and make no needle of it as long as other edges are left.

    Args:
        vertices: (V, 3), any unit.
        faces: (F, 3) of a manifold mesh, with boundaries or without, that uses every vertex.
        sizes: vertices to keep, decreasing, at most V.
        boundary_weight: times the quadrics of boundary planes.

    Returns:
        For each size n: ids (n,) of the vertices kept, increasing, and faces (F', 3) in their numbering.

    Raises:
        ValueError: no contraction is possible any more at more than the last size.
    """
    state = _Mesh(vertices, faces, boundary_weight)
    levels = []
    for size in sizes:
        while len(state.around) > size:
            if _contract_once(state, size):
                continue
            # where all faces are long already, longer ones are the only way on
            state.compact /= 2
            if state.compact < _LEAST_COMPACT:
                raise ValueError(f"no edge can be contracted any more at {len(state.around)} vertices")
        levels.append(state.arrays())
    return levels


def _contract_once(state: "_Mesh", size: int) -> bool:
    """Contract down to a size as far as edges allow that are looked at once; False when none did."""
    before = len(state.around)
    queue = [(state.cost(a, b), a, b) for a in sorted(state.around) for b in sorted(state.ring(a))]
    heapq.heapify(queue)
    while queue and len(state.around) > size:
        cost, gone, kept = heapq.heappop(queue)
        joined = gone in state.around and kept in state.around and kept in state.ring(gone)
        # an edge whose cost has changed is in the queue a second time
        if not joined or state.cost(gone, kept) != cost or not state.allowed(gone, kept):
            continue
        state.contract(gone, kept)
        for vertex in sorted(state.ring(kept)):
            for pair in ((kept, vertex), (vertex, kept)):
                heapq.heappush(queue, (state.cost(*pair), *pair))
    return len(state.around) < before


class _Mesh:
    """A mesh under contraction: faces round each vertex, quadrics, boundary."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, boundary_weight: float):
        # about their middle, as an error is the small difference of large terms
        self.vertices = np.asarray(vertices, float) - np.mean(vertices, 0, float)
        self.faces = dict(enumerate(map(tuple, faces.tolist())))
        self.around: dict[int, set[int]] = {}
        for index, face in self.faces.items():
            for vertex in face:
                self.around.setdefault(vertex, set()).add(index)
        self.normals = vertex_normals(self.vertices, faces)
        self.quadrics = np.zeros((len(vertices), 4, 4))
        np.add.at(self.quadrics, faces, plane_quadrics(self.vertices, faces)[:, None])
        edges, upright = boundary_quadrics(self.vertices, faces)
        np.add.at(self.quadrics, edges, boundary_weight * upright[:, None])
        self.compact = _COMPACT
        self.boundary = set(edges.ravel().tolist())

    def ring(self, vertex: int) -> set[int]:
        return {v for face in self.around[vertex] for v in self.faces[face]} - {vertex}

    def cost(self, gone: int, kept: int) -> float:
        place = np.append(self.vertices[kept], 1.0)
        error = place * ((self.quadrics[gone] + self.quadrics[kept]) * place).sum(1)
        return float(error.sum() + _LENGTH_SHARE * np.square(self.vertices[kept] - self.vertices[gone]).sum())

    def allowed(self, gone: int, kept: int) -> bool:
        return self._stays_manifold(gone, kept) and self._stays_in_shape(gone, kept)

    def _stays_manifold(self, gone: int, kept: int) -> bool:
        opposite = self.ring(gone) & self.ring(kept)
        shared = self.around[gone] & self.around[kept]
        if len(opposite) != len(shared) or (gone in self.boundary and (kept not in self.boundary or len(shared) != 1)):
            return False
        # each of them loses a face: three must be left round an inner vertex, one at a boundary
        return all(len(self.around[v]) > (1 if v in self.boundary else 3) for v in opposite)

    def _stays_in_shape(self, gone: int, kept: int) -> bool:
        corners = np.array([self.faces[face] for face in self.around[gone] - self.around[kept]], int).reshape(-1, 3)
        before, after = self.vertices[corners], self.vertices[np.where(corners == gone, kept, corners)]
        new = _normals(after)
        first = self.normals[np.where(corners == gone, kept, corners)].sum(1)
        turned = (_cosine(new, _normals(before)) < _LEAST_COSINE) | (_cosine(new, first) < _LEAST_COSINE)
        thin = compactness(after) < np.minimum(self.compact, compactness(before))
        return not (turned | thin).any()

    def contract(self, gone: int, kept: int) -> None:
        for face in self.around.pop(gone):
            if kept in self.faces[face]:
                for vertex in set(self.faces.pop(face)) - {gone}:
                    self.around[vertex].discard(face)
            else:
                self.faces[face] = tuple(kept if v == gone else v for v in self.faces[face])
                self.around[kept].add(face)
        self.quadrics[kept] += self.quadrics[gone]
        self.boundary.discard(gone)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        ids = np.array(sorted(self.around))
        return ids, np.searchsorted(ids, [self.faces[face] for face in sorted(self.faces)])


def compactness(corners: np.ndarray) -> np.ndarray:
    """4 sqrt(3) area / sum of squared sides (F,) of triangles (F, 3, 3): 1 equilateral, 0 flat (Gueziec 1995)."""
    sides = corners - np.roll(corners, 1, axis=1)
    return 2 * np.sqrt(3) * np.linalg.norm(_normals(corners), axis=1) / np.square(sides).sum((1, 2))


def _normals(corners: np.ndarray) -> np.ndarray:
    """Normals (F, 3) of triangles (F, 3, 3), as long as twice their area."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines (F,) of the angles between vectors (F, 3); 0 where one has no length."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(lengths, np.finfo(float).tiny)


def _quadrics_through(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Quadrics (P, 4, 4) of the planes through points (P, 3) with normals (P, 3) of any length."""
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    planes = np.concatenate([normals, -(normals * points).sum(1, keepdims=True)], 1)
    return planes[:, :, None] * planes[:, None]
