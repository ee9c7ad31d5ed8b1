"""Tiles of hands rendered as a network sees them: its mesh, colours and light over the image it was given."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from handgap.core.geometry import procrustes_align
from handgap.data.augment import training_sample
from handgap.data.samples import Samples
from handgap.networks.s2hand import S2Hand
from handgap.report.sheets import Tile, spread

SHOWN = 24


def _tile(picture: np.ndarray, caption: str) -> Tile:
    """Of a picture (3, S, S) in [0, 1]."""
    return Tile(np.rint(255 * picture.clip(0, 1).transpose(1, 2, 0)).astype(np.uint8), caption)


@torch.inference_mode()
def reconstruction_tiles(
    network: S2Hand, image_size: int, expansion: float, truth: Sequence[Path], shown: int = SHOWN
) -> list[Tile]:
    """Pairs of pictures: the crop a network is given in evaluation, and the hand it reconstructs rendered over it.

    Args:
        network: of a stage with a texture, in evaluation mode.
        image_size, expansion: of its crop, see `training_sample`.
        truth: shards with images and labels.
        shown: at most so many pairs.
    """
    samples, tiles = Samples(truth), []
    rows = np.flatnonzero(samples.valid)
    for row in rows[spread(len(rows), shown)] if len(rows) else []:
        item = training_sample(samples[row], image_size, expansion)
        images, K = (torch.from_numpy(item[name])[None] for name in ("image", "K"))
        prediction = network(images, K, for_loss=True)
        rendered, silhouette = network.render(prediction, K, image_size, image_size)
        over = torch.where(silhouette[:, None] > 0, rendered, images)[0].numpy()
        aligned = procrustes_align(item["joints"][None], prediction.joints.numpy())[0]
        error = 1000.0 * np.linalg.norm(aligned - item["joints"], axis=1).mean()
        tiles.append(_tile(item["image"], f"id {item['id']}: given"))
        tiles.append(_tile(over, f"reconstructed, PA error {error:.1f} mm"))
    return tiles
