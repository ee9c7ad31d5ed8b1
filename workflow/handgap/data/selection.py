"""Which samples of a source are trained on, and which are held out: by ids and labels, whatever shard they lie in.

A subset is the head of an order that depends on the study's seed and the samples' ids alone, so the subset at 25 % lies
within that at 50 %, all runs of a study share it, and so do the real and the composed images of the same ids.
"""

from typing import NamedTuple

import numpy as np

from handgap.core.config.train import Subset
from handgap.core.errors import ConfigError
from handgap.core.seeds import rng
from handgap.data.samples import Samples


class Selection(NamedTuple):
    """Rows of a source."""

    train: np.ndarray  # (T,) rows trained on
    held: np.ndarray  # (H,) rows held out of training
    size: int  # images that an epoch has for this source: those it could have trained on without its subset


def uniform_by_id(seed: int, stage: str, ids: np.ndarray) -> np.ndarray:
    """One number in [0, 1) for each id, a million in milliseconds: SplitMix64 (Steele et al., OOPSLA 2014).

    Args:
        seed: the study's.
        stage: what the numbers are for.
        ids: (N,) integers, >= 0.

    Returns:
        (N,) float64.
    """
    start = rng(seed, stage).integers(2**64, dtype=np.uint64)
    mixed = start + np.asarray(ids).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


def _head(count: int, share: float) -> int:
    return max(1, round(count * share))


def held_out(ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Mark a share of the ids (N,), rounded up: (N,) bool."""
    order = np.argsort(uniform_by_id(seed, "data/validation", ids), kind="stable")
    marked = np.zeros(len(ids), bool)
    marked[order[: int(np.ceil(share * len(ids)))]] = True
    return marked


def _of_first_poses(samples: Samples, rows: np.ndarray, share: float, seed: int) -> np.ndarray:
    # a pose counts once, whichever its images are: its place is that of its smallest id
    poses, of_row = np.unique(samples.labels("pose")[rows], axis=0, return_inverse=True)
    smallest = np.full(len(poses), np.iinfo(np.int64).max)
    np.minimum.at(smallest, of_row.reshape(-1), samples.ids[rows])
    order = np.argsort(uniform_by_id(seed, "data/poses", smallest), kind="stable")
    return np.isin(of_row.reshape(-1), order[: _head(len(poses), share)])


def _of_first_backgrounds(samples: Samples, rows: np.ndarray, share: float) -> np.ndarray:
    # as the render stage sorts them: by the map's name, then by its folder's
    used = samples.labels("hdri")[rows]
    names = sorted(set(used), key=lambda name: name.split("/")[::-1])
    return np.isin(used.astype(str), names[: _head(len(names), share)])


def _of_first_textures(samples: Samples, rows: np.ndarray, share: float) -> np.ndarray:
    used = samples.labels("skin")[rows]
    numbers = np.unique(used)
    return np.isin(used, numbers[: _head(len(numbers), share)])


def select(samples: Samples, subset: Subset, validation: float, seed: int) -> Selection:
    """Hold out a share of the samples, then take a subset of the rest: poses, backgrounds, textures, then images.

    What is held out does not depend on the subset. An epoch keeps the length it has without one: a study of diversity
    compares runs of as many steps.

    Args:
        samples: of one source.
        subset: which of them.
        validation: share to hold out, of all ids.
        seed: the study's.

    Raises:
        ConfigError: no valid sample is left, or fewer than the number of images asked for.
        CorruptFileError: the shards lack the column that the subset looks at: pose, hdri or skin.
    """
    held = held_out(samples.ids, validation, seed)
    rows = np.flatnonzero(samples.valid & ~held)
    size = len(rows)
    if subset.poses < 1:
        rows = rows[_of_first_poses(samples, rows, subset.poses, seed)]
    if subset.backgrounds < 1:
        rows = rows[_of_first_backgrounds(samples, rows, subset.backgrounds)]
    if subset.textures < 1:
        rows = rows[_of_first_textures(samples, rows, subset.textures)]
    wanted = subset.images if isinstance(subset.images, int) else _head(len(rows), subset.images)
    if not size or wanted > len(rows):
        raise ConfigError(
            samples.shards[0].parent,
            f"{len(rows)} valid samples to train on, {wanted} are asked for",
            "ask for fewer in the source's subset, lower train.validation, or see the samples' flags",
        )
    order = np.argsort(uniform_by_id(seed, "data/images", samples.ids[rows]), kind="stable")
    return Selection(np.sort(rows[order[:wanted]]), np.flatnonzero(samples.valid & held), size)
