"""Polygon meshes on arrays: subdivision, loops, triangulation, normals and decimation."""

import heapq
from dataclasses import dataclass

import numpy as np
from scipy import sparse


def _edges_of(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unique undirected edges (E, 2) of polygons (F, n), and each polygon's edge ids (F, n): corner k to k + 1."""
    directed = np.stack([polygons, np.roll(polygons, -1, axis=1)], -1).reshape(-1, 2)
    edges, ids = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True)
    return edges, ids.reshape(polygons.shape)


@dataclass
class Subdivision:
    """One level of quad subdivision as a linear map.

    Attributes:
        matrix: sparse (V', V): new vertices, and any other per-vertex quantity, from the old ones.
        quads: (4 F, 4) faces; face k of the coarse mesh becomes faces 4 k to 4 k + 3.
    """

    matrix: sparse.csr_matrix
    quads: np.ndarray


def subdivide_quads(quads: np.ndarray, n_vertices: int, smooth: bool) -> Subdivision:
    """Catmull-Clark subdivision (1978), or its linear counterpart for texture coordinates.

    New vertices are ordered old vertices, edge points, face points. Vertices on a boundary stay where they are.

    Args:
        quads: (F, 4) vertex ids.
        n_vertices: V.
        smooth: Catmull-Clark rules; else edge midpoints and face centres with the old vertices in place.
    """
    edges, edge_of = _edges_of(quads)
    n_faces, n_edges = len(quads), len(edges)
    face_rows = np.repeat(np.arange(n_faces), 4)
    face_points = sparse.csr_matrix((np.full(4 * n_faces, 0.25), (face_rows, quads.ravel())), (n_faces, n_vertices))
    edge_rows = np.repeat(np.arange(n_edges), 2)
    midpoints = sparse.csr_matrix((np.full(2 * n_edges, 0.5), (edge_rows, edges.ravel())), (n_edges, n_vertices))
    vertex_points = sparse.identity(n_vertices, format="csr")
    edge_points = midpoints
    if smooth:
        faces_of_edge = sparse.csr_matrix((np.ones(4 * n_faces), (edge_of.ravel(), face_rows)), (n_edges, n_faces))
        inner_edge = np.asarray(faces_of_edge.sum(1)).ravel() == 2
        smoothed = 0.5 * midpoints + 0.25 * faces_of_edge @ face_points
        edge_points = _select(inner_edge, smoothed, midpoints)
        faces_of_vertex = sparse.csr_matrix((np.ones(4 * n_faces), (quads.ravel(), face_rows)), (n_vertices, n_faces))
        edges_of_vertex = sparse.csr_matrix((np.ones(2 * n_edges), (edges.ravel(), edge_rows)), (n_vertices, n_edges))
        valence = np.asarray(faces_of_vertex.sum(1)).ravel()
        inner = valence > 0
        inner[edges[~inner_edge].ravel()] = False
        scale = sparse.diags(1.0 / np.maximum(valence, 1) ** 2)
        keep = sparse.diags(1.0 - 3.0 / np.maximum(valence, 1))
        rule = scale @ (faces_of_vertex @ face_points + 2.0 * edges_of_vertex @ midpoints) + keep
        vertex_points = _select(inner, rule.tocsr(), vertex_points)
    first_edge, first_face = n_vertices, n_vertices + n_edges
    corners = [quads, first_edge + edge_of, np.repeat(first_face + np.arange(n_faces)[:, None], 4, 1)]
    fine = np.stack([*corners, first_edge + np.roll(edge_of, 1, axis=1)], -1).reshape(-1, 4)
    return Subdivision(sparse.vstack([vertex_points, edge_points, face_points]).tocsr(), fine)


def _select(mask: np.ndarray, chosen: sparse.csr_matrix, other: sparse.csr_matrix) -> sparse.csr_matrix:
    """Rows of `chosen` where the mask holds, of `other` elsewhere."""
    return (sparse.diags(mask.astype(float)) @ chosen + sparse.diags((~mask).astype(float)) @ other).tocsr()


def faces_at_vertices(polygons: np.ndarray) -> dict[int, list[list[int]]]:
    """The polygons round each vertex."""
    faces_at: dict[int, list[list[int]]] = {}
    for polygon in polygons.tolist():
        for vertex in polygon:
            faces_at.setdefault(vertex, []).append(polygon)
    return faces_at


