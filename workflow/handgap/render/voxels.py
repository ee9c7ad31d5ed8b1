"""A solid of any triangle mesh, closed or not: its signed distance lies on a grid."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import trimesh
from scipy.ndimage import binary_fill_holes, distance_transform_edt, map_coordinates

from handgap.render.solids import Mesh

PITCH = 1.5e-3  # metres between the grid's nodes
MARGIN = 8  # nodes round the mesh
SAMPLES_PER_CELL = 12  # points on the surface: a cell of it stays empty once in exp(12)


@dataclass(frozen=True)
class VoxelSolid:
    """A mesh that may have gaps, inner walls and openings.

    Attributes:
        mesh: as it is drawn.
    """

    mesh: Mesh

    @cached_property
    def _field(self) -> tuple[np.ndarray, np.ndarray]:
        """First node (3,) in metres and signed distance (X, Y, Z) in metres on the grid."""
        triangles = trimesh.Trimesh(self.mesh.vertices, self.mesh.faces, process=False)
        count = int(np.ceil(SAMPLES_PER_CELL * triangles.area / PITCH**2))
        points, _ = trimesh.sample.sample_surface(triangles, count, seed=0)
        first = self.mesh.vertices.min(0) - MARGIN * PITCH
        shape = np.ceil(np.ptp(self.mesh.vertices, axis=0) / PITCH).astype(int) + 2 * MARGIN + 1
        filled = np.zeros(shape, bool)
        filled[tuple(np.rint((points - first) / PITCH).astype(int).T)] = True
        # layer by layer along z, so that a vessel open at the top counts as full, the loop of its handle as empty
        for layer in range(shape[2]):
            filled[:, :, layer] = binary_fill_holes(filled[:, :, layer])
        outside, inside = distance_transform_edt(~filled), distance_transform_edt(filled)
        # the surface runs through the outermost nodes that are filled
        return first, PITCH * (outside - np.maximum(inside - 1.0, 0.0))

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Within half a `PITCH` or so near the mesh; away from it the distance to its box, which is never too long."""
        first, field = self._field
        last = first + PITCH * (np.array(field.shape) - 1)
        near = map_coordinates(field, np.moveaxis((points - first) / PITCH, -1, 0), order=1, mode="nearest")
        margin = MARGIN * PITCH
        to_box = np.linalg.norm(np.maximum(np.maximum(first + margin - points, points - last + margin), 0.0), axis=-1)
        return np.where(((points >= first) & (points <= last)).all(-1), near, to_box)
