"""The training loop, on Lightning Fabric: stop it at any step and it goes on to the same weights.

A step's randomness (dropout, drop path, amplitude noise) comes from (seed, step, batch of the step) and its images from
(seed, epoch), so the state on disk is weights, optimiser, schedule and position; there is no generator to save. Started
by torchrun, the devices share each step's batches; the gradient is that of the step's mean loss however many they are.
"""

import math
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from handgap.compose.amplitude import augment_amplitude
from handgap.core.config.train import Amplitude, Train
from handgap.core.errors import ConfigError
from handgap.core.progress import track
from handgap.core.seeds import integer_seed, rng
from handgap.data.augment import training_sample
from handgap.data.batches import Batch, Mixture
from handgap.data.samples import Samples
from handgap.networks.base import HandNetwork
from handgap.train.devices import devices_fabric
from handgap.train.model_file import read_torch, write_torch
from handgap.train.optimise import AveragedWeights, learning_rate_factor, optimiser
from handgap.train.validate import Supervised, means, validate

STATE_FILE = "last.ckpt"
SAVING_SHARE = 0.05  # of the time, at most, goes into states: epochs of a few images would be little else


@dataclass
class Position:
    """Where a run stands, and what it has seen."""

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch: losses and metrics times images
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
        self.fabric = devices_fabric(settings.devices)
        self.total = settings.epochs * mixture.n_steps
        self.position = Position()
        self.saved_at, self.saving_s = -math.inf, 0.0

    def fit(self) -> list[dict[str, float]]:
        """Train to the end, from the beginning or from where the state says; the network then has the weights to keep.

        Returns:
            One row per epoch: ``epoch``, ``learning_rate``, ``loss``, the network's loss terms and ``pa_mpjpe_mm``,
            averaged over the epoch's images as they were trained on; after a validation also ``val_loss`` and so on,
            of the images held out, with the weights that would be kept.

        Raises:
            CorruptFileError: the state cannot be read.
            SystemExit: SIGTERM came; the state is saved, the exit status is 143.
        """
        model, self.optimizer = self.fabric.setup(Supervised(self.network), optimiser(self.network, self.settings))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, self.total, self.settings)
        )
        self.average = AveragedWeights(self.network.weights(), self.settings.ema) if self.settings.ema else None
        self._restore()
        done = self.position.epoch * self.mixture.n_steps + self.position.step
        left = range(self.total - done)
        steps = iter(track(left, len(left), "training step") if self.is_main else left)
        with _sigterm_noted() as received:
            while self.position.epoch < self.settings.epochs:
                model.train()
                self.network.begin_epoch(self.position.epoch)
                for batch in self.mixture.batches(self.position.epoch, self.position.step, self.fabric.global_rank):
                    self._backward(model, batch)
                    if not batch.last:
                        continue
                    next(steps)
                    self._step(model)
                    if self._any(bool(received)):
                        self._save()
                        raise SystemExit(128 + signal.SIGTERM)
                self._finish_epoch()
                if self.position.epoch == self.settings.epochs or self._due():
                    self._save()
            next(steps, None)
        if self.average:
            self.network.load(self.average.weights)
        return self.position.curves

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.fabric.is_global_zero

    def clear(self) -> None:
        """Remove the state of a finished run."""
        shutil.rmtree(self.state)

    def _backward(self, model: nn.Module, batch: Batch) -> None:
        """Add a batch's part to the gradient of the step."""
        step = self.position.epoch * self.mixture.n_steps + self.position.step
        torch.manual_seed(integer_seed(self.mixture.seed, f"train/step/{batch.number}", step))
        data = self.fabric.to_device(batch.data)
        data["image"] = self._with_amplitude(data["image"], data["synthetic"], step, batch.number)
        with self.fabric.no_backward_sync(model, enabled=self.settings.devices > 1 and not batch.last):
            loss, seen = model(data)
            # devices average their gradients: what each gives is summed
            self.fabric.backward(loss * (batch.share * self.settings.devices))
        for name, total in seen.items():
            self.position.sums[name] = self.position.sums.get(name, 0.0) + total

    def _step(self, model: nn.Module) -> None:
        if self.settings.gradient_clip:
            self.fabric.clip_gradients(model, self.optimizer, max_norm=self.settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        if self.average:
            self.average.update(self.network.weights())
        self.position.step += 1

    def _any(self, told: bool) -> bool:
        """Whether it is so on any device: what all must do after the same step."""
        return bool(self._summed({"told": int(told)})["told"])

    def _summed(self, values: dict[str, float]) -> dict[str, float]:
        """Sum of each value over the devices."""
        if self.settings.devices == 1 or not values:
            return values
        row = torch.tensor(list(values.values()), dtype=torch.float64, device=self.fabric.device)
        return dict(zip(values, self.fabric.all_reduce(row, reduce_op="sum").tolist(), strict=True))

    def _with_amplitude(self, images: Tensor, synthetic: Tensor, step: int, number: int) -> Tensor:
        # last of all: resampling after it would blur what it does to high frequencies
        if self.amplitude is not None and synthetic.any():
            seed = integer_seed(self.mixture.seed, f"train/amplitude/{number}", step)
            generator = torch.Generator(images.device).manual_seed(seed)
            targets = (
                self._target_crops(len(images), step, number).to(images) if self.amplitude.method == "fda" else None
            )
            augmented = augment_amplitude(images, self.amplitude, generator, targets)
            images = torch.where(synthetic[:, None, None, None], augmented, images)
        return images.contiguous(memory_format=torch.channels_last)

    def _target_crops(self, count: int, step: int, number: int) -> Tensor:
        """Crops (count, 3, S, S) of real images drawn for a batch of a step, cut as in evaluation."""
        rows = np.flatnonzero(self.targets.valid)
        drawn = rng(self.mixture.seed, f"train/amplitude_target/{number}", step).choice(rows, count)
        size, expansion = self.settings.image_size, self.settings.box_expansion
        crops = [training_sample(self.targets[row], size, expansion)["image"] for row in drawn.tolist()]
        return torch.from_numpy(np.stack(crops))

    def _finish_epoch(self) -> None:
        position = self.position
        row = {"epoch": position.epoch + 1, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        row |= means(self._summed(position.sums))
        due = row["epoch"] % self.settings.validate_every == 0 or row["epoch"] == self.settings.epochs
        if due and self.mixture.n_held:
            row |= {f"val_{name}": value for name, value in self._validation().items()}
        position.curves.append(row)
        self.position = Position(epoch=position.epoch + 1, curves=position.curves)

    def _validation(self) -> dict[str, float]:
        """Means over the images held out, with the weights that would be kept now."""
        trained = self.network.weights()
        if self.average:
            trained = {name: value.clone() for name, value in trained.items()}
            self.network.load(self.average.weights)
        if self.settings.devices > 1:  # each device has its own statistics for batch norm; the first one's are kept
            for value in self.network.buffers():
                torch.distributed.broadcast(value, 0)
        batches = map(self.fabric.to_device, self.mixture.held_batches(self.fabric.global_rank))
        sums = dict.fromkeys(self.position.sums, 0.0) | validate(self.network, batches)
        if self.average:
            self.network.load(trained)
        return means(self._summed(sums))

    def _due(self) -> bool:
        """Whether the state of the last save is old enough, for any device, to be worth another."""
        return self._any(time.monotonic() - self.saved_at >= self.saving_s / SAVING_SHARE)

    def _save(self) -> None:
        began = time.monotonic()
        position = {**vars(self.position), "sums": self._summed(self.position.sums)}
        if self.is_main:
            content = {
                "fingerprint": self.fingerprint,
                "network": self.network.weights(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "average": self.average and self.average.state_dict(),
                "position": position,
            }
            write_torch(self.state / STATE_FILE, content)
        self.fabric.barrier()
        self.saved_at = time.monotonic()
        self.saving_s = self.saved_at - began

    def _restore(self) -> None:
        path = self.state / STATE_FILE
        if not path.exists():
            return
        content = read_torch(path, self.fabric.device)
        self.fabric.barrier()
        if content["fingerprint"] != self.fingerprint:
            if self.is_main:
                os.remove(path)
            return
        self.network.load(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        if self.average:
            self.average.load_state_dict(content["average"])
        self.position = Position(**content["position"])
        if not self.is_main:
            self.position.sums = dict.fromkeys(self.position.sums, 0.0)  # the first device has them all
