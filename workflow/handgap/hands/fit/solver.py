"""Levenberg-Marquardt on a batch of fits, each with a damping of its own (Marquardt 1963)."""

from dataclasses import dataclass

import torch

from handgap.core.conventions import MM
from handgap.hands.fit.points import SkinnedPoints

_START, _AFTER_GOOD, _AFTER_BAD = 1e-2, 0.2, 8.0
_DAMPING_RANGE = 1e-7, 1e4


@dataclass
class Prior:
    """Quadratic cost (p - mean)^T precision (p - mean) on parameters p, mm^2: mean (n,), precision (n, n)."""

    mean: torch.Tensor
    precision: torch.Tensor


def levenberg_marquardt(
    points: SkinnedPoints, prior: Prior, target: torch.Tensor, start: torch.Tensor, iterations: int
) -> torch.Tensor:
    """Parameters that minimise the mean squared distance to the target plus the prior, in mm^2.

    Args:
        points: the model.
        prior: what is known of the parameters.
        target: (B, 3, P) metres.
        start: (B, n).
        iterations: steps; one that would raise a sample's cost is not taken.

    Returns:
        (B, n); a row depends on its own target and start alone.
    """
    parameters = start
    damping = start.new_full((len(start), 1), _START)
    weight = 1 / (MM**2 * target.shape[2])

    def cost(at: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
        off = at - prior.mean
        return weight * apart.square().sum((1, 2)) + (off * (off @ prior.precision)).sum(1)

    for _ in range(iterations):
        placed, jacobian = points.with_jacobian(parameters)
        apart = placed - target
        normal = weight * (jacobian @ jacobian.mT) + prior.precision
        pull = weight * (jacobian @ apart.flatten(1)[..., None])[..., 0]
        slope = pull + (parameters - prior.mean) @ prior.precision
        trial = parameters - _solve(normal, damping, slope)
        good = (cost(trial, points(trial) - target) < cost(parameters, apart))[:, None]
        parameters = torch.where(good, trial, parameters)
        damping = (damping * torch.where(good, _AFTER_GOOD, _AFTER_BAD)).clamp(*_DAMPING_RANGE)
    return parameters


def _solve(normal: torch.Tensor, damping: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Damped step (B, n). Metres beside radians: scaled to a unit diagonal, which single precision can factor."""
    scale = normal.diagonal(dim1=1, dim2=2).rsqrt()
    scaled = scale[:, :, None] * normal * scale[:, None] + torch.diag_embed(damping.expand_as(scale))
    factor = torch.linalg.cholesky_ex(scaled)[0]
    return scale * torch.cholesky_solve((scale * slope)[..., None], factor)[..., 0]
