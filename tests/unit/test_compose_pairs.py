import numpy as np
import pytest
from handgap.compose import pairs
from handgap.compose.pairs import random_partners
from handgap.core.errors import ConfigError

SMALL_BLOCK = 8


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK", SMALL_BLOCK)


def whole(total: int, seed: int, variant: str = "random") -> np.ndarray:
    return random_partners(np.arange(total), total, seed, variant)


@pytest.mark.parametrize("total", [2, 3, 7, 15, 16, 17, 24, 31, 64, 65])
def test_every_image_is_used_once_never_by_itself_in_any_shards(small_blocks, total):
    for seed in range(40):
        partners = whole(total, seed)
        assert sorted(partners.tolist()) == list(range(total))
        assert (partners != np.arange(total)).all()
        for shard in (1, 5, 8, 20):
            starts = range(0, total, shard)
            parts = [random_partners(np.arange(k, min(k + shard, total)), total, seed, "random") for k in starts]
            assert np.concatenate(parts).tolist() == partners.tolist()


def test_one_block_is_uniform_over_all_others():
    drawn = np.array([whole(6, seed) for seed in range(6000)])
    for sample in range(6):
        counts = np.bincount(drawn[:, sample], minlength=6)
        assert counts[sample] == 0
        expected = 6000 / 5
        assert ((counts[np.arange(6) != sample] - expected) ** 2 / expected).sum() < 18.5  # chi2, 4 degrees, p = 0.001


def test_several_blocks_are_as_stated(small_blocks):
    total, sample, seeds = 64, 3, 8000
    drawn = np.array([random_partners(np.array([sample]), total, seed, "random")[0] for seed in range(seeds)])
    share = np.bincount(drawn, minlength=total) / seeds
    far = np.arange(2 * SMALL_BLOCK - 1, total - SMALL_BLOCK + 1)  # at least a block from 0 ... 7
    expected = 1 / (total - 2 * SMALL_BLOCK + 1)
    assert np.abs(share[far] - expected).max() < 4.5 * np.sqrt(expected / seeds)
    assert share[:SMALL_BLOCK].max() == 0
    assert (share <= expected + 4.5 * np.sqrt(expected / seeds)).all()


def test_neighbours_find_their_partners_in_few_shards():
    total, size = 1_000_000, 1000
    for shard in (0, 3, 999):
        partners = random_partners(np.arange(shard * size, (shard + 1) * size), total, 0, "random")
        assert len(np.unique(partners // size)) <= 5


def test_seeds_and_variants_pair_differently():
    first = whole(100, 0).tolist()
    assert first == whole(100, 0).tolist()
    assert first != whole(100, 1).tolist()
    assert first != whole(100, 0, "other").tolist()


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ConfigError, match=r"compositions.random: the split has no other image"):
        random_partners(np.array([0]), 1, 0, "random")
    with pytest.raises(ConfigError, match="split of 10: there is a sample 10"):
        random_partners(np.array([9, 10]), 10, 0, "random")
