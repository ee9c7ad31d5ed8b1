"""A persistent Blender scene: meshes updated in place, environment maps loaded once, any pinhole camera.

Blender's camera looks along -z with y up; the scene keeps its camera at the origin, so OpenCV points are flipped by
diag(1, -1, -1) and the environment turns instead.
"""

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from handgap.core.errors import ConfigError, CorruptFileError, MissingAssetError
from handgap.render.cache import ImageCache
from handgap.render.light import without_ringing
from handgap.render.materials import MaterialBook
from handgap.render.spec import Lamp, MeshPart, Panorama, SceneSpec, World

FLIP = np.diag([1.0, -1.0, -1.0])
SENSOR_MM = 36.0
MAPS_MIB = 1024  # kept in memory: all maps of 1k (8 MiB each), or eight of 4k
BACKGROUND_MAP_PX = 512  # importance map of the environment: enough for the sun of a 1k panorama


class PersistentScene:
    """The one scene of this process; `load` turns it into the next picture's."""

    def __init__(self, materials: MaterialBook):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.materials = materials
        self._meshes: dict[str, _Mesh] = {}
        self._camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        self.scene.collection.objects.link(self._camera)
        self.scene.camera = self._camera
        self._environment = _Environment(self.scene)
        self._lamps: list[bpy.types.Light] = []

    def load(self, spec: SceneSpec) -> None:
        """Make the scene `spec`'s."""
        self._place_camera(spec)
        self._environment.load(spec.light)
        self._place_lamps(spec.lamps)
        for part in spec.parts:
            mesh = self._meshes.get(part.name)
            if mesh is None:
                mesh = self._meshes[part.name] = _Mesh(self.scene, part.name)
            mesh.load(part, self.materials, spec.K[0, 0])
        names = {part.name for part in spec.parts}
        for name, mesh in self._meshes.items():
            mesh.object.hide_render = name not in names

    def _place_camera(self, spec: SceneSpec) -> None:
        K = np.asarray(spec.K, np.float64)
        if abs(K[0, 1]) > 1e-6 * K[0, 0]:
            raise ConfigError(f"K of sample {spec.sample_id}", "has skew", "give a pinhole camera without skew")
        render, camera = self.scene.render, self._camera.data
        render.resolution_x, render.resolution_y = spec.width, spec.height
        ratio = K[1, 1] / K[0, 0]  # Blender wants both aspects >= 1
        render.pixel_aspect_x, render.pixel_aspect_y = max(ratio, 1.0), max(1.0 / ratio, 1.0)
        camera.sensor_fit, camera.sensor_width = "HORIZONTAL", SENSOR_MM
        camera.lens = K[0, 0] * SENSOR_MM / spec.width
        camera.shift_x = (spec.width / 2 - K[0, 2]) / spec.width
        camera.shift_y = (K[1, 2] - spec.height / 2) / (spec.width * ratio)
        camera.clip_start, camera.clip_end = 0.005, 100.0
        camera.dof.use_dof = spec.lens is not None
        if spec.lens is not None:
            camera.dof.aperture_fstop, camera.dof.focus_distance = spec.lens.fstop, spec.lens.focus

    def _place_lamps(self, lamps: Sequence[Lamp]) -> None:
        for light in self._lamps:
            bpy.data.lights.remove(light)
        self._lamps = [bpy.data.lights.new("lamp", lamp.kind) for lamp in lamps]
        for light, lamp in zip(self._lamps, lamps, strict=True):
            light.energy = lamp.energy
            if lamp.kind == "AREA":
                light.size = 1.0
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = FLIP @ lamp.rotation @ FLIP * lamp.scale, FLIP @ lamp.position
            lamp_object = bpy.data.objects.new("lamp", light)
            lamp_object.matrix_world = Matrix(pose.tolist())
            self.scene.collection.objects.link(lamp_object)


