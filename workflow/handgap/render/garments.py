"""What forearms wear: sleeves and watches, built round the arm's own cross sections."""

from dataclasses import dataclass

import numpy as np

from handgap.core.conventions import MaskLabel
from handgap.render.objects import colour
from handgap.render.solids import Lathe, Mesh, grid_mesh
from handgap.render.spec import MeshPart, SurfaceMaterial

ANGLES = 64


@dataclass(frozen=True)
class Forearm:
    """A posed forearm as cross sections.

    Attributes:
        wrist: (3,) the wrist joint.
        axes: (3, 3) columns: out of the arm's back, across, from the wrist to the elbow.
        skin: (A, 3) the arm's vertices.
    """

    wrist: np.ndarray
    axes: np.ndarray
    skin: np.ndarray

    @property
    def length(self) -> float:
        """Metres from the wrist to the end of the skin."""
        return float(((self.skin - self.wrist) @ self.axes[:, 2]).max())

    def section(self, at: float, width: float = 0.016) -> tuple[np.ndarray, np.ndarray]:
        """Centre (2,) in the first two axes and radii (ANGLES,) of the section `at` metres from the wrist.

        Radii are those of the convex outline: cloth spans hollows.
        """
        local = (self.skin - self.wrist) @ self.axes
        ring = local[np.abs(local[:, 2] - at) < width, :2]
        centre = (ring.min(0) + ring.max(0)) / 2
        angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
        directions = np.stack([np.cos(angle), np.sin(angle)])
        support = ((ring - centre) @ directions).max(0)
        # radius of the convex hull = min over supporting lines
        facing = np.cos(angle[:, None] - angle[None])
        return centre, np.where(facing > 0.2, support[None] / np.maximum(facing, 0.2), np.inf).min(1)

    def tube(self, stations: np.ndarray, swell: np.ndarray) -> Mesh:
        """Surface through stations (S,), metres from the wrist, at the sections' radii plus `swell` (S, ANGLES).

        It faces outwards where the stations ascend.
        """
        angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
        rings = []
        for at, more in zip(stations, swell, strict=True):
            centre, radius = self.section(min(max(at, 0.0), self.length - 0.012))
            reach = radius + more
            ring = np.stack(
                [centre[0] + reach * np.cos(angle), centre[1] + reach * np.sin(angle), np.full(ANGLES, at)], 1
            )
            rings.append(ring @ self.axes.T + self.wrist)
        v = np.linspace(0, 1, len(stations))
        return grid_mesh(np.stack(rings), np.linspace(0, 1, ANGLES + 1), v)


def sleeve(arm: Forearm, g: np.random.Generator) -> MeshPart:
    """A sleeve with folds, from a cuff 0 to 6 cm behind the wrist to beyond the end of the arm."""
    cuff, ease = g.uniform(0.005, 0.06), g.uniform(0.003, 0.012)
    outside = np.linspace(cuff, arm.length + 0.03, 40)
    inside = cuff + np.array([0.03, 0.01, 0.0])
    angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
    folds = np.zeros((40, ANGLES))
    for _ in range(7):
        length, turns = g.uniform(0.025, 0.09), g.integers(0, 4)
        phase = 2 * np.pi * outside[:, None] / length + turns * angle + g.uniform(0, 2 * np.pi)
        folds += g.uniform(0.2, 1.0) * np.sin(phase + 0.6 * np.sin(phase))
    folds *= g.uniform(0.0005, 0.0022) * np.clip((outside - cuff) / 0.02, 0.1, 1)[:, None]
    swell = ease + np.maximum(folds, -0.7 * ease)
    hem = g.uniform(0.0015, 0.003)
    within = np.repeat([[ease - hem], [ease - hem], [ease - 0.3 * hem]], ANGLES, 1)
    mesh = arm.tube(np.concatenate([inside, outside]), np.concatenate([np.maximum(within, 0.0008), swell]))
    pattern = str(g.choice(["plain", "plain", "plain", "checker", "noise"]))
    cloth = SurfaceMaterial(
        colour(g, (0.0, 0.7)),
        colour(g, (0.0, 0.7)),
        pattern,
        scale=float(g.uniform(30, 90)),
        roughness=g.uniform(0.75, 1.0),
        specular=0.2,
        sheen=g.uniform(0.1, 0.5),
    )
    return _part("sleeve", mesh, arm, cloth)


def watch(arm: Forearm, g: np.random.Generator) -> list[MeshPart]:
    """Band and case of a wrist watch on the back of the arm."""
    at, half = g.uniform(0.012, 0.03), g.uniform(0.007, 0.011)
    stations = at + half * np.array([-1.0, -1.0, -0.85, 0.85, 1.0, 1.0])
    swell = np.repeat([[0.0], [0.0015], [0.0025], [0.0025], [0.0015], [0.0]], ANGLES, 1)
    band = _part("watch.band", arm.tube(stations, swell), arm, SurfaceMaterial(colour(g, (0.0, 0.8)), roughness=0.6))
    radius, height = g.uniform(0.014, 0.02), g.uniform(0.006, 0.009)
    case = Lathe(
        np.array([[0, 0], [radius, 0], [radius, height * 0.8], [radius * 0.9, height], [0, height]]), corner=0.0008
    ).mesh
    centre, radii = arm.section(at)
    # the case's axis (z) points out of the back of the arm (the first axis)
    turn = arm.axes[:, [1, 2, 0]]
    foot = np.array([centre[0] + radii[0] - 0.001, centre[1], at]) @ arm.axes.T + arm.wrist
    metal = SurfaceMaterial(colour(g, (0.0, 0.3)), roughness=g.uniform(0.1, 0.4), metallic=1.0)
    return [band, MeshPart("watch.case", case.vertices @ turn.T + foot, case.faces, MaskLabel.ARM, metal)]


def _part(name: str, mesh: Mesh, arm: Forearm, material: SurfaceMaterial) -> MeshPart:
    own = (mesh.vertices - arm.wrist) @ arm.axes
    return MeshPart(name, mesh.vertices, mesh.faces, MaskLabel.ARM, material, mesh.uv, mesh.uv_faces, own)
