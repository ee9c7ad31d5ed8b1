"""The training loop, on Lightning Fabric: stop it at any step and it goes on to the same weights.

A step's randomness (dropout, drop path, amplitude noise) comes from (seed, step) and its batch from (seed, epoch), so
the state on disk is weights, optimiser, schedule and position; there is no generator to save.
"""

import math
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from torch import Tensor

from handgap.compose.amplitude import augment_amplitude
from handgap.core.config.train import Amplitude, Train
from handgap.core.errors import ConfigError
from handgap.core.progress import track
from handgap.core.seeds import integer_seed, rng
from handgap.data.augment import training_sample
from handgap.data.batches import Mixture
from handgap.data.samples import Samples
from handgap.networks.base import HandNetwork
from handgap.train.model_file import write_torch

STATE_FILE = "last.ckpt"


@dataclass
class Position:
    """Where a run stands, and what it has seen."""

    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch: loss terms times images
    curves: list[dict[str, float]] = field(default_factory=list)  # one row per finished epoch


@contextmanager
def _sigterm_noted() -> Iterator[list[int]]:
    """While inside, SIGTERM is not fatal: it is put on the list, for the loop to stop between two steps."""
    received: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, previous)


def learning_rate_factor(step: int, total: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then half a cosine down to zero (Loshchilov & Hutter 2017)."""
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def parameter_groups(network: torch.nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels, none for biases and normalisation."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


class TrainingRun:
    """One network on one recipe.

    Args:
        network: freshly built (see `networks.build`).
        mixture: the recipe's images.
        settings: of the train stage.
        amplitude: amplitude spectrum augmentation of the synthetic images, or None.
        state: folder of the run's state while it is not finished.
        fingerprint: hash of all that shapes the run; a state with another one is not gone on with.
        targets: real images that FDA takes amplitudes from.

    Raises:
        ConfigError: the amplitude augmentation is FDA and there are no targets.
    """

    def __init__(
        self,
        network: HandNetwork,
        mixture: Mixture,
        settings: Train,
        amplitude: Amplitude | None,
        state: Path,
        fingerprint: str,
        targets: Samples | None = None,
    ):
        if amplitude is not None and amplitude.method == "fda" and (targets is None or not targets.valid.any()):
            raise ConfigError("amplitude.method", "fda needs real images to take amplitudes from", "give target shards")
        self.targets = targets
        self.mixture, self.settings, self.amplitude = mixture, settings, amplitude
        self.state, self.fingerprint = state, fingerprint
        self.network = network.to(memory_format=torch.channels_last)
        # one CPU thread gains nothing from bfloat16 on depthwise convolutions; a GPU does
        precision = "bf16-mixed" if torch.cuda.is_available() else "32-true"
        # the environment is named, so that Lightning does not take a Slurm allocation for a multi-process launch
        self.fabric = Fabric(devices=1, precision=precision, plugins=LightningEnvironment())
        self.optimizer = torch.optim.AdamW(parameter_groups(network, settings.weight_decay), lr=settings.learning_rate)
        self.total = settings.epochs * mixture.n_batches
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, self.total, settings.warmup)
        )
        self.position = Position()

    def fit(self) -> list[dict[str, float]]:
        """Train to the end, from the beginning or from where the state says.

        Returns:
            One row per epoch: ``epoch``, ``learning_rate``, ``loss`` and the network's loss terms, averaged over the
            epoch's images.

        Raises:
            SystemExit: SIGTERM came; the state is saved, the exit status is 143.
        """
        model, self.optimizer = self.fabric.setup(self.network, self.optimizer)
        self._restore()
        done = self.position.epoch * self.mixture.n_batches + self.position.batch
        steps = iter(track(range(self.total - done), self.total - done, "training step"))
        with _sigterm_noted() as received:
            while self.position.epoch < self.settings.epochs:
                model.train()
                for batch in self.mixture.batches(self.position.epoch, self.position.batch):
                    next(steps)
                    self._step(model, batch)
                    self.position.batch += 1
                    if received:
                        self._save()
                        raise SystemExit(128 + received[0])
                self._finish_epoch()
                self._save()
            next(steps, None)
        return self.position.curves

    def clear(self) -> None:
        """Remove the state of a finished run."""
        shutil.rmtree(self.state)

    def _step(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> None:
        step = self.position.epoch * self.mixture.n_batches + self.position.batch
        torch.manual_seed(integer_seed(self.mixture.seed, "train/step", step))
        batch = self.fabric.to_device(batch)
        images = self._with_amplitude(batch["image"], batch["synthetic"], step)
        loss, terms = self.network.loss(model(images, batch["K"]), batch)
        self.fabric.backward(loss)
        self.fabric.clip_gradients(model, self.optimizer, max_norm=self.settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        for name, term in {"images": torch.ones(()), "loss": loss, **terms}.items():
            self.position.sums[name] = self.position.sums.get(name, 0.0) + float(term.detach()) * len(images)

    def _with_amplitude(self, images: Tensor, synthetic: Tensor, step: int) -> Tensor:
        # last of all: resampling after it would blur what it does to high frequencies
        if self.amplitude is not None and synthetic.any():
            seed = integer_seed(self.mixture.seed, "train/amplitude", step)
            generator = torch.Generator(images.device).manual_seed(seed)
            targets = self._target_crops(len(images), step).to(images) if self.amplitude.method == "fda" else None
            augmented = augment_amplitude(images, self.amplitude, generator, targets)
            images = torch.where(synthetic[:, None, None, None], augmented, images)
        return images.contiguous(memory_format=torch.channels_last)

    def _target_crops(self, count: int, step: int) -> Tensor:
        """Crops (count, 3, S, S) of real images drawn for a step, cut as in evaluation."""
        rows = np.flatnonzero(self.targets.valid)
        drawn = rng(self.mixture.seed, "train/amplitude_target", step).choice(rows, count)
        size, expansion = self.settings.image_size, self.settings.box_expansion
        crops = [training_sample(self.targets[row], size, expansion)["image"] for row in drawn.tolist()]
        return torch.from_numpy(np.stack(crops))

    def _finish_epoch(self) -> None:
        position = self.position
        images = position.sums.pop("images")
        means = {name: total / images for name, total in position.sums.items()}
        rate = self.optimizer.param_groups[0]["lr"]
        position.curves.append({"epoch": position.epoch + 1, "learning_rate": rate, **means})
        self.position = Position(epoch=position.epoch + 1, curves=position.curves)

    def _save(self) -> None:
        content = {
            "fingerprint": self.fingerprint,
            "network": self.network.weights(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "position": vars(self.position),
        }
        write_torch(self.state / STATE_FILE, content)

    def _restore(self) -> None:
        path = self.state / STATE_FILE
        if not path.exists():
            return
        content = torch.load(path, map_location=self.fabric.device, weights_only=True)
        if content["fingerprint"] != self.fingerprint:
            os.remove(path)
            return
        self.network.load(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        self.position = Position(**content["position"])
