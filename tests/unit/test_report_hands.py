"""The sheet of the render hand: every hand in its picture, every skin worn once; no Blender needed."""

import numpy as np
from handgap.core.geometry import project
from handgap.hands.prior import FAMILIES
from handgap.render.spec import SceneSpec
from handgap.report.hands_sheet import hand_tiles

SIZE, SHAPES = 96, 3


def test_every_hand_fills_its_picture(made):
    scenes: list[SceneSpec] = []

    def draw(scene: SceneSpec) -> np.ndarray:
        scenes.append(scene)
        return np.full((SIZE, SIZE, 3), 0.5)

    tiles = list(hand_tiles(made / "models" / "open_nimble.npz", draw, SHAPES, 0, SIZE))
    assert len(tiles) == len(scenes) == SHAPES * len(FAMILIES)
    assert [tile.caption for tile in tiles[:3]] == ["open, mean shape", "open, shape 1 +2 sd", "open, shape 1 -2 sd"]
    for scene in scenes:
        hand = scene.parts[0]
        pixels = project(hand.vertices[np.unique(hand.faces)], scene.K)
        assert pixels.min() > 0 and pixels.max() < SIZE
        assert 0.8 * SIZE < np.ptp(pixels, axis=0).max() < SIZE
    assert sorted(scene.parts[0].material.skin for scene in scenes) == list(range(len(scenes)))
    # one pose, other shapes: the hands of a row differ by millimetres
    mean, wide = (scene.parts[0].vertices for scene in scenes[:2])
    assert 1e-3 < np.linalg.norm(mean - wide, axis=1).mean() < 0.05


def test_the_sheet_depends_on_the_seed_alone(made):
    def poses(seed: int) -> list[np.ndarray]:
        seen: list[np.ndarray] = []

        def draw(scene: SceneSpec) -> np.ndarray:
            seen.append(scene.parts[0].vertices)
            return np.zeros((SIZE, SIZE, 3))

        list(hand_tiles(made / "models" / "open_nimble.npz", draw, 1, seed, SIZE))
        return seen

    first, again, other = poses(0), poses(0), poses(1)
    assert all(map(np.array_equal, first, again)) and not any(map(np.array_equal, first, other))
