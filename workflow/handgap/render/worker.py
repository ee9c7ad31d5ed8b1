"""Cycles inside this process: a `SceneSpec` in, scene-linear pixels out. One worker serves a whole shard."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import bpy
import numpy as np

from handgap.core.images import decode_rgb
from handgap.render.materials import MaterialBook, SkinSource
from handgap.render.scene import PersistentScene
from handgap.render.spec import SceneSpec

MAX_BOUNCES = 4
TRIM_EVERY = 8  # pictures; after each one, fresh pages would cost 40 ms a picture


class Renderer:
    """Draws scenes with Cycles and denoises them with Open Image Denoise.

    The result depends on the spec, the samples and the kind of device, not on the number of threads or on the pictures
    drawn before.

    Args:
        skins: texture maps of skins by index.
        samples: paths per pixel.
        threads: CPU threads.
    """

    def __init__(self, skins: SkinSource, *, samples: int, threads: int):
        self._scene = PersistentScene(MaterialBook(skins))
        self._set_engine(samples, threads)
        # pixels leave Blender through a file; one in memory and without a name is gone however the process ends
        self._picture = os.memfd_create("picture")
        self._drawn = 0

    def render(self, spec: SceneSpec) -> np.ndarray:
        """(H, W, 3) float32 scene-linear radiance, Rec. 709 primaries."""
        image = bpy.data.images.load(self._draw(spec, "OPEN_EXR", "32"))
        pixels = np.empty(spec.height * spec.width * image.channels, np.float32)
        image.pixels.foreach_get(pixels)
        channels = image.channels
        bpy.data.images.remove(image)
        return np.ascontiguousarray(pixels.reshape(spec.height, spec.width, channels)[::-1, :, :3])

    def albedo(self, skin: int) -> np.ndarray:
        """Mean linear colour (3,) of a skin that has been drawn."""
        return self._scene.materials.albedo(skin)

    def filmic(self, spec: SceneSpec) -> np.ndarray:
        """(H, W, 3) uint8 sRGB as Blender's Filmic view shows the scene, at a fixed exposure."""
        self._draw(spec, "PNG", "8")
        return decode_rgb(np.frombuffer(os.pread(self._picture, os.fstat(self._picture).st_size, 0), np.uint8))

    def _draw(self, spec: SceneSpec, file_format: str, depth: str) -> str:
        """Render into the file in memory; its path."""
        scene = self._scene.scene
        self._scene.load(spec)
        scene.cycles.seed = spec.seed
        settings = scene.render.image_settings
        settings.file_format, settings.color_mode, settings.color_depth = file_format, "RGB", depth
        scene.render.filepath = path = f"/proc/self/fd/{self._picture}"
        with _quiet():
            bpy.ops.render.render(write_still=True)
        self._drawn += 1
        if self._drawn % TRIM_EVERY == 0:
            _give_back_memory()
        return path

    def _set_engine(self, samples: int, threads: int) -> None:
        scene = self._scene.scene
        render, cycles = scene.render, scene.cycles
        render.engine = "CYCLES"
        render.use_persistent_data = False  # Cycles' acceleration structures would depend on the pictures drawn before
        render.threads_mode, render.threads = "FIXED", threads
        render.resolution_percentage = 100
        render.use_compositing = render.use_sequencer = False
        render.use_file_extension, render.image_settings.exr_codec = False, "NONE"
        scene.view_settings.view_transform, render.dither_intensity = "Filmic", 0.0  # no part of linear pictures
        preferences = bpy.context.preferences.addons["cycles"].preferences
        cycles.device = "GPU" if enable_gpu(preferences) else "CPU"
        cycles.samples, cycles.use_adaptive_sampling = samples, False
        cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
        cycles.denoising_use_gpu = False
        cycles.denoising_input_passes, cycles.denoising_quality = "RGB_ALBEDO_NORMAL", "BALANCED"
        cycles.denoising_prefilter = "NONE"  # guides have next to no noise; FAST takes them for noisy and keeps grain
        cycles.use_light_tree = False  # the environment is the main light
        cycles.caustics_reflective = cycles.caustics_refractive = False
        cycles.max_bounces = cycles.transmission_bounces = MAX_BOUNCES
        cycles.diffuse_bounces = cycles.glossy_bounces = 2
        cycles.sample_clamp_indirect = 5.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._picture)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Blender's line a sample, written past Python, off standard output; errors go to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps some 4 MiB of each picture's in between blocks still in use."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def enable_gpu(preferences: bpy.types.AddonPreferences) -> bool:
    """Let Cycles use the GPUs that the driver shows, by OptiX or else by CUDA; False where there is none.

    The driver shows those of CUDA_VISIBLE_DEVICES, which schedulers set. The CPU, which Cycles lists as a device of
    either kind, is left out: pictures would depend on how the work is shared out.

    Args:
        preferences: of Blender's add-on "cycles".
    """
    for kind in ("OPTIX", "CUDA"):
        devices = preferences.get_devices_for_type(kind)
        if any(device.type == kind for device in devices):
            preferences.compute_device_type = kind
            for device in devices:
                device.use = device.type == kind
            return True
    return False
