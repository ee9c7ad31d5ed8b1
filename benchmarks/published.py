"""A driver that goes about rendering as HandSynthesis' published script does; `render.py` times it.

Written from what `render_syn_data.py` of the release does for each hand (Zhao et al., CVPR 2025): delete all objects,
build the material from the texture files, import the OBJ, place camera and environment map, render, render once more
for the annotation (as bpycv's `render_data`: one sample, emission, no world), write the pictures, purge. The script
leaves light paths (12 bounces), light tree, importance map (automatic resolution) and view transform at Blender's
defaults, and so does this. The denoiser's quality and prefilter, which it leaves as well, are the render stage's here.
"""

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from handgap.core.conventions import HANDSYNTHESIS_FOCAL, MM
from handgap.core.seeds import rng
from handgap.render.released import CAMERAS, NORMAL_STRENGTH

SENSOR_MM = 36.0
TEXTURES = {"diffuse.png": "sRGB", "spec.png": "Non-Color", "normal.png": "Non-Color"}  # file: colour space


class PublishedWay:
    """Everything anew for each picture.

    Args:
        folder: one sub-folder a hand: skin.obj in millimetres, diffuse.png, spec.png, normal.png.
        hdris: environment map of each hand.
        out: where pictures go.
        samples: paths per pixel.
        threads: CPU threads.
        size: px.
    """

    def __init__(self, folder: Path, hdris: Sequence[Path], out: Path, *, samples: int, threads: int, size: int):
        bpy.ops.wm.read_factory_settings()
        self._folders, self._hdris, self._out = sorted(folder.iterdir()), hdris, out
        self._samples, self._threads, self._size = samples, threads, size

    def draw(self, k: int) -> None:
        """Picture, mask and depth of the k-th hand, as files."""
        scene, folder = bpy.context.scene, self._folders[k]
        for thing in list(bpy.data.objects):
            bpy.data.objects.remove(thing)
        hand = self._import(folder, self._material(folder))
        self._place_camera(scene)
        added = self._light(scene.world, k)
        self._set_engine(scene)
        self._write(scene, "PNG", "8", "rgb.png")
        self._annotate(scene, hand)
        for node in added:
            scene.world.node_tree.nodes.remove(node)
        bpy.ops.outliner.orphans_purge(do_recursive=True)

    @staticmethod
    def _material(folder: Path) -> bpy.types.Material:
        material = bpy.data.materials.new("hand")
        material.use_nodes = True
        nodes, links = material.node_tree.nodes, material.node_tree.links
        inputs = nodes["Principled BSDF"].inputs
        coordinates, mapping = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
        links.new(coordinates.outputs["UV"], mapping.inputs["Vector"])
        normal = nodes.new("ShaderNodeNormalMap")
        normal.inputs["Strength"].default_value = NORMAL_STRENGTH
        links.new(normal.outputs["Normal"], inputs["Normal"])
        targets = (inputs["Base Color"], inputs["Specular IOR Level"], normal.inputs["Color"])
        for (name, space), target in zip(TEXTURES.items(), targets, strict=True):
            texture = nodes.new("ShaderNodeTexImage")
            texture.image = bpy.data.images.load(str(folder / name))
            texture.image.colorspace_settings.name = space
            links.new(mapping.outputs["Vector"], texture.inputs["Vector"])
            links.new(texture.outputs["Color"], target)
        return material

    @staticmethod
    def _import(folder: Path, material: bpy.types.Material) -> bpy.types.Object:
        bpy.ops.wm.obj_import(filepath=str(folder / "skin.obj"))
        hand = bpy.context.selected_objects[0]
        hand.location, hand.rotation_euler, hand.scale = (0.0, 0.0, 0.0), (-np.pi / 2, 0.0, 0.0), (MM, MM, MM)
        bpy.ops.object.shade_smooth()
        hand.data.materials.clear()
        hand.data.materials.append(material)
        return hand

    def _place_camera(self, scene: bpy.types.Scene) -> None:
        camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        scene.collection.objects.link(camera)
        camera.location, camera.rotation_euler = CAMERAS[0]
        camera.data.lens = HANDSYNTHESIS_FOCAL * SENSOR_MM / self._size
        scene.camera = camera
        scene.render.resolution_x = scene.render.resolution_y = self._size
        scene.render.resolution_percentage = 100

    def _light(self, world: bpy.types.World, k: int) -> list[bpy.types.Node]:
        """The map on the world, tilted at random about x; the nodes that are new."""
        world.use_nodes = True
        nodes, links = world.node_tree.nodes, world.node_tree.links
        coordinates, mapping = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
        mapping.inputs["Rotation"].default_value = (rng(0, "benchmarks/published", k).uniform(-180.0, 180.0), 0.0, 0.0)
        environment = nodes.new("ShaderNodeTexEnvironment")
        environment.image = bpy.data.images.load(str(self._hdris[k]))
        links.new(coordinates.outputs["Generated"], mapping.inputs["Vector"])
        links.new(mapping.outputs["Vector"], environment.inputs["Vector"])
        links.new(environment.outputs["Color"], nodes["Background"].inputs["Color"])
        return [coordinates, mapping, environment]

    def _set_engine(self, scene: bpy.types.Scene) -> None:
        render, cycles = scene.render, scene.cycles
        render.engine, render.film_transparent, render.use_motion_blur = "CYCLES", False, False
        render.threads_mode, render.threads = "FIXED", self._threads
        cycles.device, cycles.samples, cycles.use_adaptive_sampling = "CPU", self._samples, False
        cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
        cycles.denoising_quality, cycles.denoising_prefilter = "BALANCED", "NONE"

    def _annotate(self, scene: bpy.types.Scene, hand: bpy.types.Object) -> None:
        """A second render, for mask and depth; reading it and making depth of ray length is left out."""
        material = bpy.data.materials.new("annotation")
        material.use_nodes = True
        nodes = material.node_tree.nodes
        nodes.clear()
        emission, output = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
        material.node_tree.links.new(emission.outputs[0], output.inputs[0])
        hand.data.materials[0] = material
        scene.cycles.samples, scene.cycles.use_denoising = 1, False
        scene.render.film_transparent, scene.world.use_nodes = True, False
        scene.view_layers[0].use_pass_z = True
        self._write(scene, "OPEN_EXR", "32", "annotation.exr")
        scene.world.use_nodes = True

    def _write(self, scene: bpy.types.Scene, file_format: str, depth: str, name: str) -> None:
        settings = scene.render.image_settings
        settings.file_format, settings.color_depth = file_format, depth
        scene.render.filepath = str(self._out / name)
        bpy.ops.render.render(write_still=True)
