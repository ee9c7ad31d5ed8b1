"""Losses and metrics of batches, in training and on images held out of it.

Validation looks at the recipe's own images: on a synthetic recipe at synthetic ones, so that no choice made by these
curves has seen a real label.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from handgap.core.conventions import MM
from handgap.core.geometry import procrustes_align
from handgap.networks.base import HandNetwork, Prediction


def sums_of(
    prediction: Prediction, loss: Tensor, terms: dict[str, Tensor], batch: dict[str, Tensor]
) -> dict[str, float]:
    """Number of ``images`` of a batch; and times that: ``loss``, its terms, ``pa_mpjpe_mm`` where there are labels."""
    values = torch.stack([value.detach().float() for value in (loss, *terms.values())]).tolist()
    named = dict(zip(("loss", *terms), values, strict=True))
    if "joints" in batch:
        # one transfer: each waits for the device
        joints = torch.stack([prediction.joints.detach().float(), batch["joints"]]).cpu().numpy()
        error = np.linalg.norm(procrustes_align(joints[1], joints[0]) - joints[1], axis=-1).mean() / MM
        named["pa_mpjpe_mm"] = float(error)
    count = len(batch["image"])
    return {"images": count} | {name: value * count for name, value in named.items()}


def means(sums: dict[str, float]) -> dict[str, float]:
    """Per image, without the number of ``images``."""
    return {name: total / sums["images"] for name, total in sums.items() if name != "images"}


class Supervised(nn.Module):
    """A network with its loss: what distributed training wraps, as it must see which parameters the loss depends on.

    Args:
        network: any pose network.
    """

    def __init__(self, network: HandNetwork):
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """A batch of training data -> its loss, and its `sums_of`."""
        prediction = self.network(batch["image"], batch["K"], for_loss=True)
        with torch.autocast(batch["image"].device.type, enabled=False):
            loss, terms = self.network.loss(prediction, batch)
        return loss, sums_of(prediction, loss, terms, batch)


@torch.no_grad()
def validate(network: HandNetwork, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
    """`sums_of` all batches together, in evaluation mode and full precision; the network's mode is left as it was.

    Args:
        network: any pose network.
        batches: training data on its device.
    """
    training, model = network.training, Supervised(network).eval()
    total: dict[str, float] = {}
    for batch in batches:
        for name, value in model(batch)[1].items():
            total[name] = total.get(name, 0.0) + value
    network.train(training)
    return total
