"""Labels out of the rendered geometry: classes, planar depth, joint visibility, occlusion; no second render.

A z-buffer samples each pixel at its centre, with the exact K. Triangles are set up in homogeneous coordinates, so
that those reaching behind the camera need no clipping (Olano & Greer 1997, "Triangle scan conversion using 2D
homogeneous coordinates").
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from handgap.core.conventions import FINGERTIPS, MaskLabel
from handgap.core.geometry import project
from handgap.render.spec import GeometryError, MeshPart, SceneSpec

NEAR, FARTHEST = 0.005, 65.0  # metres; depth is stored as 16-bit millimetres
PAIRS_PER_PASS = 2_000_000  # bounds the memory of one pass over (face, pixel) pairs
# a joint is seen when the first surface on its pixel is not further in front of it than its own flesh, times and plus
FLESH_FACTOR, FLESH_SLACK = 1.4, 0.005


@dataclass(frozen=True)
class Labels:
    """Labels of one picture.

    Attributes:
        mask: (H, W) uint8 `MaskLabel`.
        depth: (H, W) float32 planar depth in metres, 0 = background.
        visibility: (21,) bool, the joint lies in the image and its own skin is what is seen there.
        occlusion: share of the hand's pixels that objects hide, 0..1.
    """

    mask: np.ndarray
    depth: np.ndarray
    visibility: np.ndarray
    occlusion: float


def rasterise(
    vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest face and its depth at each pixel's centre; both sides of a face count.

    Args:
        vertices: (V, 3) metres, OpenCV camera frame.
        faces: (F, 3).
        K: (3, 3) pixel centres at integer + 0.5.
        width, height: px.

    Returns:
        face (H, W) int64, -1 = none; depth (H, W) float64 metres, inf = none.
    """
    depth = np.full(width * height, np.inf)
    face = np.full(width * height, -1)
    # (corner, axis, face): NumPy reduces short axes fast only where they come first
    points = np.asarray(K, np.float64) @ vertices.T.astype(np.float64)
    corners = np.stack([points.take(corner, 1) for corner in faces.T])
    # rows e_k with e_k . corner_j = [j = k]: e_k . (u, v, 1) = barycentric_k / depth, linear in the picture
    edges = np.stack([np.cross(corners[k - 2], corners[k - 1], axis=0) for k in range(3)])
    determinant = (corners[0] * edges[0]).sum(0)
    scale = np.abs(corners).max((0, 1)) ** 3
    usable = np.flatnonzero((corners[:, 2].max(0) > NEAR) & (np.abs(determinant) > 1e-15 * scale))
    corners, edges = corners.take(usable, 2), edges.take(usable, 2) / determinant[usable]
    low, high = _bounds(corners, width, height)
    span = np.maximum(high - low, 0)
    pairs = span[0] * span[1]
    for chunk in np.array_split(np.arange(len(usable)), max(1, int(np.ceil(pairs.sum() / PAIRS_PER_PASS)))):
        row = np.repeat(chunk, pairs[chunk])
        within = np.arange(len(row)) - np.repeat(np.cumsum(pairs[chunk]) - pairs[chunk], pairs[chunk])
        down, right = np.divmod(within, span[0, row])
        x, y = low[0, row] + right, low[1, row] + down
        u, v, constant = (edges[:, axis].take(row, 1) for axis in range(3))
        weight = u * (x + 0.5) + v * (y + 0.5) + constant
        inverse_depth = weight.sum(0)
        inside = (weight >= 0).all(0) & (inverse_depth > 0) & (inverse_depth < 1.0 / NEAR)
        pixel, z, hit = (y * width + x)[inside], 1.0 / inverse_depth[inside], usable[row[inside]]
        order = np.lexsort((hit, z))[::-1]  # the nearest is written last
        nearer = order[z[order] < depth[pixel[order]]]
        depth[pixel[nearer]], face[pixel[nearer]] = z[nearer], hit[nearer]
    return face.reshape(height, width), depth.reshape(height, width)


def _bounds(corners: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last pixel (2, F) a face can cover; all of them when it reaches behind the camera."""
    size = np.array([[width], [height]])
    behind = (corners[:, 2] <= NEAR).any(0)
    screen = corners[:, :2] / np.where(behind, 1.0, corners[:, 2])[:, None]
    low = np.clip(np.ceil(screen.min(0) - 0.5), 0, size).astype(np.int64)
    high = np.clip(np.floor(screen.max(0) + 0.5), 0, size).astype(np.int64)
    return np.where(behind, 0, low), np.where(behind, size, high)


def _merge(parts: list[MeshPart]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices for part in parts])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    return vertices, faces, np.concatenate([part.face_labels for part in parts])


def label(spec: SceneSpec, joints: np.ndarray) -> Labels:
    """Labels of a scene.

    Args:
        spec: the scene as rendered (without its depth of field).
        joints: (21, 3) metres, camera frame, simple order.

    Raises:
        GeometryError: no part carries the hand's class, vertices are not finite, no pixel shows the hand, or a part is
            too far away.
    """
    vertices, faces, classes = _merge(spec.parts)
    if not (classes == MaskLabel.HAND).any():
        raise GeometryError("no hand in the scene")
    if not np.isfinite(vertices).all():
        raise GeometryError("vertices are not finite")
    face, depth = rasterise(vertices, faces, spec.K, spec.width, spec.height)
    mask = np.where(face >= 0, classes[face], MaskLabel.BACKGROUND).astype(np.uint8)
    if not (mask == MaskLabel.HAND).any():
        raise GeometryError("no pixel shows the hand")
    if depth[np.isfinite(depth)].max() > FARTHEST:
        raise GeometryError(f"something in the picture is more than {FARTHEST:.0f} m away")
    flesh = vertices[np.unique(faces[classes == MaskLabel.HAND])]
    return Labels(
        mask=mask,
        depth=np.where(np.isfinite(depth), depth, 0.0).astype(np.float32),
        visibility=_visibility(spec, joints, flesh, mask, depth),
        occlusion=_occlusion(spec, vertices, faces, classes, mask),
    )


def _visibility(
    spec: SceneSpec, joints: np.ndarray, flesh: np.ndarray, mask: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    radius = cKDTree(flesh).query(joints)[0]
    radius[list(FINGERTIPS)] = 2.0 * radius[[tip - 1 for tip in FINGERTIPS]]  # tips lie on the skin: the whole finger
    pixel = np.floor(project(joints, np.asarray(spec.K, np.float64))).astype(int)
    inside = ((pixel >= 0) & (pixel < [spec.width, spec.height])).all(1) & (joints[:, 2] > NEAR)
    x, y = np.where(inside[:, None], pixel, 0).T
    in_front = joints[:, 2] - depth[y, x]
    own = np.isin(mask[y, x], (MaskLabel.HAND, MaskLabel.ARM, MaskLabel.BACKGROUND))
    behind = in_front < 0  # a tip on the silhouette may miss the hand's pixels: what is seen there lies behind it
    return inside & (behind | (own & (in_front <= FLESH_FACTOR * radius + FLESH_SLACK)))


def _occlusion(
    spec: SceneSpec, vertices: np.ndarray, faces: np.ndarray, classes: np.ndarray, mask: np.ndarray
) -> float:
    if not (mask == MaskLabel.OBJECT).any():
        return 0.0
    bare = classes != MaskLabel.OBJECT
    face, _ = rasterise(vertices, faces[bare], spec.K, spec.width, spec.height)
    hand = (face >= 0) & (classes[bare][face] == MaskLabel.HAND)
    return float((hand & (mask == MaskLabel.OBJECT)).sum() / max(hand.sum(), 1))
