"""Skin maps drawn at the size at which they are seen."""

import numpy as np
import pytest
from handgap.core.conventions import MaskLabel
from handgap.render.spec import MeshPart, SkinMaterial

pytest.importorskip("bpy", reason="Blender's Python module is not installed")

from handgap.render.materials import _shrunk, atlas_size


def test_atlas_is_as_large_as_the_surface_at_its_scale():
    square = np.array([[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0.0]])
    faces, uv = np.array([[0, 1, 2], [0, 2, 3]]), 0.25 + 0.5 * square[:, :2] / 0.1
    part = MeshPart("hand", square + np.array([0, 0, 0.5]), faces, MaskLabel.HAND, SkinMaterial(0), uv, faces)
    assert atlas_size(part) == pytest.approx(0.2)  # 10 cm are half of the map's edge


def test_map_becomes_smaller_by_means_and_no_larger():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    small = _shrunk({"diffuse": pixels}, 4)["diffuse"]
    np.testing.assert_allclose(small, pixels.reshape(4, 4, 4, 4, 3).mean((1, 3)), atol=0.51)
    assert _shrunk({"diffuse": pixels}, 16)["diffuse"] is pixels


def test_relief_that_is_too_fine_to_see_becomes_roughness():
    flat = np.full((8, 8), 102, np.uint8)
    slope = np.tile([0.5, -0.5], (8, 4))  # ridges of one texel
    normal = np.stack([-slope, np.zeros((8, 8)), np.ones((8, 8))], -1) / np.sqrt(1.25)
    maps = {"diffuse": np.zeros((8, 8, 3), np.uint8), "roughness": flat}
    ridged = _shrunk(maps | {"normal": np.rint(127.5 * (normal + 1)).astype(np.uint8)}, 2)
    even = _shrunk(maps | {"normal": np.full((8, 8, 3), [128, 128, 255], np.uint8)}, 2)
    np.testing.assert_allclose(even["roughness"], 102, atol=3)
    # the mean normal's length is 1 / sqrt(1.25)
    np.testing.assert_allclose(ridged["roughness"], 255 * (0.4**4 + 2 * (np.sqrt(1.25) - 1)) ** 0.25, atol=2)
    np.testing.assert_allclose(ridged["normal"][..., :2], 127.5, atol=1)
