"""Training batches of a recipe: which samples an epoch draws, in which order, augmented how.

Everything drawn depends on (seed, epoch, source, sample) alone, so a resumed run and any number of workers or devices
see the same batches.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from handgap.core.config.train import Train
from handgap.core.errors import ConfigError
from handgap.core.seeds import rng
from handgap.data.augment import draw, training_sample
from handgap.data.detected import Detected, detected_sample
from handgap.data.samples import Samples
from handgap.data.selection import Selection

AS_EVALUATED = -1  # in place of an epoch: nothing is drawn


class Source(NamedTuple):
    """One ingredient of a training recipe, with its files."""

    samples: Samples
    synthetic: bool  # rendered: amplitude augmentation applies
    weight: float  # share of the epoch's images, relative to the other sources'
    selection: Selection | None = None  # None: all valid samples


class Draw(NamedTuple):
    """One training image: the row of a source, in an epoch, and how often that epoch had drawn it before."""

    source: int
    row: int
    epoch: int
    repeat: int


class Batch(NamedTuple):
    """Images a device works on at once."""

    data: dict[str, Tensor]  # keys of `training_sample` and ``synthetic``, batch first
    share: float  # of its images in those of the step
    number: int  # among the step's batches on all devices
    last: bool  # whether it is the device's last one of the step


def quotas(weights: Sequence[float], total: int) -> list[int]:
    """Split `total` in proportion to the weights, by largest remainder."""
    exact = np.asarray(weights) / np.sum(weights) * total
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return counts.tolist()


class Plan:
    """Batches of images by source, row and repeat, as a loader's batch sampler; a million images are 24 MB.

    Args:
        parts: (B, 3) int64 for each batch.
        epoch: of the draws.
    """

    def __init__(self, parts: Sequence[np.ndarray], epoch: int):
        self.parts, self._epoch = parts, epoch

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[list[Draw]]:
        for part in self.parts:
            yield [Draw(source, row, self._epoch, repeat) for source, row, repeat in part.tolist()]


class Mixture(Dataset):
    """The sources of a recipe as one set of training images; indexed by `Draw`.

    An epoch has as many images as the sources have samples to train on; each source gives its share, going through its
    samples in a new order as often as that takes.

    Args:
        sources: what is mixed.
        settings: sizes and limits of the augmentation.
        seed: of the training run.

    Raises:
        ConfigError: a source has no valid sample, or a step too few images for the devices.
    """

    def __init__(self, sources: Sequence[Source], settings: Train, seed: int):
        self.sources, self.settings, self.seed = list(sources), settings, seed
        self._rows, self._held, sizes = [], [], []
        for index, source in enumerate(sources):
            valid = np.flatnonzero(source.samples.valid)
            chosen = source.selection or Selection(valid, valid[:0], len(valid))
            if not len(chosen.train):
                raise ConfigError(f"source {index} of the recipe", "none of its samples is valid", "see their flags")
            self._rows.append(chosen.train)
            self._held.append(np.stack([np.full(len(chosen.held), index), chosen.held, 0 * chosen.held], 1))
            sizes.append(chosen.size)
        self._quotas = quotas([source.weight for source in sources], sum(sizes))
        if len(self) // self.n_steps < settings.devices:
            problem = (
                f"steps of {len(self) // self.n_steps} images leave some of {settings.devices} devices without any"
            )
            raise ConfigError("train.devices", problem, "take fewer devices, or a larger train.effective_batch")

    def __len__(self) -> int:
        return sum(self._quotas)

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self) // self.settings.step_images)

    @property
    def n_held(self) -> int:
        """Images held out of training."""
        return sum(map(len, self._held))

    def __getitem__(self, item: Draw) -> dict[str, np.ndarray]:
        source = self.sources[item.source]
        sample = source.samples[item.row]
        size, expansion = self.settings.image_size, self.settings.box_expansion
        make = detected_sample if isinstance(sample, Detected) else training_sample
        if item.epoch == AS_EVALUATED:
            augmented = make(sample, size, expansion)
        else:
            generator = rng(self.seed, f"train/augment/{item.epoch}/{item.source}/{item.repeat}", sample.id)
            augmented = make(sample, size, expansion, draw(generator, self.settings))
        return augmented | {"synthetic": source.synthetic}

    def steps(self, epoch: int) -> list[np.ndarray]:
        """The steps of an epoch, (B, 3) source, row and repeat each; their sizes differ by one at most."""
        generator = rng(self.seed, "train/order", epoch)
        drawn = []
        for index, (rows, quota) in enumerate(zip(self._rows, self._quotas, strict=True)):
            rounds = -(-quota // len(rows))
            order = np.concatenate([generator.permutation(rows) for _ in range(rounds)])
            repeat = np.repeat(np.arange(rounds), len(rows))
            drawn.append(np.stack([np.full(quota, index), order[:quota], repeat[:quota]], 1))
        return np.array_split(generator.permutation(np.concatenate(drawn)), self.n_steps)

    def split(self, step: np.ndarray) -> list[np.ndarray]:
        """A step's images as the batches of all devices: as even as can be, so that none is too small for batch norm.

        They do not depend on how many devices share them while there are enough for all.
        """
        return np.array_split(step, max(self.settings.devices, -(-len(step) // self.settings.batch)))

    def batches(self, epoch: int, first: int = 0, device: int = 0) -> Iterator[Batch]:
        """One device's batches of an epoch, from the step `first` on."""
        count, parts, places = self.settings.devices, [], []
        for step in self.steps(epoch)[first:]:
            split = self.split(step)
            own = range(device, len(split), count)
            parts += [split[number] for number in own]
            places += [(len(split[number]) / len(step), number, number == own[-1]) for number in own]
        for data, place in zip(self._loader(Plan(parts, epoch)), places, strict=True):
            yield Batch(data, *place)

    def held_batches(self, device: int = 0) -> Iterator[dict[str, Tensor]]:
        """One device's batches of the images held out, cropped as in evaluation."""
        rows = np.concatenate(self._held)[device :: self.settings.devices]
        parts = np.array_split(rows, -(-len(rows) // self.settings.batch)) if len(rows) else []
        return iter(self._loader(Plan(parts, AS_EVALUATED)))

    def _loader(self, plan: Plan) -> DataLoader:
        return DataLoader(self, batch_sampler=plan, num_workers=self.settings.workers)
