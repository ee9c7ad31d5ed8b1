"""Solids that a hand can hold: a mesh and the signed distance to its outside, of three families.

Each lives in its own frame, in metres: the long axis is z and the origin is where it is held.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """Triangles with texture coordinates.

    Attributes:
        vertices: (V, 3) metres.
        faces: (F, 3) vertex ids, counter-clockwise seen from outside.
        uv: (T, 2), v upwards.
        uv_faces: (F, 3) ids into `uv`.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray


class Solid(Protocol):
    """What a grasp and a picture need to know of a thing."""

    mesh: Mesh

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Signed distance (...,) in metres of points (..., 3) to the outside, < 0 within."""


def grid_mesh(points: np.ndarray, u: np.ndarray, v: np.ndarray) -> Mesh:
    """Mesh of a grid of points (R, C, 3) whose columns wrap round; texture coordinates u (C + 1,) and v (R,)."""
    rows, columns = points.shape[:2]
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    corner = np.stack([r, r, r + 1, r + 1], -1), np.stack([c, c + 1, c + 1, c], -1)
    around = (corner[0] * columns + corner[1] % columns).reshape(-1, 4)
    chart = (corner[0] * (columns + 1) + corner[1]).reshape(-1, 4)
    uv = np.stack(np.broadcast_arrays(u[None], v[:, None]), -1).reshape(-1, 2)
    triangles = [[0, 1, 2], [0, 2, 3]]
    return _without_slivers(
        Mesh(points.reshape(-1, 3), around[:, triangles].reshape(-1, 3), uv, chart[:, triangles].reshape(-1, 3))
    )


def _without_slivers(mesh: Mesh) -> Mesh:
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    kept = area > 1e-12
    return Mesh(mesh.vertices, mesh.faces[kept], mesh.uv, mesh.uv_faces[kept])


def join(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one."""
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    first_uv = np.cumsum([0, *(len(mesh.uv) for mesh in meshes[:-1])])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + k for mesh, k in zip(meshes, first, strict=True)]),
        np.concatenate([mesh.uv for mesh in meshes]),
        np.concatenate([mesh.uv_faces + k for mesh, k in zip(meshes, first_uv, strict=True)]),
    )


