"""HDRIs, how the camera stands in them, and exposure: from scene-linear light to a picture's tones.

Renders are scene-linear (Rec. 709 primaries). A camera meters the scene and applies its tone curve: `meter` and
`tone_map` do that for both domains, so that a night street and a noon beach both come out well exposed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from handgap.core.errors import MissingAssetError
from handgap.render.spec import Panorama

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # Rec. 709
MIDDLE_GREY = 0.18
HDRI_SUFFIXES = (".exr", ".hdr")
SKIN = np.array([0.5, 0.28, 0.19])  # linear colour of an average of the open skins
SHEEN = 0.03  # share of light that skin mirrors, whatever its colour
AUTOMATIC = 0.35  # of the difference between skin and grey card that exposure follows
BRIGHTEST = 1.3  # exposed luminance that a twentieth of the skin may reach: the tone curve's 245 of 255
SHOULDER = 0.55  # linear value up to which the tone curve is straight
# OpenCV camera axes (x right, y down, z forward) of a level camera in Blender's world (z up), heading along +y
LEVEL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def find_hdris(folders: Sequence[Path]) -> list[Path]:
    """All .exr and .hdr files of the folders, in the order of their names: the list `hdri_ratio` takes its share of.

    Raises:
        MissingAssetError: a folder holds none.
    """
    found = []
    for folder in folders:
        maps = [path for path in folder.glob("*") if path.suffix.lower() in HDRI_SUFFIXES]
        if not maps:
            cure = "run `snakemake assets` again, or name a folder of maps"
            raise MissingAssetError(folder, "no .exr or .hdr environment map in it", cure)
        found.extend(maps)
    return sorted(found, key=lambda path: (path.name, str(path.parent.name)))


def without_ringing(radiance: np.ndarray) -> np.ndarray:
    """A panorama whose negative pixels have become the median of their neighbours.

    Maps made smaller with a sharp filter ring around lamps; what is below zero draws black and takes light away.

    Args:
        radiance: (H, W, 3), the left edge joining the right one.
    """
    height, width = radiance.shape[:2]
    y, x = np.nonzero((radiance < 0).any(2))
    down, right = (offset.ravel() for offset in np.mgrid[-3:4, -3:4])
    near = radiance[np.clip(y[:, None] + down, 0, height - 1), (x[:, None] + right) % width]
    near = np.ma.masked_array(near, np.broadcast_to((near < 0).any(2, keepdims=True), near.shape))
    mended = radiance.copy()
    mended[y, x] = np.ma.median(near, 1).filled(0.0)
    return mended


def share(count: int, ratio: float) -> int:
    """How many of `count` things a saturation study at `ratio` draws from: the first ones, at least one."""
    return max(1, round(count * ratio))


def map_name(hdri: Path) -> str:
    """Asset folder and file: two packages have a "city"."""
    return f"{hdri.parent.name}/{hdri.stem}"


def draw_light(
    generator: np.random.Generator,
    hdris: Sequence[Path],
    rotation: Literal["vertical", "released"] = "vertical",
) -> Panorama:
    """A random map, turned at random.

    Args:
        generator: source of randomness.
        hdris: maps to draw from.
        rotation: "vertical" is a random heading; the camera mostly level, looking down more often than up. "released"
            tilts the map about the camera's x axis by any angle, as HandSynthesis' renderer does (`released`).
    """
    hdri = hdris[generator.integers(len(hdris))]
    if rotation == "released":
        return Panorama(hdri, _turn(0, generator.uniform(-np.pi, np.pi)) @ LEVEL)
    azimuth = generator.uniform(-np.pi, np.pi)
    pitch, roll = np.radians(generator.normal(12.0, 15.0)), np.radians(generator.normal(0.0, 6.0))
    return Panorama(hdri, camera_orientation(azimuth, pitch, roll))


def _turn(axis: int, angle: float) -> np.ndarray:
    """Rotation (3, 3) about a coordinate axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    i, j = [k for k in range(3) if k != axis]
    rotation = np.eye(3)
    rotation[[i, i, j, j], [i, j, i, j]] = cos, -sin, sin, cos
    return rotation


