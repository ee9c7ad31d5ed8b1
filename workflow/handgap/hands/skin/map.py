"""The texels of a texture atlas as points on the hand's surface at rest."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass
class TexelMap:
    """Texels covered by the atlas, as a flat list of M surface points.

    Attributes:
        size: edge of the square texture, texels.
        corners: (M, 3) vertex ids of the texel's triangle.
        uv_corners: (M, 3) ids of its texture coordinates.
        bary: (M, 3) barycentric weights, float32.
        cells: (M,) place of the texel in the flattened image.
        source: (size, size) index into the list: the texel itself where covered, else the nearest covered one, so that
            filtered look-ups never see an empty texel.
        metres: (M, 2) length on the surface of one texel to the right and of one texel up.
    """

    size: int
    corners: np.ndarray
    uv_corners: np.ndarray
    bary: np.ndarray
    cells: np.ndarray
    source: np.ndarray
    metres: np.ndarray

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """(V, ...) values at the vertices -> (M, ...) float32 at the texels."""
        return self._weigh(values, self.corners)

    def interpolate_uv(self, values: np.ndarray) -> np.ndarray:
        """(T, ...) values at the texture coordinates -> (M, ...) float32 at the texels."""
        return self._weigh(values, self.uv_corners)

    def _weigh(self, values: np.ndarray, ids: np.ndarray) -> np.ndarray:
        values = np.asarray(values, np.float32)
        bary = self.bary.reshape(*self.bary.shape, *[1] * (values.ndim - 1))
        return sum(bary[:, k] * values[ids[:, k]] for k in range(3))

    def image(self, values: np.ndarray) -> np.ndarray:
        """(M, ...) values at the texels -> (size, size, ...) image, row 0 on top, the gutter filled."""
        return values[self.source]

    def slope(self, height: np.ndarray) -> np.ndarray:
        """(M,) height in metres -> (M, 2) its slope to the right and up, metres per metre."""
        down, right = np.gradient(self.image(height))
        return np.stack([right.ravel()[self.cells], -down.ravel()[self.cells]], -1) / self.metres


def rasterise(uv: np.ndarray, uv_faces: np.ndarray, vertices: np.ndarray, faces: np.ndarray, size: int) -> TexelMap:
    """Find the surface point behind every texel centre.

    Args:
        uv: (T, 2) texture coordinates, v upwards.
        uv_faces: (F, 3) ids of texture coordinates of each triangle.
        vertices: (V, 3) metres, at rest.
        faces: (F, 3) vertex ids, corner by corner as `uv_faces`.
        size: edge of the texture, texels.

    Raises:
        ValueError: no texel is covered.
    """
    points = uv * [size, -size] + [0.0, size]  # x right, y down, texel centres at integers + 0.5
    corners = points[uv_faces]
    low = np.clip(np.floor(corners.min(1)).astype(int), 0, size - 1)
    high = np.clip(np.ceil(corners.max(1)).astype(int), 1, size)
    width, height = (high - low).T
    count = width * height
    face = np.repeat(np.arange(len(faces)), count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    column, row = low[face, 0] + step % width[face], low[face, 1] + step // width[face]
    # barycentric weights by Cramer's rule
    origin, first, second = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    x, y = column + 0.5 - origin[face, 0], row + 0.5 - origin[face, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        b1 = (x * second[face, 1] - y * second[face, 0]) / area[face]
        b2 = (y * first[face, 0] - x * first[face, 1]) / area[face]
        inside = (b1 >= 0) & (b2 >= 0) & (b1 + b2 <= 1)
    cells, keep = np.unique((row * size + column)[inside], return_index=True)
    if not len(cells):
        raise ValueError("the atlas covers no texel")
    face, b1, b2 = face[inside][keep], b1[inside][keep], b2[inside][keep]
    index = np.full((size, size), -1)
    index.ravel()[cells] = np.arange(len(cells))
    near = ndimage.distance_transform_edt(index < 0, return_distances=False, return_indices=True)
    # dP/dx and dP/dy of a triangle: its edges times the inverse of its texture edges
    edge1, edge2 = vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]
    safe = np.where(area == 0, 1.0, area)[:, None]
    along_x = (edge1 * second[:, 1:] - edge2 * first[:, 1:]) / safe
    along_y = (edge2 * first[:, :1] - edge1 * second[:, :1]) / safe
    metres = np.stack([np.linalg.norm(along_x, axis=1), np.linalg.norm(along_y, axis=1)], -1)
    return TexelMap(
        size=size,
        corners=faces[face],
        uv_corners=uv_faces[face],
        bary=np.stack([1.0 - b1 - b2, b1, b2], -1).astype(np.float32),
        cells=cells,
        source=index[tuple(near)],
        metres=np.maximum(metres[face], 1e-6).astype(np.float32),
    )