def _round_corners(profile: np.ndarray, radius: float) -> np.ndarray:
    """Polyline (P, 2) with each inner corner cut by a short quadratic arc."""
    rounded = [profile[:1]]
    for before, corner, after in zip(profile[:-2], profile[1:-1], profile[2:], strict=True):
        ends = []
        for other in (before, after):
            length = np.linalg.norm(other - corner)
            ends.append(corner + (other - corner) * min(radius / length, 0.45))
        t = np.linspace(0, 1, 5)[:, None]
        rounded.append((1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * corner + t**2 * ends[1])
    return np.concatenate([*rounded, profile[-1:]])


@dataclass(frozen=True)
class Lathe:
    """A solid of revolution about z, hollow or not, with an optional handle.

    Attributes:
        profile: (P, 2) radius and height from the bottom's centre up the outside; both ends on the axis.
        cavity: depth of an opening from the top, 0 = none.
        wall: thickness of the wall round the cavity.
        handle: reach of a handle at +x, 0 = none.
        corner: radius of the corners.
    """

    profile: np.ndarray
    cavity: float = 0.0
    wall: float = 0.003
    handle: float = 0.0
    corner: float = 0.002

    @cached_property
    def outline(self) -> np.ndarray:
        """(Q, 2) outside profile with rounded corners."""
        return _round_corners(self.profile, self.corner) if self.corner else self.profile

    @cached_property
    def _handle(self) -> "Tube":
        radius, height = self.profile[:, 0].max(), np.ptp(self.profile[:, 1])
        angle = np.linspace(-np.pi / 2, np.pi / 2, 14)
        middle = self.profile[:, 1].mean()
        x, z = radius - self.wall / 2 + self.handle * np.cos(angle) ** 0.7, middle + 0.3 * height * np.sin(angle)
        return Tube(np.stack([x, np.zeros_like(x), z], 1), np.full(14, 0.0055))

    @cached_property
    def mesh(self) -> Mesh:
        """Texture: u once round, v from the bottom (0) to the top (1) by height; the inside shows v = 1."""
        outline = _finer(self.outline)
        bottom, top = outline[:, 1].min(), outline[:, 1].max()
        outside = len(outline)
        if self.cavity:
            opening = self.profile[-2, 0] - self.wall
            outline = outline[(outline[:, 1] < top - 1e-6) | (outline[:, 0] > opening)]
            outside = len(outline)
            wall = outline[(outline[:, 1] > top - self.cavity) & (outline[:, 1] < top - self.wall)][::-1]
            wall = wall - [self.wall, 0.0]
            outline = np.concatenate([outline, [[opening, top - self.wall / 2]], wall, [[0.0, wall[-1, 1]]]])
        v = np.clip((outline[:, 1] - bottom) / (top - bottom), 0, 1)
        v[outside:] = 1.0
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        points = np.stack(
            [
                outline[:, :1] * np.cos(angle),
                outline[:, :1] * np.sin(angle),
                np.broadcast_to(outline[:, 1:], (len(outline), 64)),
            ],
            -1,
        )
        body = grid_mesh(points, np.linspace(0, 1, 65), v)
        return join([body, self._handle.mesh]) if self.handle else body

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Exact for the filled outside; a handle is a union."""
        flat = np.stack([np.hypot(points[..., 0], points[..., 1]), points[..., 2]], -1)
        signed = _polygon_distance(flat, self.outline)
        return np.minimum(signed, self._handle.distance(points)) if self.handle else signed


def _finer(outline: np.ndarray, step: float = 0.008) -> np.ndarray:
    """Long segments of the outline in steps, so that smooth normals stay flat on flat parts."""
    pieces = []
    for a, b in pairwise(outline):
        n = max(1, int(np.ceil(np.linalg.norm(b - a) / step)))
        pieces.append(a + (b - a) * np.arange(n)[:, None] / n)
    return np.concatenate([*pieces, outline[-1:]])


def _polygon_distance(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Signed distance in the half-plane radius >= 0 to the region between `outline` (Q, 2) and the axis."""
    shape, points = points.shape[:-1], points.reshape(-1, 2)
    nearest = np.full(len(points), np.inf)
    inside = np.zeros(len(points), bool)
    for a, b in pairwise(outline):
        edge, offset = b - a, points - a
        t = np.clip(offset @ edge / max(edge @ edge, 1e-18), 0, 1)
        nearest = np.minimum(nearest, ((offset - t[:, None] * edge) ** 2).sum(1))
        if a[1] != b[1]:
            crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
            inside ^= crosses & (points[:, 0] < a[0] + (points[:, 1] - a[1]) / edge[1] * edge[0])
    return (np.sqrt(nearest) * np.where(inside, -1.0, 1.0)).reshape(shape)


@dataclass(frozen=True)
class Block:
    """A box with rounded edges.

    Attributes:
        half: (3,) half edges.
        edge: radius of the edges.
    """

    half: np.ndarray
    edge: float

    @cached_property
    def mesh(self) -> Mesh:
        """Texture: the six sides in 3 x 2 fields, -x +x -y in the lower row, +y -z +z in the upper."""
        t = np.array([-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0])  # four arcs' points at each end
        n, arc = 8, np.sin(np.linspace(0, np.pi / 4, 4))[::-1] / np.sin(np.pi / 4)
        sides = []
        for side in range(6):
            axis, sign = side // 2, 1.0 if side % 2 else -1.0
            a, b = [(axis + k) % 3 for k in (1, 2)] if sign > 0 else [(axis + k) % 3 for k in (2, 1)]
            # directions on the cube: a fan of the rounded edge at each end, flat between
            tan = t * np.concatenate([arc, arc[::-1]])
            flat = np.array([-1, -1, -1, -1, 1, 1, 1, 1]) * (np.asarray(self.half)[:, None] - self.edge)
            normal = np.zeros((n, n, 3))
            normal[..., axis], normal[..., a], normal[..., b] = sign, tan[:, None], tan[None, :]
            normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
            base = np.zeros((n, n, 3))
            base[..., axis] = sign * (self.half[axis] - self.edge)
            base[..., a], base[..., b] = flat[a][:, None], flat[b][None, :]
            points = base + self.edge * normal
            i, j = np.meshgrid(np.arange(n - 1), np.arange(n - 1), indexing="ij")
            quads = np.stack([i * n + j, (i + 1) * n + j, (i + 1) * n + j + 1, i * n + j + 1], -1).reshape(-1, 4)
            faces = quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
            share = np.stack(
                [points[..., k] / (2 * self.half[k]) + 0.5 for k in ((a, b) if axis != 2 or sign > 0 else (b, a))], -1
            )
            uv = (np.clip(share, 0, 1) * 0.98 + 0.01 + [side % 3, side // 3]) / [3, 2]
            sides.append(Mesh(points.reshape(-1, 3), faces, uv.reshape(-1, 2), faces))
        return _welded(join(sides))

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Exact."""
        over = np.abs(points) - (np.asarray(self.half) - self.edge)
        outside = np.linalg.norm(np.maximum(over, 0.0), axis=-1)
        return outside + np.minimum(over.max(-1), 0.0) - self.edge


def _welded(mesh: Mesh) -> Mesh:
    _, first, compact = np.unique(np.round(mesh.vertices, 7), axis=0, return_index=True, return_inverse=True)
    return _without_slivers(Mesh(mesh.vertices[first], compact.reshape(-1)[mesh.faces], mesh.uv, mesh.uv_faces))


@dataclass(frozen=True)
class Tube:
    """A bent tube of changing thickness.

    Attributes:
        path: (P, 3) centre line in the plane y = 0.
        radii: (P,) radius along it.
    """

    path: np.ndarray
    radii: np.ndarray

    @cached_property
    def mesh(self) -> Mesh:
        """Texture: u once round, v along the path."""
        along = np.gradient(self.path, axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        across = np.broadcast_to([0.0, 1.0, 0.0], along.shape)
        up = np.cross(along, across)
        # round caps
        cap = np.linspace(0, np.pi / 2, 5)[:-1]
        start = [(self.path[0] - along[0] * self.radii[0] * np.cos(a), self.radii[0] * np.sin(a), 0) for a in cap]
        end = [
            (self.path[-1] + along[-1] * self.radii[-1] * np.sin(a), self.radii[-1] * np.cos(a), -1)
            for a in [*cap[1:], np.pi / 2]
        ]
        rings = [*start, *zip(self.path, self.radii, range(len(self.path)), strict=True), *end]
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
        points = np.stack([c + r * (np.cos(angle) * across[k] + np.sin(angle) * up[k]) for c, r, k in rings])
        return grid_mesh(points, np.linspace(0, 1, 25), np.linspace(0, 1, len(rings)))

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance to the centre line less the radius there: exact where the radius is constant."""
        nearest = np.full(points.shape[:-1], np.inf)
        for a, b, r, s in zip(self.path[:-1], self.path[1:], self.radii[:-1], self.radii[1:], strict=True):
            offset, edge = points - a, b - a
            t = np.clip(offset @ edge / (edge @ edge), 0, 1)
            nearest = np.minimum(nearest, np.linalg.norm(offset - t[..., None] * edge, axis=-1) - r - t * (s - r))
        return nearest
