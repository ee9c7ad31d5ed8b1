"""Coarser and coarser versions of a template's mesh, with the maps between them: what mesh networks decode through."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from handgap.core.errors import HandgapError
from handgap.core.files import read_arrays, write_npz
from handgap.hands.correspondence import closest_on_surface
from handgap.hands.qslim import compactness, contract
from handgap.hands.spirals import one_rings, spirals

HALVINGS = 4
SPIRAL_LENGTH = 27  # CMR's at all levels
SAME_PLACE = 1e-6  # of the template's extent
NO_AREA = 1e-6  # compactness


@dataclass(frozen=True)
class Level:
    """One mesh of a hierarchy, V vertices.

    Attributes:
        ids: (V,) the template's vertices it has, increasing.
        faces: (F, 3) in its own numbering, wound as the template's.
        spirals: (V, L), see `spirals.spirals`.
        adjacency: sparse (V, V), see `normalised_adjacency`.
    """

    ids: np.ndarray
    faces: np.ndarray
    spirals: np.ndarray
    adjacency: sparse.csr_matrix


@dataclass(frozen=True)
class Link:
    """The maps between a level of V vertices and the next coarser of W.

    Attributes:
        down: (W,) vertices of the finer level that the coarser one has.
        up_vertices: (V, 3) vertices of the coarser level that each of the finer draws on.
        up_weights: (V, 3) how much; rows sum to 1.
    """

    down: np.ndarray
    up_vertices: np.ndarray
    up_weights: np.ndarray

    def down_matrix(self) -> sparse.csr_matrix:
        """(W, V): takes the coarser level's vertices out of the finer's."""
        rows = np.arange(len(self.down))
        return sparse.csr_matrix((np.ones(len(rows)), (rows, self.down)), (len(rows), len(self.up_vertices)))

    def up_matrix(self) -> sparse.csr_matrix:
        """(V, W): any per-vertex quantity of the finer level from the coarser's."""
        rows = np.repeat(np.arange(len(self.up_vertices)), 3)
        shape = (len(self.up_vertices), len(self.down))
        matrix = sparse.csr_matrix((self.up_weights.ravel(), (rows, self.up_vertices.ravel())), shape)
        matrix.eliminate_zeros()
        return matrix


