"""Composition of a synthetic hand with the arm and the object of a real image (HandSynthesis, section 4.2).

With M the masks of the real image i, the composed image is ``(1 - M_obj - M_arm) I_syn + (M_obj + M_arm) I_real``:
a hard paste, the arm below the synthetic hand, the object over everything. Own pieces have i = j, random ones i != j.
Soft edges and colour matching are options beyond the paper.
"""

from typing import NamedTuple

import cv2
import numpy as np

from handgap.core.conventions import MaskLabel

FLAT = 0.1  # L*a*b* deviation below which a channel is one value, up to rounding


class Layer(NamedTuple):
    """Pixels to paste and where.

    Attributes:
        pixels: (H, W, 3) uint8, or what broadcasts to it.
        mask: (H, W) bool.
    """

    pixels: np.ndarray
    mask: np.ndarray


def paste(
    synthetic: np.ndarray,
    labels: np.ndarray,
    arm: Layer | None = None,
    held: Layer | None = None,
    feather: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Paste an arm below and an object over a synthetic hand.

    A pixel is labelled by the piece whose mask holds its centre. A soft edge runs half inside the mask and half
    outside, so the piece has more than half of the pixels labelled by it and less than half of all others: the labels
    are the same for any feathering. Edges are mixed in the values as they are stored (sRGB), and the arm's is that of
    its own mask: it stays solid where it goes below the hand.

    Args:
        synthetic: (H, W, 3) uint8 render.
        labels: (H, W) uint8 `MaskLabel` of the render.
        arm: pasted only where the render shows no hand.
        held: the object, pasted over everything.
        feather: width of the soft edge, px; up to 1 there is none.

    Returns:
        Composed image (H, W, 3) uint8 and its labels (H, W) uint8; the inputs are left as they were.
    """
    image, labels = synthetic.copy(), labels.copy()
    if arm is not None:
        _overlay(image, labels, arm, MaskLabel.ARM, labels != MaskLabel.HAND, feather)
    if held is not None:
        _overlay(image, labels, held, MaskLabel.OBJECT, np.ones_like(held.mask), feather)
    return image, labels


def _overlay(
    image: np.ndarray, labels: np.ndarray, layer: Layer, label: MaskLabel, free: np.ndarray, feather: float
) -> None:
    pixels, share = np.broadcast_to(layer.pixels, image.shape), coverage(layer.mask, feather)
    solid, edge = free & (share == 1), free & (share > 0) & (share < 1)
    image[solid] = pixels[solid]
    below, above = (values[edge].astype(np.float32) for values in (image, pixels))
    image[edge] = np.rint(below + share[edge, None] * (above - below))
    labels[layer.mask & free] = label


def coverage(mask: np.ndarray, feather: float) -> np.ndarray:
    """Share of each pixel that a piece with a soft edge takes.

    Linear in the distance to the mask's edge, which lies half a pixel from the centres on either side of it.

    Args:
        mask: (H, W) bool.
        feather: distance over which the share goes from 0 to 1, px.

    Returns:
        (H, W) float32 in [0, 1]; above 1/2 inside the mask, below outside, and the mask itself for `feather` <= 1.
    """
    if feather <= 1.0:
        return mask.astype(np.float32)
    inside, outside = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (mask, ~mask)
    )
    return np.clip(0.5 + np.where(mask, inside - 0.5, 0.5 - outside) / feather, 0.0, 1.0).astype(np.float32)


def match_colour(
    source: np.ndarray, source_region: np.ndarray, target: np.ndarray, target_region: np.ndarray
) -> np.ndarray:
    """Move an image's colours so that a region of it gets the mean and deviation of a region of another image.

    Reinhard et al. 2001, "Color Transfer between Images", with swatches, in CIE L*a*b* in the place of their
    l-alpha-beta: per channel, (x - mean) deviation' / deviation + mean'. With the hands as regions, the arm goes on in
    the other hand's skin and light; whole images would match backgrounds that have nothing to do with each other.

    Args:
        source, target: (H, W, 3) uint8 sRGB.
        source_region, target_region: (H, W) bool.

    Returns:
        (H, W, 3) uint8; colours out of sRGB are clipped. The source as it is where either region is empty.
    """
    if not (source_region.any() and target_region.any()):
        return source
    lab, wanted = _lab(source), _lab(target)[target_region]
    given = lab[source_region]
    gain = wanted.std(0) / np.maximum(given.std(0), FLAT)
    moved = cv2.cvtColor((lab - given.mean(0)) * gain + wanted.mean(0), cv2.COLOR_LAB2RGB)
    return np.rint(moved.clip(0.0, 1.0) * 255.0).astype(np.uint8)


def _lab(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
