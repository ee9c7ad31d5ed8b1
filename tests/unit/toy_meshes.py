"""A mesh hierarchy for the toy hand."""

import numpy as np
from handgap.core.seeds import rng
from handgap.hands.hierarchy import Hierarchy, Level, Link
from scipy import sparse
from toys import N_VERTICES, partition


def toy_hierarchy(faces: np.ndarray, sizes: tuple[int, ...] = (N_VERTICES, 389, 195, 98, 49)) -> Hierarchy:
    """A hierarchy of the published sizes in which nothing is near anything: its arrays have the right form only."""
    generator = rng(0, "tests/toy_hierarchy")
    levels, links, ids = [], [], np.arange(sizes[0])
    for size, coarser in zip(sizes, (*sizes[1:], None), strict=True):
        around = generator.permuted(np.tile(np.arange(size), (size, 1)), axis=1)[:, :26]
        edges = sparse.random(size, size, 0.02, random_state=0) + sparse.eye(size)
        own = faces if size == sizes[0] else generator.integers(0, size, (2 * size, 3))
        levels.append(Level(ids, own, np.c_[np.arange(size), around], sparse.csr_matrix(edges / edges.sum(1))))
        if coarser is not None:
            down = np.sort(generator.permutation(size)[:coarser])
            links.append(Link(down, generator.integers(0, coarser, (size, 3)), partition(generator, size, 3)))
            ids = ids[down]
    return Hierarchy(tuple(levels), tuple(links))