def edge_loop(faces_at: dict[int, list[list[int]]], start: tuple[int, int], max_length: int = 100) -> list[int]:
    """Vertices of the edge loop through an edge: at each valence-4 vertex it leaves by the opposite edge.

    Args:
        faces_at: quads round each vertex (`faces_at_vertices`).
        start: the edge's two vertices.
        max_length: vertices after which the loop is given up.

    Returns:
        The loop's vertex ids in order, or an empty list when it meets an irregular vertex or does not close.
    """
    loop = list(start)
    while len(loop) < max_length:
        before, here = loop[-2:]
        around = faces_at.get(here, [])
        if len(around) != 4:
            return []
        beside = {v for quad in around if before in quad for v in quad}
        ahead = [quad for quad in around if before not in quad]
        onward = set.intersection(*(_neighbours(quad, here) for quad in ahead)) - beside
        if len(ahead) != 2 or len(onward) != 1:
            return []
        (following,) = onward
        if following == loop[0]:
            return loop
        loop.append(following)
    return []


def _neighbours(polygon: list[int], vertex: int) -> set[int]:
    """The two vertices joined to `vertex` by the polygon's edges."""
    at = polygon.index(vertex)
    return {polygon[at - 1], polygon[(at + 1) % len(polygon)]}


def flood_faces(polygons: np.ndarray, seed_face: int, fence: list[list[int]]) -> np.ndarray:
    """Mask (F,) of the faces reached from a seed without crossing the closed vertex loops of `fence`."""
    edges, edge_of = _edges_of(polygons)
    barrier = {tuple(sorted(pair)) for loop in fence for pair in zip(loop, loop[1:] + loop[:1], strict=True)}
    open_edge = np.array([tuple(edge) not in barrier for edge in edges.tolist()])
    rows = np.repeat(np.arange(len(polygons)), polygons.shape[1])
    links = sparse.csr_matrix((open_edge[edge_of.ravel()].astype(float), (rows, edge_of.ravel())))
    _, label = sparse.csgraph.connected_components(links @ links.T, directed=False)
    return label == label[seed_face]


def boundary_loop(faces: np.ndarray) -> np.ndarray:
    """The one boundary loop of a mesh, in the direction of its faces.

    Raises:
        ValueError: the boundary is not a single simple loop.
    """
    directed = np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2)
    present = set(map(tuple, directed.tolist()))
    following = {a: b for a, b in present if (b, a) not in present}
    start = min(following, default=-1)
    loop, vertex = [start], following.get(start, start)
    while vertex != start:
        loop.append(vertex)
        vertex = following[vertex]
    if len(loop) != len(following):
        raise ValueError(f"the boundary has {len(following)} edges, its first loop {len(loop)}")
    return np.array(loop)


