"""What a picture is made of: meshes, materials, light and lens, in plain NumPy.

Whoever composes a scene writes a `SceneSpec`; the Blender worker draws it and `labels` labels it, both from the same
vertices. Everything lies in the OpenCV camera frame (x right, y down, z forward), in metres; the camera is the origin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from handgap.core.conventions import MaskLabel


class GeometryError(Exception):
    """A sample cannot be drawn or labelled; it keeps its place in the shard with this text as its flag."""


Colour = tuple[float, float, float]
Pattern = Literal["plain", "checker", "noise", "wood", "brick", "image"]


@dataclass(frozen=True)
class SkinMaterial:
    """Human skin out of a skin library.

    Attributes:
        skin: index into the library; its maps are looked up through the part's `uv`.
        subsurface: light scatters below the surface (false: the paper's plain material).
        roughness_gain: factor on the roughness map; below 1 the skin is moist, above 1 dry.
        normal_strength: strength of the tangent-space normal map.
    """

    skin: int
    subsurface: bool = True
    roughness_gain: float = 1.0
    normal_strength: float = 1.0


@dataclass(frozen=True)
class SurfaceMaterial:
    """Anything but skin.

    Attributes:
        base: linear RGB albedo, 0..1.
        second: the pattern's other colour (checker fields, wood rings, mortar, spots), linear RGB.
        pattern: "plain" is `base` alone; "image" takes `image` through the part's `uv`; the others are solid textures
            in the part's `texture_coords`.
        scale: pattern periods per metre.
        image: (H, W, 3) uint8 sRGB, pattern "image" only, row 0 on top (v = 1).
        roughness, metallic, specular, transmission: Principled BSDF, 0..1 (specular 0.5 = index of refraction 1.5).
        sheen: fibres' rim of cloth, 0..1.
        bump: height of the pattern's (or, when plain, of a fine grain's) relief in metres.
    """

    base: Colour
    second: Colour = (0.5, 0.5, 0.5)
    pattern: Pattern = "plain"
    scale: float = 30.0
    image: np.ndarray | None = None
    roughness: float = 0.5
    metallic: float = 0.0
    specular: float = 0.5
    transmission: float = 0.0
    sheen: float = 0.0
    bump: float = 0.0


@dataclass(frozen=True)
class MappedMaterial:
    """A surface described by texture maps, looked up through the part's `uv`.

    Attributes:
        maps: uint8, row 0 on top (v = 1): "colour" (H, W, 3) sRGB, "normal" (H, W, 3) in tangent space, "roughness" and
            "displacement" (H, W, 3) or (H, W), plain numbers.
        normal_strength: strength of the normal map.
        displacement: metres from black to white of the displacement map, drawn as relief (bump).
    """

    maps: Mapping[str, np.ndarray]
    normal_strength: float = 1.0
    displacement: float = 0.0


Material = SkinMaterial | SurfaceMaterial | MappedMaterial


@dataclass(frozen=True)
class MeshPart:
    """One triangle mesh with one material.

    Attributes:
        name: e.g. "hand"; parts of one name and equal `faces` are updated in place from picture to picture.
        vertices: (V, 3) metres, camera frame.
        faces: (F, 3) vertex ids, counter-clockwise seen from outside.
        label: class of the whole part, or (F,) uint8 of each face.
        material: how it looks.
        uv: (T, 2) texture coordinates, v upwards, or None.
        uv_faces: (F, 3) ids into `uv`, or None.
        texture_coords: (V, 3) metres in the part's own frame, where solid textures live (they must not swim when the
            part moves), or None for parts without one.
        smooth: interpolate normals (false for boxes and other sharp-edged things).
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    label: MaskLabel | np.ndarray
    material: Material
    uv: np.ndarray | None = None
    uv_faces: np.ndarray | None = None
    texture_coords: np.ndarray | None = None
    smooth: bool = True

    @property
    def face_labels(self) -> np.ndarray:
        """(F,) uint8 class of each face."""
        return np.broadcast_to(np.asarray(self.label, np.uint8), len(self.faces))


@dataclass(frozen=True)
class Panorama:
    """An equirectangular HDRI as light and background.

    Attributes:
        hdri: .exr or .hdr file.
        orientation: (3, 3) rotation from camera directions to the map's frame (z up); see `light.camera_orientation`.
        strength: factor on the map's radiance.
    """

    hdri: Path
    orientation: np.ndarray
    strength: float = 1.0


@dataclass(frozen=True)
class PlainWorld:
    """The same light from everywhere, and its colour as background.

    Attributes:
        colour: linear RGB radiance.
        strength: factor on it.
    """

    colour: Colour
    strength: float = 1.0


World = Panorama | PlainWorld


@dataclass(frozen=True)
class Lamp:
    """A lamp of Blender's kinds.

    Attributes:
        kind: "POINT", "SUN", "SPOT" (45 degrees wide) or "AREA" (a square of 1 m, times `scale`).
        energy: watts; of a sun watts per square metre.
        position: (3,) metres, camera frame.
        rotation: (3, 3) from the lamp's axes to the camera's; it shines along its own z, as a camera looks.
        scale: of the lamp's size along its axes.
    """

    kind: Literal["POINT", "SUN", "SPOT", "AREA"]
    energy: float
    position: np.ndarray
    rotation: np.ndarray
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Lens:
    """Depth of field of a full-frame (36 mm wide) camera with the scene's field of view.

    Attributes:
        fstop: f-number.
        focus: metres, distance of the plane in focus.
    """

    fstop: float
    focus: float


@dataclass(frozen=True)
class SceneSpec:
    """One picture.

    Attributes:
        sample_id: stable id of the sample.
        K: (3, 3) pinhole intrinsics, px, pixel centres at integer + 0.5; fx != fy and any principal point allowed.
        width, height: px.
        parts: all meshes.
        light: what surrounds the scene.
        seed: of Cycles' sampler.
        lens: depth of field; None = all in focus.
        lamps: shining besides the surroundings.
    """

    sample_id: int
    K: np.ndarray
    width: int
    height: int
    parts: list[MeshPart] = field(repr=False)
    light: World
    seed: int
    lens: Lens | None = None
    lamps: Sequence[Lamp] = ()
