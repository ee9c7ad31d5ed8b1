"""Composition of a synthetic hand with the arm and the object of a real image (HandSynthesis, section 4.2).

With M the masks of the real image i, the composed image is ``(1 - M_obj - M_arm) I_syn + (M_obj + M_arm) I_real``:
a hard paste, the arm below the synthetic hand, the object over everything. Own pieces have i = j, random ones i != j.
"""

from typing import NamedTuple

import numpy as np

from handgap.core.conventions import MaskLabel


class Layer(NamedTuple):
    """Pixels to paste and where.

    Attributes:
        pixels: (H, W, 3) uint8.
        mask: (H, W) bool.
    """

    pixels: np.ndarray
    mask: np.ndarray


def paste(
    synthetic: np.ndarray, labels: np.ndarray, arm: Layer | None = None, held: Layer | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Paste an arm below and an object over a synthetic hand.

    Args:
        synthetic: (H, W, 3) uint8 render.
        labels: (H, W) uint8 `MaskLabel` of the render.
        arm: pasted only where the render shows no hand.
        held: the object, pasted over everything.

    Returns:
        Composed image (H, W, 3) uint8 and its labels (H, W) uint8; the inputs are left as they were.
    """
    image, labels = synthetic.copy(), labels.copy()
    if arm is not None:
        _overwrite(image, labels, Layer(arm.pixels, arm.mask & (labels != MaskLabel.HAND)), MaskLabel.ARM)
    if held is not None:
        _overwrite(image, labels, held, MaskLabel.OBJECT)
    return image, labels


def _overwrite(image: np.ndarray, labels: np.ndarray, layer: Layer, label: MaskLabel) -> None:
    image[layer.mask] = layer.pixels[layer.mask]
    labels[layer.mask] = label


def draw_partner(valid_ids: np.ndarray, own_id: int, generator: np.random.Generator) -> int:
    """Id of another image, uniform over the split, so that it does not depend on how the split is cut into shards.

    Args:
        valid_ids: (M,) sorted ids whose pieces may be used.
        own_id: id of the synthetic image, never drawn.
        generator: of the sample.

    Raises:
        ValueError: there is no other valid id.
    """
    others = valid_ids[valid_ids != own_id]
    if len(others) == 0:
        raise ValueError(f"no valid image but {own_id} to take an arm or object from")
    return int(generator.choice(others))