def triangulate(quads: np.ndarray, vertices: np.ndarray, *twins: np.ndarray) -> list[np.ndarray]:
    """Split quads along the shorter diagonal.

    Args:
        quads: (F, 4) vertex ids.
        vertices: (V, 3) positions.
        twins: further (F, 4) index arrays (texture coordinates) to split alike.

    Returns:
        (2 F, 3) triangles of `quads` and of each twin.
    """
    corner = vertices[quads]
    second = np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1) < np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1)
    turned = np.where(second[:, None], [1, 2, 3, 0], [0, 1, 2, 3])
    parts = [np.take_along_axis(array, turned, 1) for array in (quads, *twins)]
    return [part[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3) for part in parts]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals (V, 3) of a triangle mesh."""
    corner = vertices[faces]
    face_normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal = np.zeros_like(vertices)
    np.add.at(normal, faces, face_normal[:, None])
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)


class _Collapser:
    """State of a greedy half-edge collapse: quadrics, faces round each vertex, boundary."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, importance: np.ndarray):
        self.vertices, self.importance = vertices, importance
        self.faces = {index: tuple(face) for index, face in enumerate(faces.tolist())}
        self.around: dict[int, set[int]] = {}
        for index, face in self.faces.items():
            for vertex in face:
                self.around.setdefault(vertex, set()).add(index)
        self.boundary = set(boundary_loop(faces).tolist())
        self.quadric = self._quadrics(faces)

    def _quadrics(self, faces: np.ndarray) -> np.ndarray:
        corner = self.vertices[faces]
        normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        area = np.linalg.norm(normal, axis=1, keepdims=True) / 2
        normal = normal / (2 * area)
        plane = np.concatenate([normal, -np.einsum("ij,ij->i", normal, corner[:, 0])[:, None]], 1)
        quadric = np.zeros((len(self.vertices), 4, 4))
        np.add.at(quadric, faces, (area[:, :, None] * plane[:, :, None] * plane[:, None])[:, None])
        return quadric

    def ring(self, vertex: int) -> set[int]:
        return {v for face in self.around[vertex] for v in self.faces[face]} - {vertex}

    def cost(self, gone: int, kept: int) -> float:
        """Quadric error of the move plus a little squared length, which keeps triangles even on flat parts."""
        point = np.append(self.vertices[kept], 1.0)
        move = self.vertices[kept] - self.vertices[gone]
        error = point @ (self.quadric[gone] + self.quadric[kept]) @ point
        return float((error + 1e-2 * (move @ move) ** 2) * self.importance[gone])

    def allowed(self, gone: int, kept: int) -> bool:
        """The link condition (Dey et al. 1999), boundary vertices only along the boundary, and no flipped face."""
        shared = self.ring(gone) & self.ring(kept)
        common_faces = self.around[gone] & self.around[kept]
        on_edge = gone in self.boundary
        if on_edge and (kept not in self.boundary or len(common_faces) != 1):
            return False
        if len(shared) != len(common_faces) or min(len(self.around[v]) for v in shared) < (4 if not on_edge else 3):
            return False
        for face in self.around[gone] - common_faces:
            before = self.vertices[list(self.faces[face])]
            after = self.vertices[[kept if v == gone else v for v in self.faces[face]]]
            old, new = (np.cross(t[1] - t[0], t[2] - t[0]) for t in (before, after))
            if old @ new < 0.3 * np.linalg.norm(old) * np.linalg.norm(new) or new @ new < 1e-24:
                return False
        return True

    def collapse(self, gone: int, kept: int) -> None:
        for face in list(self.around[gone]):
            if kept in self.faces[face]:
                for vertex in self.faces.pop(face):
                    self.around[vertex].discard(face)
            else:
                self.faces[face] = tuple(kept if v == gone else v for v in self.faces[face])
                self.around[kept].add(face)
        del self.around[gone]
        self.quadric[kept] += self.quadric[gone]
        self.boundary.discard(gone)


def decimate(
    vertices: np.ndarray, faces: np.ndarray, n_inner: int, n_boundary: int, importance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Quadric decimation (Garland & Heckbert 1997) of a disk by half-edge collapses: vertices stay where they are.

    Args:
        vertices: (V, 3).
        faces: (F, 3) of a mesh with one boundary loop.
        n_inner, n_boundary: vertices to keep inside and on the boundary.
        importance: (V,) factor on the cost of removing a vertex.

    Returns:
        Ids (n_inner + n_boundary,) of the vertices kept, increasing, and faces (F', 3) in the new numbering.

    Raises:
        ValueError: no admissible collapse is left before the counts are reached.
    """
    state = _Collapser(vertices, faces, importance)
    target = {False: n_inner, True: n_boundary}
    count = {True: len(state.boundary), False: len(state.around) - len(state.boundary)}
    queue = [(state.cost(a, b), a, b) for a in sorted(state.around) for b in sorted(state.ring(a))]
    heapq.heapify(queue)
    while count != target:
        if not queue:
            raise ValueError(f"decimation stopped at {count[False]} inner and {count[True]} boundary vertices")
        cost, gone, kept = heapq.heappop(queue)
        if gone not in state.around or kept not in state.around or kept not in state.ring(gone):
            continue
        kind = gone in state.boundary
        if count[kind] <= target[kind]:
            continue
        current = state.cost(gone, kept)
        if current > cost * (1 + 1e-9):
            heapq.heappush(queue, (current, gone, kept))
            continue
        if not state.allowed(gone, kept):
            continue
        state.collapse(gone, kept)
        count[kind] -= 1
        for vertex in sorted(state.ring(kept)):
            heapq.heappush(queue, (state.cost(kept, vertex), kept, vertex))
            heapq.heappush(queue, (state.cost(vertex, kept), vertex, kept))
    ids = np.array(sorted(state.around))
    number = {int(v): k for k, v in enumerate(ids)}
    return ids, np.array([[number[v] for v in state.faces[face]] for face in sorted(state.faces)])
