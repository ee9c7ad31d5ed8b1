"""Augmentation of one training sample: what is drawn, and what it does to image and labels."""

from math import radians
from typing import NamedTuple

import numpy as np

from handgap.core.config.train import Train
from handgap.core.conventions import MIDDLE_MCP
from handgap.data.crop import Crop, hand_crop
from handgap.data.samples import Sample


class Augmentation(NamedTuple):
    """One draw; the default changes nothing."""

    angle: float = 0.0  # radians, in the image plane
    zoom: float = 1.0  # factor on the hand's size in the crop
    shift: tuple[float, float] = (0.0, 0.0)  # share of the crop's edge
    contrast: float = 1.0  # factor about the crop's mean
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factor on each channel


def draw(generator: np.random.Generator, settings: Train) -> Augmentation:
    """Draw an augmentation within the settings' limits: all uniform, brightness and channel noise multiplied."""

    def around(limit: float, size: int | None = None) -> np.ndarray | float:
        return generator.uniform(-limit, limit, size)

    colour = settings.colour_jitter
    return Augmentation(
        angle=around(radians(settings.rotation_deg)),
        zoom=1.0 + around(settings.scale_jitter),
        shift=tuple(around(settings.shift_jitter, 2)),
        contrast=1.0 + around(colour),
        gain=tuple((1.0 + around(colour)) * (1.0 + around(colour, 3))),
    )


def view(
    image: np.ndarray,
    K: np.ndarray,
    joints: np.ndarray,
    side: int,
    size: int,
    expansion: float,
    augmentation: Augmentation,
) -> tuple[Crop, np.ndarray]:
    """What a network sees of an image: the crop's camera, and its picture (3, size, size) float32 RGB in [0, 1].

    Args:
        image: (H, W, 3) uint8.
        K: (3, 3) its intrinsics, px.
        joints: (21, 3) in front of the camera; only the directions in which they are seen count.
        side: `conventions.Side`.
        size, expansion, augmentation: see `training_sample`.
    """
    crop = hand_crop(
        joints,
        side,
        size,
        expansion,
        angle=augmentation.angle,
        zoom=augmentation.zoom,
        shift=augmentation.shift,
    )
    picture = crop.image(image, K).astype(np.float32) / 255.0
    picture = (picture.mean() + (picture - picture.mean()) * augmentation.contrast) * np.float32(augmentation.gain)
    return crop, picture.clip(0.0, 1.0).transpose(2, 0, 1)


def training_sample(
    sample: Sample, size: int, expansion: float, augmentation: Augmentation = Augmentation()
) -> dict[str, np.ndarray]:
    """Crop and augment a sample.

    Args:
        sample: the image and its labels.
        size: edge of the crop, px.
        expansion: edge of the crop over that of the tight square around the joints.
        augmentation: what to do to it; by default nothing, which is the fixed crop of evaluation.

    Returns:
        ``image`` (3, size, size) float32 RGB in [0, 1]; ``joints`` (21, 3), ``vertices`` (778, 3) metres in the
        crop's frame relative to joint 9; ``root`` (3,) joint 9 in the crop's frame; ``uv`` (21, 2) share of the
        crop's edge; ``uv_weight`` (21,) 1 inside the crop; ``K`` (3, 3) px of the crop; ``rotation`` (3, 3)
        camera frame -> crop's frame; ``id``; if the sample has a mask, ``mask`` (size, size) share of the hand.
    """
    crop, image = view(sample.image, sample.K, sample.joints, sample.side, size, expansion, augmentation)
    joints, uv = crop.points(sample.joints), crop.uv(sample.joints)
    root = joints[MIDDLE_MCP]
    arrays = {
        "image": image,
        "joints": joints - root,
        "vertices": crop.points(sample.vertices) - root,
        "root": root,
        "uv": uv,
        "uv_weight": ((uv > 0) & (uv < 1)).all(1),
        "K": crop.K,
        "rotation": crop.rotation,
    }
    if sample.mask is not None:
        arrays["mask"] = crop.image(sample.mask, sample.K)
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()} | {"id": sample.id}
