"""The render hand's texture atlas: MakeHuman's own hand island made to fill the map, the forearm and caps beside it."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

# (left, bottom, right, top) of each island; found by looking at the layout
HAND_BOX = (0.01, 0.01, 0.99, 0.99)
FOREARM_BOX = (0.01, 0.01, 0.25, 0.27)
STUMP_BOX = (0.01, 0.88, 0.11, 0.98)
ELBOW_BOX = (0.13, 0.88, 0.23, 0.98)


@dataclass
class Atlas:
    """Texture coordinates of the render hand.

    Attributes:
        uv: (T, 2), v up.
        source_uv: (T, 2) the same corners in MakeHuman's body atlas; on caps that of the ring's first corner.
        faces_stump, faces_forearm: (F, 3) ids into `uv`, face by face as the mesh.
    """

    uv: np.ndarray
    source_uv: np.ndarray
    faces_stump: np.ndarray
    faces_forearm: np.ndarray


def _fit(points: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Scale points (N, 2) evenly into the middle of a box."""
    low, high = points.min(0), points.max(0)
    corner, size = np.array(box[:2]), np.subtract(box[2:], box[:2])
    scale = (size / (high - low)).min()
    return corner + size / 2 + (points - (low + high) / 2) * scale


def build_atlas(
    source_uv: np.ndarray,
    shell_uv: np.ndarray,
    of_hand: np.ndarray,
    shell: np.ndarray,
    stump_cap: np.ndarray,
    elbow_cap: np.ndarray,
) -> Atlas:
    """Lay out hand, forearm and the two cap discs.

    Args:
        source_uv: (T, 2) MakeHuman's coordinates.
        shell_uv: (F, 3) ids into `source_uv` of the skin's triangles.
        of_hand: (F,) bool, triangles of the hand.
        shell: (F, 3) vertex ids of the same triangles.
        stump_cap, elbow_cap: (B, 3) fans: ring, ring, centre.
    """
    used, skin_faces = np.unique(shell_uv, return_inverse=True)
    skin_faces = skin_faces.reshape(-1, 3)
    pairs = (skin_faces[:, [0, 1]].ravel(), skin_faces[:, [1, 2]].ravel())
    _, island = sparse.csgraph.connected_components(sparse.csr_matrix((np.ones(len(pairs[0])), pairs)), directed=False)
    # the forearm's island begins a little on the hand's side of the wrist cut
    on_hand = island == np.bincount(island[skin_faces[of_hand]].ravel()).argmax()
    skin_uv = source_uv[used]
    skin_uv[on_hand], skin_uv[~on_hand] = _fit(skin_uv[on_hand], HAND_BOX), _fit(skin_uv[~on_hand], FOREARM_BOX)
    parts_uv, parts_source, start = [skin_uv], [source_uv[used]], len(used)
    caps = []
    corner_of = dict(zip(shell.ravel().tolist(), shell_uv.ravel().tolist(), strict=True))
    for cap, box in ((stump_cap, STUMP_BOX), (elbow_cap, ELBOW_BOX)):
        n = len(cap)
        angle = 2 * np.pi * np.arange(n) / n
        ring = np.stack([np.cos(angle), np.sin(angle)], 1)
        parts_uv.append(_fit(np.concatenate([ring, np.zeros((1, 2))]), box))
        parts_source.append(np.repeat(source_uv[[corner_of[int(cap[0, 1])]]], n + 1, 0))
        at = np.arange(n)
        caps.append(start + np.stack([(at + 1) % n, at, np.full(n, n)], 1))
        start += n + 1
    return Atlas(
        uv=np.concatenate(parts_uv),
        source_uv=np.concatenate(parts_source),
        faces_stump=np.concatenate([skin_faces[of_hand], caps[0]]),
        faces_forearm=np.concatenate([skin_faces[of_hand], skin_faces[~of_hand], caps[1]]),
    )
