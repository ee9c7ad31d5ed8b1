"""What a forearm wears: a sleeve or a strap, grown out of the arm's own surface so that it follows every bend."""

from dataclasses import dataclass

import numpy as np

from handgap.core.conventions import MaskLabel
from handgap.render.objects import colour
from handgap.render.spec import MeshPart, SurfaceMaterial


@dataclass(frozen=True)
class Forearm:
    """The arm's part of the render hand's mesh, at rest.

    Attributes:
        rest: (V, 3) metres, all vertices of the hand; y runs from the elbow to the fingers, the wrist is at 0.
        faces: (F, 3) the arm's faces.
    """

    rest: np.ndarray
    faces: np.ndarray

    def grown(
        self, posed: np.ndarray, lift: np.ndarray, near: float, far: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The arm's surface between two distances from the wrist, moved outwards.

        Args:
            posed: (V, 3) the hand's vertices as posed.
            lift: (V,) metres along the normals.
            near, far: metres behind the wrist joint.

        Returns:
            vertices (U, 3), faces (G, 3), rest positions (U, 3) of the piece.
        """
        y = -self.rest[self.faces][..., 1]
        faces = self.faces[((y >= near) & (y <= far)).all(1)]
        used, faces = np.unique(faces, return_inverse=True)
        return posed[used] + self._normals(posed)[used] * lift[used, None], faces.reshape(-1, 3), self.rest[used]

    def _normals(self, posed: np.ndarray) -> np.ndarray:
        corners = posed[self.faces]
        faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.zeros_like(posed)
        for k in range(3):
            np.add.at(normals, self.faces[:, k], faces)
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _folds(rest: np.ndarray, g: np.random.Generator) -> np.ndarray:
    """Relief (V,) of loose cloth in units of its amplitude: a few slanted waves around and along the arm."""
    angle, along = np.arctan2(rest[:, 2], rest[:, 0]), rest[:, 1]
    waves = np.zeros(len(rest))
    for _ in range(4):
        turns, length, phase = g.integers(1, 4), g.uniform(0.02, 0.06), g.uniform(0, 2 * np.pi)
        waves += np.sin(turns * angle + 2 * np.pi * along / length + phase)
    return waves / 4


def sleeve(arm: Forearm, posed: np.ndarray, g: np.random.Generator) -> MeshPart:
    """A sleeve with its cuff 3 to 8 cm behind the wrist."""
    lift = g.uniform(0.005, 0.009) + g.uniform(0.001, 0.003) * _folds(arm.rest, g)
    vertices, faces, rest = arm.grown(posed, lift, g.uniform(0.03, 0.08), np.inf)
    pattern = ("plain", "plain", "noise", "checker")[g.integers(4)]
    cloth = SurfaceMaterial(
        base=colour(g, (0.0, 0.7)),
        second=colour(g, (0.0, 0.7)),
        pattern=pattern,
        scale=g.uniform(40, 120),
        roughness=0.9,
        specular=0.2,
        sheen=g.uniform(0, 0.6),
        bump=3e-4,
    )
    return MeshPart("sleeve", vertices, faces, MaskLabel.ARM, cloth, texture_coords=rest)


def strap(arm: Forearm, posed: np.ndarray, g: np.random.Generator) -> MeshPart:
    """A watch strap or bracelet, 12 to 30 mm wide, 3 to 6 cm behind the wrist."""
    near = g.uniform(0.03, 0.045)
    lift = np.full(len(posed), g.uniform(0.0015, 0.003))
    vertices, faces, rest = arm.grown(posed, lift, near, near + g.uniform(0.018, 0.03))
    metal = float(g.random() < 0.4)
    look = SurfaceMaterial(
        base=colour(g, (0.0, 0.6)), metallic=metal, roughness=g.uniform(0.2, 0.6), pattern="plain", bump=1e-4
    )
    return MeshPart("strap", vertices, faces, MaskLabel.ARM, look, texture_coords=rest)
