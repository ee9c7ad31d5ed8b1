"""Random partners: which real image gives its arm and object to which synthetic one.

A pairing is a permutation of the split's ids without fixed points, so every real image is used, read and decoded
exactly once over a split, and the random variant pastes the same pieces as the own one, only elsewhere.

The ids are cut into blocks of `BLOCK`; a block's ids are put in a random cycle, each given the next one's place, and
all places move on by one random shift s >= BLOCK around the split. So the partners of neighbouring samples lie in one
window of `BLOCK` ids, and a shard of a million images needs a handful of the real shards, not all.

Distribution, over seeds: with N < 2 BLOCK ids there is one block and no shift, and the partner is uniform over all
other ids (Sattolo 1986: a uniform cyclic permutation). Else it is uniform over the ids at least BLOCK from the
sample's block, with probability 1 / (N - 2 BLOCK + 1) each, and rarer nearer by. Nothing depends on the shards.
"""

import numpy as np

from handgap.core.errors import ConfigError
from handgap.core.seeds import rng

BLOCK = 1024


def random_partners(ids: np.ndarray, total: int, seed: int, variant: str) -> np.ndarray:
    """Partners of some samples of a split.

    Args:
        ids: (N,) ids in [0, total), those of a shard, say.
        total: number of ids of the split, which are 0 ... total - 1.
        seed: the study's seed.
        variant: name of the composition; each has its own pairing.

    Returns:
        (N,) int64, never the sample itself; over the whole split a permutation.

    Raises:
        ConfigError: the split has a single image, or an id beyond its end.
    """
    if total < 2:
        raise ConfigError(f"compositions.{variant}", "the split has no other image", "give the split two images")
    ids = np.asarray(ids, np.int64)
    if len(ids) and not 0 <= ids.min() <= ids.max() < total:
        raise ConfigError(f"split of {total}", f"there is a sample {ids.max()} in it", "give the split's full size")
    several = total >= 2 * BLOCK
    block = BLOCK if several else total
    shift = int(rng(seed, f"compose/{variant}/shift").integers(BLOCK, total - BLOCK + 1)) if several else 0
    partners = np.empty_like(ids)
    for number in np.unique(ids // block):
        inside = ids // block == number
        start = int(number) * block
        cycle = rng(seed, f"compose/{variant}/cycle", int(number)).permutation(min(block, total - start))
        follower = np.empty_like(cycle)
        follower[cycle] = np.roll(cycle, -1)
        partners[inside] = (start + follower[ids[inside] - start] + shift) % total
    return partners
