"""The people behind the textures: those the texture model is made of, and the proxy-real ones nobody else wears."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from handgap.core.errors import MissingAssetError
from handgap.core.seeds import rng
from handgap.hands.mesh import vertex_normals
from handgap.hands.skin.bake import Blotches, Person, bake, draw_blotches, draw_person, tone_of
from handgap.hands.skin.detail import make_details
from handgap.hands.skin.map import rasterise

HEIGHTS = ("relief", "folds", "body", "plate")
KINDS = ("dark", "light")


class People:
    """Bakes skins of the open render hand.

    Args:
        model: arrays of the OpenNimble file.
        folder: tone maps, `<age>_<dark|light>skinned_<...>_diffuse*.png`. Of either kind, the first, third... are the
            texture model's, the second, fourth... the proxy-real people's.
        size: edge of the maps, texels.
        seed: root seed.

    Attributes:
        proxyreal_names: tone maps of the proxy-real people.
        texels: the atlas.

    Raises:
        MissingAssetError: fewer than two tone maps of dark or of light skin.
    """

    def __init__(self, model: dict[str, np.ndarray], folder: Path, size: int, seed: int):
        kinds = [sorted(folder.glob(f"*_{kind}skinned_*_diffuse*.png")) for kind in KINDS]
        for kind, paths in zip(KINDS, kinds, strict=True):
            if len(paths) < 2:
                raise MissingAssetError(
                    folder, f"no two *_{kind}skinned_*_diffuse*.png in it", "fetch the asset 'skins'"
                )
        model = model | {"normals": vertex_normals(model["v_template"], model["faces_forearm"])}
        faces = np.vstack([model["faces_forearm"], model["faces_stump"]])
        uv_faces = np.vstack([model["uv_faces_forearm"], model["uv_faces_stump"]])
        self.texels = rasterise(model["uv"], uv_faces, model["v_template"], faces, size)
        self._details = make_details(model, self.texels, rng(seed, "hands/details"))
        self._slopes = {name: self.texels.slope(getattr(self._details, name)) for name in HEIGHTS}
        self._points = self.texels.interpolate(model["v_template"])
        self._statistical = [[(path.stem, _tone(path, model)) for path in paths[::2]] for paths in kinds]
        self._proxyreal = [(path.stem, _tone(path, model)) for paths in kinds for path in paths[1::2]]
        self.proxyreal_names = [name for name, _ in self._proxyreal]
        self._seed = seed

    def proxyreal(self, index: int) -> dict[str, np.ndarray]:
        """Maps (M, C) of a person with blotches of their own; tones are taken in turn."""
        g = rng(self._seed, "hands/skins", index)
        name, tone = self._proxyreal[index % len(self._proxyreal)]
        return self._bake(tone, draw_person(g, tone.mean(0), name), draw_blotches(g, self._points))

    def statistical(self, count: int) -> Iterator[dict[str, np.ndarray]]:
        """Maps (M, C) of people whose blotches lie at the same places, so that principal components keep them sharp.

        Tones are mixtures of a dark and a light one: two lumps of people would make a model with nobody between.
        """
        shared = [draw_blotches(rng(self._seed, "hands/textures/blotches", k), self._points) for k in range(2)]
        for index in range(count):
            g = rng(self._seed, "hands/textures/people", index)
            (_, dark), (name, light) = (tones[g.integers(len(tones))] for tones in self._statistical)
            share = g.uniform()
            tone = (1.0 - share) * dark + share * light
            person = draw_person(g, tone.mean(0), name)
            turn = g.uniform(0.0, 2.0 * np.pi)
            blotches = replace(shared[0], broad=np.cos(turn) * shared[0].broad + np.sin(turn) * shared[1].broad)
            yield self._bake(tone, person, blotches)

    def _bake(self, tone: np.ndarray, person: Person, blotches: Blotches) -> dict[str, np.ndarray]:
        return bake(tone, person, blotches, self._details, self._slopes, self.texels)


def _tone(path: Path, model: dict[str, np.ndarray]) -> np.ndarray:
    return tone_of(Image.open(path), model)
