"""The occlusion prior: a variational autoencoder of 21 joints that fills in hidden ones (HandSynthesis, CVPR 2025).

Layers, loss and masking follow the released code. Readings of what is open:

- *Which half is which*: the encoder's second half is the mean, the first the log-variance, as released.
- *Inference* is not released (in evaluation mode its sampling returns nothing): the mean of the posterior, of joints
  none of which is masked, the wrist added back.
- *Frame*: the release learns hands as the camera sees them, from many views. Views drawn from the whole sphere are too
  many for a short training; "palm" is our addition, which takes every hand's orientation out and puts it back.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from handgap.core.config.prior import Frame
from handgap.core.conventions import MIDDLE_MCP, N_JOINTS, WRIST

LATENT, WIDTH = 32, 512
ENCODER_LAYERS, DECODER_LAYERS = 3, 5  # hidden ones
INDEX_MCP, PINKY_MCP = 5, 17


class Reconstruction(NamedTuple):
    """What the autoencoder makes of a batch."""

    joints: Tensor  # (B, 21, 3) metres, relative to the wrist
    mean: Tensor  # (B, 32) of the posterior
    log_variance: Tensor  # (B, 32)


def _layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """`hidden` layers of 512 with ReLU, and a linear one."""
    widths = (inputs, *[WIDTH] * hidden)
    blocks = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(*(layer for block in blocks for layer in block), nn.Linear(WIDTH, outputs))


def palm_frames(joints: Tensor) -> Tensor:
    """Rotations (B, 3, 3) from the camera frame to the palm's: x along the knuckles, y from the wrist to joint 9.

    Args:
        joints: (B, 21, 3), simple order.
    """
    y = nn.functional.normalize(joints[:, MIDDLE_MCP] - joints[:, WRIST], dim=1)
    across = joints[:, PINKY_MCP] - joints[:, INDEX_MCP]
    x = nn.functional.normalize(across - (across * y).sum(1, keepdim=True) * y, dim=1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], 1)


class OcclusionPrior(nn.Module):
    """Masked-joint autoencoder: 63 -> 3 x 512 -> 2 x 32, 32 -> 5 x 512 -> 63.

    Args:
        frame: in which it knows hands.
    """

    def __init__(self, frame: Frame = "camera"):
        super().__init__()
        self.frame = frame
        self.encoder = _layers(3 * N_JOINTS, ENCODER_LAYERS, 2 * LATENT)
        self.decoder = _layers(LATENT, DECODER_LAYERS, 3 * N_JOINTS)

    def forward(self, joints: Tensor) -> Reconstruction:
        """Reconstruct joints: from a draw of the posterior in training, from its mean otherwise.

        Args:
            joints: (B, 21, 3) metres, right hands in the prior's frame, relative to the wrist; hidden ones at zero.
        """
        log_variance, mean = self.encoder(joints.flatten(1)).chunk(2, 1)
        latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        return Reconstruction(self.decoder(latent).unflatten(1, (N_JOINTS, 3)), mean, log_variance)

    def refine(self, joints: Tensor) -> Tensor:
        """What the prior makes of predicted joints: dec(mean(enc(x - wrist))) + wrist.

        Args:
            joints: (B, 21, 3) metres, right hands, camera frame.
        """
        wrist = joints[:, WRIST : WRIST + 1]
        relative, turns = self.framed(joints)
        return self(relative).joints @ turns + wrist

    def framed(self, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Camera-frame joints (B, 21, 3) in the prior's frame, relative to the wrist; the turns (B, 3, 3) into it."""
        relative = joints - joints[:, WRIST : WRIST + 1]
        turns = palm_frames(joints) if self.frame == "palm" else torch.eye(3).to(joints).expand(len(joints), 3, 3)
        return relative @ turns.transpose(1, 2), turns


def mask_joints(joints: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
    """Each joint (B, 21, 3), the wrist too, put at zero with probability `ratio`, all three coordinates."""
    kept = torch.rand(joints.shape[:2], generator=generator) >= ratio
    return joints * kept[..., None].to(joints)


def prior_loss(reconstruction: Reconstruction, truth: Tensor, kl_weight: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean squared error over all elements + `kl_weight` * KL to N(0, 1), summed and divided by B * 21 * 3.

    Args:
        reconstruction: of the masked joints.
        truth: (B, 21, 3) the joints, not masked.
        kl_weight: lambda of the paper.

    Returns:
        Total and its weighted terms by name.
    """
    _, mean, log_variance = reconstruction
    kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum() / truth.numel()
    terms = {"joints": (reconstruction.joints - truth).square().mean(), "kl": kl_weight * kl}
    return sum(terms.values()), terms