@dataclass(frozen=True)
class Hierarchy:
    """Levels from the template itself to the coarsest, and the links between neighbours."""

    levels: tuple[Level, ...]
    links: tuple[Link, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Vertices of each level, finest first."""
        return tuple(len(level.ids) for level in self.levels)

    def interpolation(self, level: int) -> sparse.csr_matrix:
        """(V, W): any per-vertex quantity of the template from that of a level of W vertices."""
        matrix = sparse.identity(self.sizes[0], format="csr")
        for link in self.links[:level]:
            matrix = matrix @ link.up_matrix()
        return matrix

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file written by `save`.

        Raises:
            MissingAssetError: there is no such file.
            CorruptFileError: it is truncated, or no hierarchy.
        """
        count = len(read_arrays(path, ["sizes"])["sizes"])
        names = [f"{name}_{k}" for k in range(count) for name in _LEVEL_ARRAYS]
        names += [f"{name}_{k}" for k in range(count - 1) for name in _LINK_ARRAYS]
        arrays = read_arrays(path, names)
        levels, links = [], []
        for k in range(count):
            ids, faces, turns, entries, weights = (arrays[f"{name}_{k}"] for name in _LEVEL_ARRAYS)
            adjacency = sparse.csr_matrix((weights, tuple(entries.T)), (len(ids), len(ids)))
            levels.append(Level(ids, faces, turns, adjacency))
        for k in range(count - 1):
            links.append(Link(*(arrays[f"{name}_{k}"] for name in _LINK_ARRAYS)))
        return cls(tuple(levels), tuple(links))

    def save(self, path: Path, about: dict[str, np.ndarray]) -> None:
        """Write plain arrays (docs/hands.md), the same bytes each time.

        Args:
            path: the `.npz` file.
            about: further arrays: `licence` and `source` of the template.

        Raises:
            DiskFullError: no room left; nothing of the file remains.
        """
        arrays = {"sizes": np.array(self.sizes), **about}
        for k, level in enumerate(self.levels):
            entries = level.adjacency.tocoo()
            places = np.stack([entries.row, entries.col], 1)
            values = (level.ids, level.faces, level.spirals, places, entries.data)
            arrays |= {f"{name}_{k}": value for name, value in zip(_LEVEL_ARRAYS, values, strict=True)}
        for k, link in enumerate(self.links):
            arrays |= {f"{name}_{k}": getattr(link, name) for name in _LINK_ARRAYS}
        write_npz(path, arrays)


_LEVEL_ARRAYS = ("ids", "faces", "spirals", "adjacency_ids", "adjacency_weights")
_LINK_ARRAYS = ("down", "up_vertices", "up_weights")


def halved(n_vertices: int, times: int = HALVINGS) -> list[int]:
    """Sizes of the coarser levels when each has half the vertices of the one before, rounded up: 389, 195, 98, 49."""
    return [-(-n_vertices // 2**k) for k in range(1, times + 1)]


def build_hierarchy(
    vertices: np.ndarray,
    faces: np.ndarray,
    sizes: Sequence[int] | None = None,
    spiral_length: int = SPIRAL_LENGTH,
    dilation: int = 1,
    what: object = "template",
) -> Hierarchy:
    """Hierarchy of any manifold template, open or closed.

    Args:
        vertices: (V, 3), any unit.
        faces: (F, 3), counter-clockwise from outside.
        sizes: vertices of the coarser levels, decreasing; `halved` without them.
        spiral_length, dilation: of the spirals at every level.
        what: the template's name in errors.

    Raises:
        HandgapError: the template is no clean manifold (`check_template`), or sizes and spirals do not fit it.
    """
    check_template(vertices, faces, what)
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    sizes = halved(len(vertices)) if sizes is None else list(sizes)
    counts = [len(vertices), *sizes]
    if sorted(set(counts), reverse=True) != counts:
        raise HandgapError(what, f"{len(vertices)} vertices thinned to {sizes}", "sizes that decrease")
    wound = (spiral_length - 1) * dilation + 1
    if wound > counts[-1]:
        problem = f"its coarsest mesh has {counts[-1]} vertices, and a spiral winds over {wound}"
        raise HandgapError(what, problem, "take larger levels, shorter spirals or less dilation")
    try:
        thinned = contract(vertices, faces, sizes)
    except ValueError as error:
        raise HandgapError(what, str(error), f"take larger levels than {sizes[-1]}") from error
    levels = []
    for ids, mesh in [(np.arange(len(vertices)), faces), *thinned]:
        turns = spirals(vertices[ids], mesh, spiral_length, dilation)
        levels.append(Level(ids, mesh, turns, normalised_adjacency(mesh, len(ids))))
    links = [_link(vertices, *pair) for pair in pairwise(levels)]
    return Hierarchy(tuple(levels), tuple(links))


def _link(vertices: np.ndarray, fine: Level, coarse: Level) -> Link:
    down = np.searchsorted(fine.ids, coarse.ids)
    return Link(down, *upsampling(vertices[fine.ids], vertices[coarse.ids], coarse.faces, down))


def upsampling(
    fine: np.ndarray, coarse: np.ndarray, faces: np.ndarray, down: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices as points of a coarser mesh: the closest ones, in barycentric coordinates.

    COMA (Ranjan et al. 2018, section 3), with the weights of the closest point where its code solves least squares,
    whose rows do not sum to 1.

    Args:
        fine: (V, 3).
        coarse: (W, 3), in the unit and frame of `fine`.
        faces: (F, 3) of the coarser mesh.
        down: (W,) ids of its vertices in the finer one; they get themselves and nothing else.

    Returns:
        Vertex ids of the coarser mesh and weights, both (V, 3); weights are not negative and rows sum to 1.
    """
    face, bary, _ = closest_on_surface(fine, coarse, faces)
    weights = np.maximum(bary, 0.0)
    weights /= weights.sum(1, keepdims=True)
    ids = faces[face]
    ids[down], weights[down] = np.arange(len(down))[:, None], (1.0, 0.0, 0.0)
    return ids, weights


def normalised_adjacency(faces: np.ndarray, n_vertices: int) -> sparse.csr_matrix:
    """D^-1 (A + I) of a mesh's edges (Kipf & Welling 2017, by rows as in MeshGraphormer, Lin et al. 2021): (V, V).

    Args:
        faces: (F, 3).
        n_vertices: V.
    """
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2)
    own = np.repeat(np.arange(n_vertices)[:, None], 2, 1)
    rows, columns = np.unique(np.concatenate([ends, ends[:, ::-1], own]), axis=0).T
    weights = 1.0 / np.bincount(rows)[rows]
    return sparse.csr_matrix((weights, (rows, columns)), (n_vertices, n_vertices))


def check_template(vertices: np.ndarray, faces: np.ndarray, what: object = "template") -> None:
    """Refuse a mesh that cannot be thinned or walked round.

    Args:
        vertices: (V, 3), any unit.
        faces: (F, 3).
        what: its name in errors.

    Raises:
        HandgapError: an id out of range, a place that is no number, vertices without a face or at one place, a face
            without area, neighbouring faces wound against each other, or a vertex where several sheets touch.
    """
    for fault, cure in _faults(np.asarray(vertices, np.float64), np.asarray(faces)):
        if fault:
            raise HandgapError(what, fault, cure)


def _faults(vertices: np.ndarray, faces: np.ndarray) -> Iterator[tuple[str, str]]:
    """Checks in turn, each of which may rely on those before: what is wrong, empty if nothing is, and its cure."""
    count = len(vertices)
    outside = np.flatnonzero(((faces < 0) | (faces >= count)).any(1))
    yield _said(outside, f"faces name vertices that are none of its {count}"), "take faces and vertices of one mesh"
    nowhere = np.flatnonzero(~np.isfinite(vertices).all(1))
    yield _said(nowhere, "vertices are not at finite places"), "repair the file they come from"
    alone = np.setdiff1d(np.arange(count), faces)
    yield _said(alone, "vertices belong to no face"), "drop them, or take all faces of the mesh"
    apart = SAME_PLACE * np.ptp(vertices, axis=0).max()
    twins = np.unique(cKDTree(vertices).query_pairs(apart, output_type="ndarray"))
    yield _said(twins, "vertices share their place with another"), "merge them: seams of texture are no edges"
    # a face whose corners are one vertex has no compactness at all
    with np.errstate(invalid="ignore"):
        flat = np.flatnonzero(~(compactness(vertices[faces]) > NO_AREA))
    yield _said(flat, "faces have no area"), "drop them, or part their corners"
    directed = np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2)
    edges, times = np.unique(directed, axis=0, return_counts=True)
    against = edges[times > 1]
    cure = "wind all faces counter-clockwise from outside, two at an edge"
    yield _said(against[:, 0], "edges run along two faces the same way"), cure
    degree = np.bincount(np.unique(np.sort(edges, axis=1), axis=0).ravel(), minlength=count)
    pinched = np.flatnonzero([len(ring) != n for ring, n in zip(one_rings(faces, count), degree, strict=True)])
    yield _said(pinched, "vertices join sheets that share no edge"), "give each sheet a vertex of its own"


def _said(ids: np.ndarray, fault: str) -> str:
    return f"{len(ids)} {fault} (first: {ids[0]})" if len(ids) else ""
