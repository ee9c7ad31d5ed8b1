"""Training batches of a recipe: which samples an epoch draws, in which order, augmented how.

Everything drawn depends on (seed, epoch, source, sample) alone, so a resumed run and any number of workers see the
same batches.
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
from handgap.data.samples import Samples


class Source(NamedTuple):
    """One ingredient of a training recipe, with its files."""

    samples: Samples
    synthetic: bool  # rendered: amplitude augmentation applies
    weight: float  # share of the epoch's images, relative to the other sources'


class Draw(NamedTuple):
    """One training image: the row of a source, in an epoch, and how often that epoch had drawn it before."""

    source: int
    row: int
    epoch: int
    repeat: int


def quotas(weights: Sequence[float], total: int) -> list[int]:
    """Split `total` in proportion to the weights, by largest remainder."""
    exact = np.asarray(weights) / np.sum(weights) * total
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return counts.tolist()


class Mixture(Dataset):
    """The sources of a recipe as one set of training images; indexed by `Draw`.

    An epoch has as many images as the sources have valid samples; each source gives its share, going through its
    samples in a new order as often as that takes.

    Args:
        sources: what is mixed.
        settings: sizes and limits of the augmentation.
        seed: of the training run.

    Raises:
        ConfigError: a source has no valid sample.
    """

    def __init__(self, sources: Sequence[Source], settings: Train, seed: int):
        self.sources, self.settings, self.seed = list(sources), settings, seed
        self._rows = [np.flatnonzero(source.samples.valid) for source in sources]
        for index, rows in enumerate(self._rows):
            if not len(rows):
                raise ConfigError(f"source {index} of the recipe", "none of its samples is valid", "see their flags")
        self._quotas = quotas([source.weight for source in sources], sum(map(len, self._rows)))

    def __len__(self) -> int:
        return sum(self._quotas)

    @property
    def n_batches(self) -> int:
        """Batches of an epoch."""
        return -(-len(self) // self.settings.batch)

    def __getitem__(self, item: Draw) -> dict[str, np.ndarray]:
        source = self.sources[item.source]
        sample = source.samples[item.row]
        generator = rng(self.seed, f"train/augment/{item.epoch}/{item.source}/{item.repeat}", sample.id)
        augmented = training_sample(
            sample, self.settings.image_size, self.settings.box_expansion, draw(generator, self.settings)
        )
        return augmented | {"synthetic": source.synthetic}

    def draws(self, epoch: int) -> list[list[Draw]]:
        """The batches of an epoch; their sizes differ by one at most, so that none is too small for batch norm."""
        generator = rng(self.seed, "train/order", epoch)
        drawn = []
        for index, (rows, quota) in enumerate(zip(self._rows, self._quotas, strict=True)):
            rounds = -(-quota // len(rows))
            order = [(int(row), repeat) for repeat in range(rounds) for row in generator.permutation(rows)]
            drawn += [Draw(index, row, epoch, repeat) for row, repeat in order[:quota]]
        shuffled = generator.permutation(len(drawn))
        return [[drawn[k] for k in part] for part in np.array_split(shuffled, self.n_batches)]

    def batches(self, epoch: int, first: int = 0) -> Iterator[dict[str, Tensor]]:
        """Batches of an epoch from the `first` on: the keys of `training_sample` and ``synthetic``, batch first."""
        workers = self.settings.workers
        return iter(DataLoader(self, batch_sampler=self.draws(epoch)[first:], num_workers=workers))