class _Environment:
    """World shader: one equirectangular map, turned by a Mapping node, or one colour."""

    def __init__(self, scene: bpy.types.Scene):
        world = scene.world = bpy.data.worlds.new("environment")
        world.use_nodes = True
        world.cycles.sampling_method, world.cycles.sample_map_resolution = "MANUAL", BACKGROUND_MAP_PX
        nodes, links = world.node_tree.nodes, world.node_tree.links
        nodes.clear()
        coordinates, self._mapping = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
        self._texture, self._background = nodes.new("ShaderNodeTexEnvironment"), nodes.new("ShaderNodeBackground")
        output = nodes.new("ShaderNodeOutputWorld")
        self._texture.interpolation = "Cubic"
        links.new(coordinates.outputs["Generated"], self._mapping.inputs["Vector"])
        links.new(self._mapping.outputs["Vector"], self._texture.inputs["Vector"])
        links.new(self._background.outputs["Background"], output.inputs["Surface"])
        self._links, self._maps = links, ImageCache(_load_map, MAPS_MIB)

    def load(self, world: World) -> None:
        colour = self._background.inputs["Color"]
        self._background.inputs["Strength"].default_value = world.strength
        for link in colour.links:
            self._links.remove(link)
        if isinstance(world, Panorama):
            self._links.new(self._texture.outputs["Color"], colour)
            self._texture.image = self._maps.get(world.hdri)["map"]
            # the camera's frame stays; directions are turned into the map's frame
            rotation = Matrix((world.orientation @ FLIP).tolist())
            self._mapping.inputs["Rotation"].default_value = rotation.to_euler("XYZ")
        else:
            colour.default_value = (*world.colour, 1.0)


def _load_map(path: Path) -> dict[str, bpy.types.Image]:
    if not path.is_file():
        raise MissingAssetError(path, "no such environment map", "run `snakemake assets` again")
    image = bpy.data.images.load(str(path.resolve()))
    width, height = image.size
    if not width:
        raise CorruptFileError(path, "an environment map that Blender cannot read", "fetch it again: delete its folder")
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    radiance = pixels.reshape(height, width, image.channels)[..., :3]
    if not np.isfinite(radiance).all():
        bpy.data.images.remove(image)
        cure = "take it out of the folder, or save it again with finite values"
        raise CorruptFileError(path, "an environment map with pixels that are not finite (an overflowed sun?)", cure)
    if radiance.min() >= 0.0:
        return {"map": image}
    bpy.data.images.remove(image)  # Cycles would read the file again, whatever pixels are set
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = without_ringing(radiance)
    mended = bpy.data.images.new(path.stem, width, height, alpha=False, float_buffer=True)
    mended.pixels.foreach_set(rgba.ravel())
    mended.update()
    return {"map": mended}


class _Mesh:
    """A Blender mesh that keeps its topology from picture to picture where it can."""

    def __init__(self, scene: bpy.types.Scene, name: str):
        self.mesh = bpy.data.meshes.new(name)
        self.object = bpy.data.objects.new(name, self.mesh)
        scene.collection.objects.link(self.object)
        self._topology: tuple[np.ndarray | None, ...] = ()

    def load(self, part: MeshPart, materials: MaterialBook, focal: float) -> None:
        topology = (part.faces, part.uv, part.uv_faces, np.array([part.smooth]), part.texture_coords)
        if len(topology) != len(self._topology) or not all(map(_same, topology, self._topology)):
            self._rebuild(part)
            self._topology = topology
        points = np.ascontiguousarray(part.vertices @ FLIP, np.float32)
        self.mesh.vertices.foreach_set("co", points.ravel())
        self.mesh.update()
        self.mesh.materials[0] = materials.of(part, focal)

    def _rebuild(self, part: MeshPart) -> None:
        mesh, faces = self.mesh, np.ascontiguousarray(part.faces, np.int32)
        mesh.clear_geometry()
        mesh.vertices.add(len(part.vertices))
        mesh.loops.add(faces.size)
        mesh.polygons.add(len(faces))
        mesh.loops.foreach_set("vertex_index", faces.ravel())
        mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
        mesh.polygons.foreach_set("use_smooth", np.full(len(faces), part.smooth))
        if part.uv is not None:
            corners = np.ascontiguousarray(part.uv[part.uv_faces].reshape(-1, 2), np.float32)
            mesh.uv_layers.new(name="uv").uv.foreach_set("vector", corners.ravel())
        if part.texture_coords is not None:
            attribute = mesh.attributes.new("texture_coords", "FLOAT_VECTOR", "POINT")
            attribute.data.foreach_set("vector", np.ascontiguousarray(part.texture_coords, np.float32).ravel())
        mesh.update(calc_edges=True)
        if not mesh.materials:
            mesh.materials.append(None)


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))
