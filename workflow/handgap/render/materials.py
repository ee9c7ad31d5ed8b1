"""Blender materials for `spec`'s: node trees built once, their values and images changed from picture to picture."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import bpy
import cv2
import numpy as np

from handgap.hands.skin.bake import srgb_to_linear
from handgap.render.cache import ImageCache
from handgap.render.spec import MappedMaterial, MeshPart, SkinMaterial, SurfaceMaterial

# Diffuse mean free path of skin in mm, red green blue (Jensen et al. 2001, "A practical model for subsurface light
# transport", table of measured materials, skin1), and the share of light that goes below the surface.
SKIN_RADIUS_MM = (3.67, 1.37, 0.68)
SUBSURFACE_WEIGHT = 0.6
SKIN_SPECULAR = 0.36  # index of refraction 1.4
NEAREST = 0.05  # metres, of a part's mean depth, which for one half behind the camera says little
SKINS_MIB = 96  # kept in memory; a skin of three 1024 px maps is 12 MiB


class SkinSource(Protocol):
    """Where skins' texture maps come from."""

    def maps(self, index: int) -> dict[str, np.ndarray]:
        """uint8 maps of one skin, row 0 on top.

        "diffuse" (H, W, 3) is sRGB; "normal" (H, W, 3), "roughness" and "specular" are plain numbers, where given.
        """


class MaterialBook:
    """One Blender material per mesh part and kind; memory does not grow with the number of pictures."""

    def __init__(self, skins: SkinSource):
        self._source = skins
        self._skins = ImageCache(self._skin_images, SKINS_MIB)
        self._trees: dict[tuple[str, ...], _Tree] = {}
        self._albedos: dict[int, np.ndarray] = {}

    def of(self, part: MeshPart, focal: float) -> bpy.types.Material:
        """Blender's material with the values of `part.material`, for a camera of focal length `focal`, px.

        Skin maps are drawn as small as a texel still is no larger than a pixel (mip maps: Williams 1983). Cycles does
        not filter textures: what is finer is noise, which the denoiser takes for detail of the albedo and keeps.
        """
        material = part.material
        if isinstance(material, SkinMaterial):
            depth = max(part.vertices[:, 2].mean(), NEAREST)
            edge = 2 ** int(np.log2(atlas_size(part) * focal / depth))
            images = self._skins.get((material.skin, edge))
            tree = self._tree((part.name, "skin", *sorted(images)), lambda: _SkinTree(part.name, images))
            tree.load(material, images)
        elif isinstance(material, MappedMaterial):
            key = (part.name, "mapped", *sorted(material.maps))
            tree = self._tree(key, lambda: _MappedTree(part.name, list(material.maps)))
            tree.load(material)
        else:
            key = (part.name, material.pattern, *(["relief"] if material.bump else []))
            tree = self._tree(key, lambda: _SurfaceTree(part.name, material))
            tree.load(material)
        return tree.material

    def albedo(self, skin: int) -> np.ndarray:
        """Mean linear colour (3,) of a skin that has been drawn."""
        return self._albedos[skin]

    def _skin_images(self, key: tuple[int, int]) -> dict[str, bpy.types.Image]:
        skin, edge = key
        maps = _shrunk(self._source.maps(skin), edge)
        self._albedos[skin] = srgb_to_linear(maps["diffuse"].reshape(-1, 3) / 255.0).mean(0)
        return {name: _image(f"skin{skin}.{name}", pixels, name == "diffuse") for name, pixels in maps.items()}

    def _tree(self, key: tuple[str, ...], make: Callable[[], "_Tree"]) -> "_Tree":
        if key not in self._trees:
            self._trees[key] = make()
        return self._trees[key]


def atlas_size(part: MeshPart) -> float:
    """Edge in metres of the surface's texture atlas, were all of the part drawn at its mean scale."""
    return float(np.sqrt(_area(part.vertices[part.faces]) / _area(part.uv[part.uv_faces])))


def _area(triangles: np.ndarray) -> float:
    """Sum of the areas of triangles (F, 3, 2 or 3)."""
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    gram = (a * a).sum(1) * (b * b).sum(1) - (a * b).sum(1) ** 2
    return float(np.sqrt(np.maximum(gram, 0.0)).sum() / 2.0)


