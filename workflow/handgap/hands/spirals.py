"""Spirals over a mesh: for each vertex a fixed number of vertices round it, always in the same order."""

import numpy as np


def one_rings(faces: np.ndarray, n_vertices: int) -> list[list[int]]:
    """Neighbours of each vertex in order: counter-clockwise seen from the side that faces are counter-clockwise from.

    The ring of an inner vertex starts at its smallest id; that of a boundary vertex at the end that has no predecessor.
    A vertex without faces has an empty ring; of a vertex where several fans of faces meet, the ring is one fan.

    Args:
        faces: (F, 3) that never have an edge twice in the same direction.
        n_vertices: V.
    """
    following: list[dict[int, int]] = [{} for _ in range(n_vertices)]
    for a, b, c in faces.tolist():
        following[a][b], following[b][c], following[c][a] = c, a, b
    return [_fan(after) for after in following]


def _fan(after: dict[int, int]) -> list[int]:
    start = min(after.keys() - after.values() or after, default=None)
    if start is None:
        return []
    ring = [start]
    while (vertex := after.get(ring[-1], start)) != start:
        ring.append(vertex)
    return ring


def spirals(vertices: np.ndarray, faces: np.ndarray, length: int, dilation: int = 1) -> np.ndarray:
    """Spirals of SpiralNet++ (Gong et al. 2019, section 3.1; CMR, Chen et al. 2021): vertex, ring, next ring, ...

    The first ring is that of `one_rings`; the next ring are the neighbours of its vertices not met before, vertex by
    vertex, each one's counter-clockwise from the vertex that led to it: the spiral turns one way throughout. Where it
    has wound over all that is connected, the nearest vertices left follow.

    Args:
        vertices: (V, 3), any unit.
        faces: (F, 3), see `one_rings`.
        length: L.
        dilation: take each dilation-th vertex of the spiral.

    Returns:
        (V, L) vertex ids, none twice in a row; the first is the vertex itself.

    Raises:
        ValueError: the mesh has too few vertices.
    """
    reach = (length - 1) * dilation + 1
    if reach > len(vertices):
        raise ValueError(f"spirals of {length} vertices, dilation {dilation}, on a mesh of {len(vertices)}")
    rings = one_rings(faces, len(vertices))
    return np.array([_spiral(v, rings, vertices, reach)[:reach:dilation] for v in range(len(vertices))])


def _spiral(start: int, rings: list[list[int]], vertices: np.ndarray, reach: int) -> list[int]:
    order, led_by = [start], {start: start}
    done = 0
    while done < len(order) < reach:
        vertex = order[done]
        ring = rings[vertex]
        first = ring.index(led_by[vertex]) + 1 if done else 0
        for other in ring[first:] + ring[:first]:
            if other not in led_by:
                led_by[other] = vertex
                order.append(other)
        done += 1
    if len(order) < reach:
        away = np.linalg.norm(vertices - vertices[start], axis=1)
        order += [v for v in np.argsort(away, kind="stable").tolist() if v not in led_by]
    return order
