"""The render hand on one page: poses down, shapes across, a texture each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from handgap.core.conventions import MaskLabel
from handgap.core.files import read_arrays
from handgap.core.geometry import rodrigues
from handgap.core.seeds import rng
from handgap.hands.prior import FAMILIES, PosePrior
from handgap.hands.render_hand import RenderHand
from handgap.render.light import tone_map
from handgap.render.spec import Lamp, MeshPart, PlainWorld, SceneSpec, SkinMaterial
from handgap.report.sheets import Tile

# the rest frame (x to the little finger, y along the fingers, z out of the back) as seen by a camera behind the hand
FROM_BEHIND = np.diag([1.0, -1.0, -1.0])
# degrees about the vertical that show what a pose is about: the back of an open hand, what closing fingers meet
TURNS = {"open": 0, "spread": 0, "count": 180, "point": 150}
TURN, NOD = 140, 15
DISTANCE = 0.7  # metres
BACKGROUND = PlainWorld((0.55, 0.56, 0.58))
KEY = Lamp("AREA", 9.0, np.array([-0.45, -0.5, 0.15]), rodrigues(np.array([-0.65, 0.58, 0.0])), (0.3, 0.3, 0.3))


def hand_tiles(
    render_hand: Path, draw: Callable[[SceneSpec], np.ndarray], shapes: int, seed: int, size: int
) -> Iterator[Tile]:
    """A pose of each family (rows) on both ends of shape components (columns), each hand in the next skin.

    Args:
        render_hand: OpenNimble.
        draw: picture (H, W, 3) of a scene, scene-linear: `Renderer.render`.
        shapes: columns: the mean shape, then +2 and -2 standard deviations of one component after the other.
        seed: draws the poses.
        size: edge of a picture, px, which the hand fills.

    Yields:
        Row by row.
    """
    layer, prior = RenderHand.load(render_hand), PosePrior.load(render_hand)
    arrays = read_arrays(render_hand, ["uv", "faces_stump", "uv_faces_stump"])
    faces, uv, uv_faces = (arrays[name] for name in ("faces_stump", "uv", "uv_faces_stump"))
    captions, coefficients = ["mean shape"], np.zeros((shapes, layer.n_shape))
    for column in range(1, shapes):
        component, sign = (column - 1) // 2, 2.0 if column % 2 else -2.0
        coefficients[column, component] = sign * prior.shape_std[component]
        captions.append(f"shape {component + 1} {sign:+.0f} sd")
    for row, family in enumerate(FAMILIES):
        pose = np.tile(prior.sample_pose(rng(seed, "report/hands", row), family), (shapes, 1))
        with torch.inference_mode():
            posed = layer(*(torch.from_numpy(x).float() for x in (pose, coefficients, np.zeros((shapes, 3)))))
        for column, caption in enumerate(captions):
            vertices, K = _seen(posed.vertices[column].numpy(), layer.surface, TURNS.get(family, TURN), size)
            part = MeshPart("hand", vertices, faces, MaskLabel.HAND, SkinMaterial(row * shapes + column), uv, uv_faces)
            scene = SceneSpec(row, K, size, size, [part], BACKGROUND, seed, lamps=[KEY])
            picture = np.rint(255.0 * tone_map(draw(scene))).astype(np.uint8)
            yield Tile(picture, f"{family}, {caption}")


def _seen(vertices: np.ndarray, surface: np.ndarray, turn: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in front of the camera, and a camera (3, 3) whose picture those of `surface` fill."""
    view = rodrigues(np.radians([-NOD, 0.0, 0.0])) @ rodrigues(np.radians([0.0, turn, 0.0])) @ FROM_BEHIND
    vertices = vertices.astype(np.float64) @ view.T
    drawn = vertices[surface]
    vertices = vertices - (drawn.min(0) + drawn.max(0)) / 2 + [0.0, 0.0, DISTANCE]
    drawn = vertices[surface]
    focal = 0.46 * size / np.abs(drawn[:, :2] / drawn[:, 2:]).max()
    return vertices, np.array([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]])