def _shrunk(maps: dict[str, np.ndarray], edge: int) -> dict[str, np.ndarray]:
    """Maps with sides of at most `edge`, each texel the mean of those it stands for.

    Normals that differ within a texel make it rougher (Toksvig 2005): the shorter their mean, the wider their spread.
    """
    if all(max(pixels.shape[:2]) <= edge for pixels in maps.values()):
        return maps
    small = {name: _at_most(pixels, edge) for name, pixels in maps.items()}
    if "normal" in maps and "roughness" in maps and small["normal"].shape != maps["normal"].shape:
        length = np.linalg.norm(small["normal"] / 127.5 - 1.0, axis=2)
        spread = np.maximum(1.0 / np.maximum(length, 0.5) - 1.0, 0.0)
        # a microfacet's width is the roughness squared; variances add up
        small["roughness"] = 255.0 * np.minimum(1.0, (small["roughness"] / 255.0) ** 4 + 2.0 * spread) ** 0.25
    return {name: np.rint(pixels).astype(np.uint8) for name, pixels in small.items()}


def _at_most(pixels: np.ndarray, edge: int) -> np.ndarray:
    """A map (H, W, ...) float32 with sides of at most `edge`, made smaller by averaging."""
    height, width = pixels.shape[:2]
    share = min(1.0, edge / max(height, width))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return cv2.resize(pixels.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _image(name: str, pixels: np.ndarray, colour: bool) -> bpy.types.Image:
    """A Blender byte image; `colour` says whether its values are sRGB or plain numbers."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height, alpha=False)
    image.colorspace_settings.name = "sRGB" if colour else "Non-Color"
    _fill(image, pixels)
    return image


def _fill(image: bpy.types.Image, pixels: np.ndarray) -> None:
    coloured = pixels.ndim == 3 and pixels.shape[2] == 3
    rgba = cv2.cvtColor(pixels[::-1], cv2.COLOR_RGB2RGBA if coloured else cv2.COLOR_GRAY2RGBA)
    image.pixels.foreach_set(np.multiply(rgba, np.float32(1.0 / 255.0)).ravel())
    image.update()


class _Tree:
    """A node tree around one Principled BSDF."""

    def __init__(self, name: str):
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.nodes, self.links = self.material.node_tree.nodes, self.material.node_tree.links
        self.bsdf = next(node for node in self.nodes if node.type == "BSDF_PRINCIPLED")

    def node(self, kind: str, **settings: object) -> bpy.types.Node:
        node = self.nodes.new(kind)
        for key, value in settings.items():
            setattr(node, key, value)
        return node

    def scaled(self, socket: bpy.types.NodeSocket) -> bpy.types.Node:
        """Multiply a value; the factor is input 1 of the node returned."""
        node = self.node("ShaderNodeMath", operation="MULTIPLY")
        self.links.new(socket, node.inputs[0])
        return node


class _SkinTree(_Tree):
    def __init__(self, name: str, images: dict[str, bpy.types.Image]):
        super().__init__(name)
        self._textures = {key: self.node("ShaderNodeTexImage") for key in images}
        colour = {key: node.outputs["Color"] for key, node in self._textures.items()}
        self.links.new(colour["diffuse"], self.bsdf.inputs["Base Color"])
        self._normal = self._roughness = None
        if "normal" in colour:
            self._normal = self.node("ShaderNodeNormalMap", space="TANGENT", uv_map="uv")
            self.links.new(colour["normal"], self._normal.inputs["Color"])
            self.links.new(self._normal.outputs["Normal"], self.bsdf.inputs["Normal"])
        if "roughness" in colour:
            self._roughness = self.scaled(colour["roughness"])
            self.links.new(self._roughness.outputs[0], self.bsdf.inputs["Roughness"])
        if "specular" in colour:
            self.links.new(colour["specular"], self.bsdf.inputs["Specular IOR Level"])
        self.bsdf.inputs["Specular IOR Level"].default_value = SKIN_SPECULAR
        self.bsdf.inputs["Subsurface Radius"].default_value = [mm / 1000.0 for mm in SKIN_RADIUS_MM]
        self.bsdf.inputs["Subsurface Scale"].default_value = 1.0
        self.bsdf.subsurface_method = "BURLEY"  # a fifth faster than a random walk, no difference to see at 224 px

    def load(self, skin: SkinMaterial, images: dict[str, bpy.types.Image]) -> None:
        for key, texture in self._textures.items():
            texture.image = images[key]
        self.bsdf.inputs["Subsurface Weight"].default_value = SUBSURFACE_WEIGHT if skin.subsurface else 0.0
        if self._normal is not None:
            self._normal.inputs["Strength"].default_value = skin.normal_strength
        if self._roughness is not None:
            self._roughness.inputs[1].default_value = skin.roughness_gain
        else:
            self.bsdf.inputs["Roughness"].default_value = min(1.0, 0.5 * skin.roughness_gain)


class _MappedTree(_Tree):
    def __init__(self, name: str, maps: Sequence[str]):
        super().__init__(name)
        self._textures = {key: self.node("ShaderNodeTexImage") for key in maps}
        self._normal = self.node("ShaderNodeNormalMap", space="TANGENT", uv_map="uv")
        self._displacement = self.node("ShaderNodeDisplacement")
        output = next(node for node in self.nodes if node.type == "OUTPUT_MATERIAL")
        targets = {
            "colour": self.bsdf.inputs["Base Color"],
            "roughness": self.bsdf.inputs["Roughness"],
            "normal": self._normal.inputs["Color"],
            "displacement": self._displacement.inputs["Height"],
        }
        for key, texture in self._textures.items():
            self.links.new(texture.outputs["Color"], targets[key])
        if "normal" in maps:
            self.links.new(self._normal.outputs["Normal"], self.bsdf.inputs["Normal"])
        if "displacement" in maps:
            self.links.new(self._displacement.outputs["Displacement"], output.inputs["Displacement"])
        self._shown: Mapping[str, np.ndarray] = {}

    def load(self, material: MappedMaterial) -> None:
        self._normal.inputs["Strength"].default_value = material.normal_strength
        self._displacement.inputs["Scale"].default_value = material.displacement
        if material.maps is self._shown:
            return
        for key, texture in self._textures.items():
            if texture.image is not None:
                bpy.data.images.remove(texture.image)
            texture.image = _image(f"{self.material.name}.{key}", material.maps[key], key == "colour")
        self._shown = material.maps


class _SurfaceTree(_Tree):
    def __init__(self, name: str, surface: SurfaceMaterial):
        super().__init__(name)
        self._texture = self._mix = self._bump = self._image = None
        height = None
        if surface.pattern == "image":
            self._texture = self.node("ShaderNodeTexImage")
            self.links.new(self._texture.outputs["Color"], self.bsdf.inputs["Base Color"])
            height = self._texture.outputs["Color"]
        elif surface.pattern != "plain" or surface.bump:
            self._texture = self._solid(surface.pattern)
            height = self._texture.outputs["Fac"]
            if surface.pattern != "plain":
                self._mix = self.node("ShaderNodeMix", data_type="RGBA")
                self.links.new(height, self._mix.inputs["Factor"])
                self.links.new(self._mix.outputs[2], self.bsdf.inputs["Base Color"])
        if surface.bump:
            self._bump = self.node("ShaderNodeBump")
            self.links.new(height, self._bump.inputs["Height"])
            self.links.new(self._bump.outputs["Normal"], self.bsdf.inputs["Normal"])

    def _solid(self, pattern: str) -> bpy.types.Node:
        kind = {
            "plain": "ShaderNodeTexNoise",
            "noise": "ShaderNodeTexNoise",
            "checker": "ShaderNodeTexChecker",
            "brick": "ShaderNodeTexBrick",
            "wood": "ShaderNodeTexWave",
        }[pattern]
        node = self.node(kind)
        if pattern == "wood":
            node.wave_type, node.inputs["Distortion"].default_value = "RINGS", 6.0
            node.inputs["Detail"].default_value = 3.0
        coordinates = self.node("ShaderNodeAttribute", attribute_name="texture_coords")
        self.links.new(coordinates.outputs["Vector"], node.inputs["Vector"])
        return node

    def load(self, surface: SurfaceMaterial) -> None:
        inputs = self.bsdf.inputs
        inputs["Base Color"].default_value = (*surface.base, 1.0)
        inputs["Roughness"].default_value = surface.roughness
        inputs["Metallic"].default_value = surface.metallic
        inputs["Specular IOR Level"].default_value = surface.specular
        inputs["Transmission Weight"].default_value = surface.transmission
        inputs["Sheen Weight"].default_value = surface.sheen
        if self._mix is not None:
            self._mix.inputs[6].default_value = (*surface.base, 1.0)
            self._mix.inputs[7].default_value = (*surface.second, 1.0)
        if surface.pattern == "image":
            self._show(surface.image)
        elif self._texture is not None:
            self._texture.inputs["Scale"].default_value = surface.scale
        if self._bump is not None:
            self._bump.inputs["Distance"].default_value = surface.bump

    def _show(self, pixels: np.ndarray) -> None:
        if self._image is not None and tuple(self._image.size) != (pixels.shape[1], pixels.shape[0]):
            bpy.data.images.remove(self._image)
            self._image = None
        if self._image is None:
            self._image = self._texture.image = _image(f"{self.material.name}.image", pixels, colour=True)
        else:
            _fill(self._image, pixels)
