"""The synthetic side: the fitted render hand, cut at the wrist, under a random skin and light (HandSynthesis 2025)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from handgap.core.config.render import Render
from handgap.core.conventions import MaskLabel, Side
from handgap.core.geometry import mirrored_left
from handgap.core.images import encode_depth, encode_mask, encode_rgb
from handgap.core.seeds import integer_seed, rng
from handgap.core.store import Store
from handgap.hands.render_hand import RenderHand
from handgap.hands.skin.model import TextureSet
from handgap.render.labels import label
from handgap.render.light import draw_light, expose, map_name, share
from handgap.render.materials import SkinSource
from handgap.render.released import NORMAL_STRENGTH
from handgap.render.rows import blank
from handgap.render.shard import Row
from handgap.render.spec import GeometryError, MeshPart, SceneSpec, SkinMaterial
from handgap.render.worker import Renderer

ANNOTATION = ("id", "K", "joints", "vertices", "pose", "shape", "trans", "side")
COPIED = (*ANNOTATION, "render_pose", "render_shape", "render_trans", "residual_mm")


class WithoutRoughness:
    """Skins of the paper's plain material, which knows no roughness map: Principled's 0.5 everywhere.

    Args:
        skins: whose other maps are worn.
    """

    def __init__(self, skins: SkinSource):
        self._skins = skins

    def maps(self, index: int) -> dict[str, np.ndarray]:
        """uint8 maps of one skin, row 0 on top."""
        return {name: pixels for name, pixels in self._skins.maps(index).items() if name != "roughness"}


class SyntheticShard:
    """Rows of one synthetic shard.

    Args:
        fit: shard of the fit stage.
        model: the render hand's .npz.
        textures: what the hands wear.
        hdris: all environment maps, sorted.
        settings: the render section.
        seed: the study's seed.
        split: "dataset/split": the same id of another split is another picture.
    """

    def __init__(
        self,
        fit: Store,
        model: Path,
        textures: TextureSet,
        hdris: Sequence[Path],
        settings: Render,
        seed: int,
        split: str,
    ):
        self._columns = {name: fit.column(name) for name in (*COPIED, "valid", "flag")}
        self._hand = RenderHand.load(model)
        with np.load(model, allow_pickle=False) as arrays:
            self._faces, self._uv = arrays["faces_stump"].astype(np.int32), arrays["uv"]
            self._uv_faces = arrays["uv_faces_stump"]
        self._textures, self._n_textures = textures, share(settings.textures, settings.texture_ratio)
        self._hdris = hdris[: share(len(hdris), settings.hdri_ratio)]
        self._settings, self._seed, self._stage = settings, seed, f"render/synthetic/{split}"

    @property
    def ids(self) -> list[int]:
        """Sample ids, in the fit's order."""
        return [int(number) for number in self._columns["id"]]

    def scene(self, k: int) -> SceneSpec:
        """Scene of the k-th sample."""
        number = self.ids[k]
        generator = rng(self._seed, self._stage, number)
        texture, roughness_gain = int(generator.integers(self._n_textures)), generator.uniform(0.9, 1.25)
        if self._settings.subsurface:
            skin = SkinMaterial(texture, roughness_gain=roughness_gain)
        else:
            skin = SkinMaterial(texture, subsurface=False, normal_strength=NORMAL_STRENGTH)
        light = draw_light(generator, self._hdris, self._settings.hdri_rotation)
        pose, shape, trans = (
            torch.as_tensor(self._columns[f"render_{name}"][k : k + 1], dtype=torch.float32)
            for name in ("pose", "shape", "trans")
        )
        with torch.inference_mode():
            vertices = self._hand(pose, shape, trans).vertices.numpy()
        # left hands were fitted as their mirror images; a mirrored mesh is wound the other way round
        side = self._columns["side"][k : k + 1]
        vertices = mirrored_left(vertices, side)[0]
        turn = slice(None, None, -1 if side[0] == Side.LEFT else 1)
        faces, uv_faces = (np.ascontiguousarray(corners[:, turn]) for corners in (self._faces, self._uv_faces))
        hand = MeshPart("hand", vertices, faces, MaskLabel.HAND, skin, self._uv, uv_faces)
        size = self._settings.size
        K = self._columns["K"][k].astype(np.float64)
        return SceneSpec(number, K, size, size, [hand], light, integer_seed(self._seed, self._stage, number))

    def row(self, k: int, renderer: Renderer) -> Row:
        """Columns of the k-th sample; one that cannot be drawn is grey and flagged."""
        labels = {name: self._columns[name][k] for name in COPIED}
        if not self._columns["valid"][k]:
            return labels | self._blank(str(self._columns["flag"][k]))
        scene = self.scene(k)
        try:
            truth = label(scene, self._columns["joints"][k])
        except GeometryError as error:
            return labels | self._blank(str(error))
        exposure = rng(self._seed, f"{self._stage}/exposure", scene.sample_id)
        stops = exposure.normal(0.0, self._settings.exposure_stops)
        texture = scene.parts[0].material.skin
        linear = renderer.render(scene)
        picture = expose(linear, truth.mask > 0, stops, renderer.albedo(texture))
        return labels | {
            "image": encode_rgb(picture),
            "mask": encode_mask(truth.mask),
            "depth": encode_depth(truth.depth),
            "visibility": truth.visibility,
            "hdri": map_name(scene.light.hdri),
            "skin": np.int64(texture),
            "texture": self._textures.coefficients(texture),
            "valid": True,
            "flag": "",
        }

    def _blank(self, flag: str) -> Row:
        return blank(self._settings.size, flag) | {"texture": np.zeros_like(self._textures.coefficients(0))}