def camera_orientation(azimuth: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Rotation (3, 3) from OpenCV camera directions to a map's frame (z up).

    Args:
        azimuth: radians, the camera's heading (turn of the map about the vertical).
        pitch: radians, > 0 looks down.
        roll: radians about the optical axis.
    """
    return _turn(2, azimuth) @ LEVEL @ _turn(0, -pitch) @ _turn(2, roll)


def illumination(linear: np.ndarray, subject: np.ndarray, albedo: np.ndarray) -> np.ndarray:
    """Light (3,) on the subject: its log-average radiance over its reflectance, the skin's sheen included.

    Args:
        linear: (H, W, 3) scene-linear.
        subject: (H, W) bool, the skin, of at least a pixel.
        albedo: (3,) mean linear colour of the skin.
    """
    radiance = np.exp(np.log(np.maximum(linear[subject], 1e-4)).mean(0))
    return radiance / (albedo + SHEEN)


def meter(linear: np.ndarray, subject: np.ndarray, albedo: np.ndarray = SKIN, weight: float = 0.8) -> float:
    """Gain that exposes a picture well: by the frame's log-average luminance and, counting most, the light on the hand.

    The hand reads as a grey card in its place would, but for `AUTOMATIC` of the difference: automatic exposure makes
    fair skin a little darker and dark skin a little brighter than they are. Skin in a beam of light is kept from
    burning out.

    Args:
        linear: (H, W, 3) scene-linear.
        subject: (H, W) bool, the hand's skin.
        albedo: (3,) mean linear colour of the skin.
        weight: the hand's share of the reading; without a hand the whole frame is read.
    """
    reading = np.log(np.maximum(linear @ LUMINANCE, 1e-4)).mean()
    if subject.any():
        card = np.log(MIDDLE_GREY * illumination(linear, subject, albedo) @ LUMINANCE)
        skin = card + AUTOMATIC * np.log((albedo + SHEEN) @ LUMINANCE / MIDDLE_GREY)
        reading = weight * skin + (1.0 - weight) * reading
        lit = np.quantile(linear[subject] @ LUMINANCE, 0.95)
        reading = max(reading, np.log(MIDDLE_GREY * max(lit, 1e-4) / BRIGHTEST))
    return float(MIDDLE_GREY / np.exp(reading))


def white_balance(
    linear: np.ndarray, subject: np.ndarray, strength: float = 0.85, albedo: np.ndarray = SKIN
) -> np.ndarray:
    """Gains (3,) of a camera that takes most of the light's colour away, as one that knows hands does; green's is 1.

    Args:
        linear: (H, W, 3) scene-linear.
        subject: (H, W) bool, the hand's skin.
        strength: 0 = leave the light's colour, 1 = skin as under white light.
        albedo: (3,) mean linear colour of the skin.
    """
    if not subject.any():
        return np.ones(3)
    # not the log-average: where lawn lights one side and sky the other, each would pull out the other's colour
    light = np.maximum(linear[subject].mean(0), 1e-4) / (albedo + SHEEN)
    return (light[1] / light) ** strength


def tone_map(linear: np.ndarray) -> np.ndarray:
    """Exposed scene-linear light -> display-referred sRGB values in 0..1: straight, a soft shoulder, then gamma."""
    linear = np.maximum(linear, 0.0)
    over = np.maximum(linear - SHOULDER, 0.0)
    compressed = np.minimum(linear, SHOULDER) + (1.0 - SHOULDER) * -np.expm1(-over / (1.0 - SHOULDER))
    return np.where(compressed <= 0.0031308, 12.92 * compressed, 1.055 * compressed ** (1 / 2.4) - 0.055)


def expose(linear: np.ndarray, subject: np.ndarray, stops: float, albedo: np.ndarray = SKIN) -> np.ndarray:
    """A picture (H, W, 3) uint8 sRGB of scene-linear light, white-balanced, `stops` brighter than metered.

    `subject` (H, W) is the hand's skin, of mean linear colour `albedo`.
    """
    balanced = linear * white_balance(linear, subject, albedo=albedo)
    tones = tone_map(balanced * (meter(balanced, subject, albedo) * 2.0**stops))
    return np.rint(255.0 * tones).astype(np.uint8)
