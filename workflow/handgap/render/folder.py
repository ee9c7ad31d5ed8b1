"""A folder of hands in HandSynthesis' layout as a shard: one sub-folder a hand, seen by the released camera.

With a released configuration, light, backgrounds and tones are the release's (Filmic, no metering); without one, they
are those of the synthetic side. NIMBLE knows right hands only.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from handgap.core.config.render import Render
from handgap.core.conventions import N_ANNOTATION_VERTICES, N_JOINTS, MaskLabel, Side
from handgap.core.errors import HandgapError
from handgap.core.images import encode_depth, encode_mask, encode_rgb
from handgap.core.provenance import settings_hash
from handgap.core.seeds import integer_seed, rng
from handgap.render.labels import label
from handgap.render.light import draw_light, expose, map_name
from handgap.render.nimble_sample import VERTICES, NimbleSample, read_sample
from handgap.render.released import (
    CAMERAS,
    NORMAL_STRENGTH,
    PATHS,
    ReleasedConfig,
    draw_world,
    extrinsics,
    intrinsics,
    lamps,
    read_wall,
    to_camera,
)
from handgap.render.rows import GREY
from handgap.render.shard import Row
from handgap.render.spec import GeometryError, MeshPart, Panorama, SceneSpec, SkinMaterial, SurfaceMaterial
from handgap.render.worker import Renderer

Skin = Literal["photoreal", "released"]
STAGE = "render/folder"
LAYOUT = "give a folder of sub-folders, one a hand: skin.obj, joints.json, diffuse.png, normal.png, spec.png"
UNTEXTURED = SurfaceMaterial((0.8, 0.8, 0.8))


class FolderShard:
    """Rows of a folder of hands. It is also where the renderer finds the hands' texture maps.

    Args:
        folder: one sub-folder a hand; a hidden one (its name starts with a dot) is no hand.
        hdris: environment maps, sorted.
        seed: of views and light.
        config: the release's configuration, or None for its camera alone.
        skin: "released" is the paper's plain material, "photoreal" has subsurface scattering.

    Attributes:
        ids: sample ids: the numbers that the sub-folders are named by, or else their places in the order of names.

    Raises:
        HandgapError: no such folder, or nothing in it.
        MissingAssetError, CorruptFileError: a map of the wall that `config` asks for.
    """

    def __init__(self, folder: Path, hdris: Sequence[Path], seed: int, *, config: ReleasedConfig | None, skin: Skin):
        if not folder.is_dir():
            raise HandgapError(folder, "no such folder", LAYOUT)
        self._folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
        if not self._folders:
            raise HandgapError(folder, "no sub-folder in it", LAYOUT)
        self.ids = _numbers([path.name for path in self._folders])
        self._hdris, self._seed, self._released, self._skin = hdris, seed, config is not None, skin
        self._config = config or ReleasedConfig()
        self._wall = [read_wall(self._config.tex_bg_path)] if self._config.add_tex_bg else []
        self._has_vertices = any((path / VERTICES).exists() for path in self._folders)
        self._maps: dict[str, np.ndarray] = {}

    @property
    def settings(self) -> list[object]:
        """What the rows depend on besides the seed and the hands' files, as JSON-like values."""
        keys = self._config.model_dump(mode="json", exclude=set(PATHS))
        wall = [hashlib.sha256(pixels).hexdigest() for part in self._wall for pixels in part.material.maps.values()]
        return [keys, wall, self._released, self._skin, [map_name(path) for path in self._hdris]]

    @property
    def listing(self) -> str:
        """Short hash of the hands' files as they lie there: finished rows are taken up only while it is the same."""
        files = [path for folder in self._folders for path in sorted(folder.iterdir()) if path.is_file()]
        listing = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        return settings_hash([[path.name for path in self._folders], listing])

    def maps(self, index: int) -> Mapping[str, np.ndarray]:
        """Texture maps of the hand being drawn, whose place `index` is."""
        return self._maps

    def scene(self, k: int, sample: NimbleSample) -> SceneSpec:
        """Scene of the k-th hand."""
        number, config, view = self.ids[k], self._config, self.view(k)
        generator = rng(self._seed, f"{STAGE}/light", number)
        material = UNTEXTURED
        if config.add_hand_tex:
            released = self._skin == "released"
            material = SkinMaterial(k, subsurface=not released, normal_strength=NORMAL_STRENGTH if released else 1.0)
        points = to_camera(sample.points, view)
        hand = MeshPart("hand", points, sample.faces, MaskLabel.HAND, material, sample.uv, sample.uv_faces)
        if self._released:
            world = draw_world(config, self._hdris, view, generator)
        else:
            world = draw_light(generator, self._hdris)
        return SceneSpec(
            number,
            intrinsics(config),
            config.res_w,
            config.res_h,
            [hand, *self._wall],
            world,
            integer_seed(self._seed, STAGE, number),
            lamps=lamps(config, view),
        )

    def view(self, k: int) -> int:
        """Which of the release's cameras sees the k-th hand."""
        generator = rng(self._seed, f"{STAGE}/view", self.ids[k])
        return int(generator.integers(len(CAMERAS))) if self._config.multi_view else 0

    def row(self, k: int, renderer: Renderer) -> Row:
        """Columns of the k-th hand; one that cannot be read or drawn is grey and flagged."""
        view = self.view(k)
        base: Row = {
            "id": np.int64(self.ids[k]),
            "name": self._folders[k].name,
            "K": intrinsics(self._config).astype(np.float32),
            "view": np.int64(view),
            "extrinsics": extrinsics(view).astype(np.float32),
            "side": np.uint8(Side.RIGHT),
        }
        try:
            sample = read_sample(self._folders[k], textured=self._config.add_hand_tex)
            scene, joints = self.scene(k, sample), to_camera(sample.joints, view)
            truth = label(scene, joints)
        except GeometryError as error:
            return base | self._blank(str(error))
        self._maps = sample.maps
        if self._released:
            picture = renderer.filmic(scene)
        else:
            stops = rng(self._seed, f"{STAGE}/exposure", scene.sample_id).normal(0.0, Render().exposure_stops)
            linear = renderer.render(scene)
            picture = expose(linear, truth.mask > 0, stops, renderer.albedo(scene.parts[0].material.skin))
        vertices = sample.vertices
        if vertices is not None:
            vertices = to_camera(vertices, view)
        elif self._has_vertices:
            vertices = np.full((N_ANNOTATION_VERTICES, 3), np.nan)
        hdri = map_name(scene.light.hdri) if isinstance(scene.light, Panorama) else ""
        labels = self._labels(joints, vertices, truth.visibility, hdri, sample.digest)
        return base | self._images(picture, truth.mask, truth.depth) | labels | {"valid": True, "flag": ""}

    def _images(self, picture: np.ndarray, mask: np.ndarray, depth: np.ndarray) -> Row:
        row: Row = {"image": encode_rgb(picture)}
        if self._config.if_seg:
            row["mask"] = encode_mask(mask)
        if self._config.if_depth:
            row["depth"] = encode_depth(depth)
        return row

    def _labels(
        self, joints: np.ndarray, vertices: np.ndarray | None, visibility: np.ndarray, hdri: str, source: str
    ) -> Row:
        row: Row = {"joints": joints.astype(np.float32), "visibility": visibility, "hdri": hdri, "source": source}
        return row if vertices is None else row | {"vertices": vertices.astype(np.float32)}

    def _blank(self, flag: str) -> Row:
        shape = (self._config.res_h, self._config.res_w)
        images = self._images(np.full((*shape, 3), GREY, np.uint8), np.zeros(shape), np.zeros(shape))
        vertices = np.zeros((N_ANNOTATION_VERTICES, 3)) if self._has_vertices else None
        labels = self._labels(np.zeros((N_JOINTS, 3)), vertices, np.zeros(N_JOINTS, bool), "", "")
        return images | labels | {"valid": False, "flag": flag}


def _numbers(names: Sequence[str]) -> list[int]:
    if all(name.isascii() and name.isdigit() and len(name) < 19 for name in names):
        numbers = [int(name) for name in names]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(len(names)))
