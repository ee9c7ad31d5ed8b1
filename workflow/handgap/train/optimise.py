"""Optimisers, schedules and averaged weights, as the train section names them."""

import math

import torch
from torch import Tensor, nn

from handgap.core.config.train import Train


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels, none for biases and normalisation."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def optimiser(network: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019), betas 0.9 and 0.999."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimiser]
    # fused: one pass over the weights, where a CPU otherwise makes a dozen
    return kind(parameter_groups(network, settings.weight_decay), lr=settings.learning_rate, fused=True)


def learning_rate_factor(step: int, total: int, settings: Train) -> float:
    """Factor on the peak learning rate at a step: linear warm-up, then the schedule.

    Cosine: half a cosine down to zero (Loshchilov & Hutter 2017), after the warm-up. Steps: the rate falls by `gamma`
    once each milestone, a share of all steps, is passed.
    """
    rising = max(1, round(settings.warmup * total))
    if step < rising:
        return (step + 1) / rising
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
    return settings.gamma ** sum(step >= round(share * total) for share in settings.milestones)


class AveragedWeights:
    """Exponential moving average of a network's weights, with the running statistics of its normalisation.

    The decay rises with the steps as in TensorFlow's `ExponentialMovingAverage`, min(decay, (1 + n) / (10 + n)): a
    short run is not held back by where it began.

    Args:
        weights: by name; copied.
        decay: of the average.
    """

    def __init__(self, weights: dict[str, Tensor], decay: float):
        self.decay, self.steps = decay, 0
        self.weights = {name: value.detach().clone() for name, value in weights.items()}

    def update(self, weights: dict[str, Tensor]) -> None:
        """Take in the weights after a step; whole numbers, such as counters, are copied."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, value in weights.items():
            average = self.weights[name]
            if average.is_floating_point():
                average.lerp_(value.detach(), 1 - decay)
            else:
                average.copy_(value)

    def state_dict(self) -> dict:
        """What `load_state_dict` takes."""
        return {"weights": self.weights, "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave."""
        self.weights, self.steps = state["weights"], state["steps"]
