import numpy as np
import pytest
from handgap.core.config.train import Subset
from handgap.core.errors import ConfigError, CorruptFileError
from handgap.core.seeds import rng
from handgap.core.store import write_store
from handgap.data.samples import LABELS, Samples
from handgap.data.selection import select, uniform_by_id

N = 60
BACKGROUNDS = ["b/alley", "a/city", "b/city", "a/dune"]  # as the render stage sorts them


@pytest.fixture(scope="module")
def columns():
    generator = rng(0, "tests/selection")
    poses = generator.normal(size=(N // 3, 48)).astype(np.float32)
    return {
        "id": np.arange(100, 100 + N),
        "valid": np.arange(N) != 7,
        "pose": poses[np.arange(N) % len(poses)],  # three images of each pose
        "hdri": [BACKGROUNDS[k] for k in generator.integers(4, size=N)],
        "skin": generator.integers(10, size=N),
    }


def stored(folder, columns, order, shards=3):
    paths, n = [], len(columns["id"])
    columns = columns | {name: np.zeros((n, 3)) for name in LABELS} | {"image": [np.zeros(1, np.uint8)] * n}
    for k, rows in enumerate(np.array_split(order, shards)):
        part = {n: [v[r] for r in rows] if isinstance(v, list) else v[rows] for n, v in columns.items()}
        paths.append(folder / f"{k}.h5")
        write_store(paths[-1], part, study="t", seed=0, code="-", config="-")
    return Samples(paths)


@pytest.fixture(scope="module")
def samples(columns, tmp_path_factory):
    return stored(tmp_path_factory.mktemp("a"), columns, np.arange(N))


def chosen(samples, seed=0, validation=0.1, **subset):
    return {int(samples.ids[row]) for row in select(samples, Subset(**subset), validation, seed).train}


def test_numbers_are_uniform_and_depend_on_seed_stage_and_id():
    ids = np.arange(100_000)
    numbers = uniform_by_id(0, "a", ids)
    assert numbers.min() >= 0 and numbers.max() < 1
    np.testing.assert_allclose(np.histogram(numbers, 20, (0, 1))[0], 5000, rtol=0.06)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.01
    np.testing.assert_array_equal(uniform_by_id(0, "a", ids[::-1]), numbers[::-1])
    for other in (uniform_by_id(1, "a", ids), uniform_by_id(0, "b", ids)):
        assert abs(np.corrcoef(numbers, other)[0, 1]) < 0.01


@pytest.mark.parametrize("key", ["images", "poses", "backgrounds", "textures"])
def test_subsets_are_nested(samples, key):
    larger = None
    for share in (1.0, 0.75, 0.5, 0.25):
        subset = chosen(samples, **{key: share})
        assert subset and (larger is None or subset < larger)
        larger = subset


def test_subsets_depend_on_ids_and_not_on_shards(samples, columns, tmp_path):
    shuffled = stored(tmp_path, columns, rng(1, "tests/selection").permutation(N), shards=5)
    for subset in ({"images": 0.3}, {"images": 11}, {"poses": 0.4}, {"backgrounds": 0.5, "textures": 0.5}):
        assert chosen(samples, **subset) == chosen(shuffled, **subset)
    assert chosen(samples, images=0.3) != chosen(samples, seed=1, images=0.3)


def test_number_and_share_of_images(samples):
    assert len(chosen(samples, images=11)) == 11
    assert len(chosen(samples, images=1.0)) == len(chosen(samples))
    assert len(chosen(samples, images=1)) == 1  # a whole number, and no share
    assert len(chosen(samples, images=0.5)) == round(0.5 * len(chosen(samples)))
    assert chosen(samples, images=5) < chosen(samples, images=11)
    with pytest.raises(ConfigError, match=r": \d+ valid samples to train on, 61 are asked for"):
        chosen(samples, images=61)


def test_all_images_of_a_chosen_pose(samples, columns):
    subset = chosen(samples, validation=0, poses=0.4)
    poses = {number % 20 for number in (id - 100 for id in subset)}
    assert len(poses) == 8
    assert subset == {id for id in range(100, 160) if (id - 100) % 20 in poses and id != 107}


def test_first_backgrounds_and_textures_as_the_render_stage_counts_them(samples, columns):
    kept = {columns["hdri"][id - 100] for id in chosen(samples, backgrounds=0.5)}
    assert kept == {"b/alley", "a/city"}
    assert {int(columns["skin"][id - 100]) for id in chosen(samples, textures=0.3)} == {0, 1, 2}


def test_what_is_held_out_does_not_depend_on_the_subset(samples):
    whole = select(samples, Subset(), 0.1, 0)
    part = select(samples, Subset(images=0.2, poses=0.5), 0.1, 0)
    assert len(whole.held) in (5, 6)  # a tenth, and one image is not valid
    np.testing.assert_array_equal(whole.held, part.held)
    assert not set(whole.held) & set(whole.train)
    assert part.size == whole.size == len(whole.train)  # an epoch keeps its length
    assert len(select(samples, Subset(), 0.0, 0).held) == 0


def test_images_of_one_pose_are_held_out_together(samples, columns, tmp_path):
    # the real and the composed side of a mix: the same ids, other failures
    other = stored(tmp_path, columns | {"valid": np.arange(N) % 5 > 0}, np.arange(N))
    held = {int(samples.ids[row]) for row in select(samples, Subset(), 0.3, 0).held}
    assert len(held) > 10 and not held & chosen(other, validation=0.3)


def test_a_missing_column_is_named(tmp_path):
    columns = {"id": np.arange(4), "valid": np.ones(4, bool)}
    samples = stored(tmp_path, columns, np.arange(4), shards=1)
    with pytest.raises(CorruptFileError, match="hdri"):
        chosen(samples, backgrounds=0.5)
