from collections import Counter

import numpy as np
import pytest
import torch
from handgap.core.config.train import Subset, Train
from handgap.core.conventions import Side
from handgap.core.errors import ConfigError
from handgap.core.geometry import mirrored_left, project, random_rotation
from handgap.core.seeds import rng
from handgap.core.store import write_store
from handgap.data.augment import Augmentation, draw, training_sample
from handgap.data.batches import Mixture, Source, quotas
from handgap.data.crop import hand_crop
from handgap.data.samples import Sample, Samples
from handgap.data.selection import select
from toys import draw_hand, toy_columns, toy_hand, toy_store

SETTINGS = Train(image_size=64, batch=4, epochs=1, rotation_deg=180)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    hand = toy_hand(folder / "hand.npz")
    return [toy_store(folder / f"{k}.h5", hand, range(6 * k, 6 * k + 6)) for k in range(2)]


@pytest.fixture(scope="module")
def samples(shards):
    return Samples(shards)


def test_left_hands_are_mirrored():
    points, side = np.array([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]), np.array([Side.LEFT, Side.RIGHT])
    np.testing.assert_array_equal(mirrored_left(points, side), [[[-1, 2, 3]], [[4, 5, 6]]])
    np.testing.assert_array_equal(mirrored_left(points[0], side), [[[-1, 2, 3]], [[1, 2, 3]]])


@pytest.mark.parametrize("side", list(Side))
def test_augmented_labels_come_back_without_error(samples, side):
    sample = samples[3]._replace(side=side)
    for k in range(20):
        augmented = training_sample(sample, 64, 1.25, draw(rng(0, "tests/augment", k), SETTINGS))
        back = (augmented["joints"] + augmented["root"]) @ augmented["rotation"]
        np.testing.assert_allclose(back, sample.joints, atol=1e-6)
        back = (augmented["vertices"] + augmented["root"]) @ augmented["rotation"]
        np.testing.assert_allclose(back, sample.vertices, atol=1e-6)
        seen = project(augmented["joints"] + augmented["root"], augmented["K"]) / 64
        np.testing.assert_allclose(seen, augmented["uv"], atol=1e-5)
        assert np.linalg.det(augmented["rotation"]) == pytest.approx(-1.0 if side == Side.LEFT else 1.0, abs=1e-5)


def test_pixels_follow_the_labels(samples):
    # a bright square on a joint must be where the crop's labels say that the joint is
    size, sample = 200, samples[0]
    K = np.array([[300.0, 0, 90], [0, 320.0, 110], [0, 0, 1]])
    for k in range(10):
        generator = rng(0, "tests/pixels", k)
        joint = int(generator.integers(21))
        x, y = np.floor(project(sample.joints, K)[joint]).astype(int)
        image = np.zeros((size, size, 3), np.uint8)
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
        centre = np.array([x + 0.5, y + 0.5])
        point = np.linalg.inv(K) @ [*centre, 1.0]
        angle, zoom, shift = generator.uniform(-3, 3), generator.uniform(0.9, 1.1), generator.uniform(-0.1, 0.1, 2)
        side = generator.integers(2)
        crop = hand_crop(sample.joints, side, 256, 1.4, angle=angle, zoom=zoom, shift=tuple(shift))
        light = crop.image(image, K).sum(-1).astype(float)
        rows, columns = np.mgrid[:256, :256] + 0.5
        seen = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
        np.testing.assert_allclose(seen, project(crop.points(point[None]), crop.K)[0], atol=0.15)


def test_crop_of_a_centred_hand_is_a_plain_zoom():
    joints = np.array([[-0.1, -0.05, 1.0], [0.1, 0.05, 1.0]])
    crop = hand_crop(joints, Side.RIGHT, 100, 1.25)
    np.testing.assert_allclose(crop.rotation, np.eye(3))
    np.testing.assert_allclose(crop.uv(joints), [[0.1, 0.3], [0.9, 0.7]])
    turned = hand_crop(joints, Side.RIGHT, 100, 1.25, angle=np.pi / 2, zoom=0.5, shift=(0.1, 0.0))
    # clockwise: right becomes down; half the size; moved right by a tenth of the edge (perspective: a bit more)
    np.testing.assert_allclose(turned.uv(joints)[1], [0.5 + 0.1 - 0.1, 0.5 + 0.2], atol=0.02)


def test_left_hand_equals_its_mirror_image(tmp_path):
    hand = toy_hand(tmp_path / "hand.npz")
    columns = toy_columns(hand, range(1))
    K = columns["K"][0]
    joints, vertices = columns["joints"][0], columns["vertices"][0]
    mirror = np.array([-1, 1, 1], np.float32)
    right = Sample(0, draw_hand(joints, K, 160), K, joints, vertices, Side.RIGHT)
    left = Sample(0, right.image[:, ::-1], K, joints * mirror, vertices * mirror, Side.LEFT)
    drawn = Augmentation(angle=0.4, zoom=1.1, shift=(0.05, -0.02))
    a, b = training_sample(right, 64, 1.25, drawn), training_sample(left, 64, 1.25, drawn)
    for name in ("joints", "vertices", "uv", "K", "image"):
        np.testing.assert_allclose(a[name], b[name], atol=2e-2 if name == "image" else 1e-5)


def rows_of(mixture, epoch=0):
    return [[row for _, row, _ in step.tolist()] for step in mixture.steps(epoch)]


def test_every_sample_once_and_steps_of_even_size(samples):
    mixture = Mixture([Source(samples, False, 1.0)], SETTINGS.model_copy(update={"batch": 5}), 0)
    rows = rows_of(mixture)
    assert [len(part) for part in rows] == [4, 4, 4]
    assert sorted(row for part in rows for row in part) == list(range(12))
    assert rows != rows_of(mixture, 1)


def test_sources_give_their_share(samples, shards):
    half = Samples(shards[:1])
    mixture = Mixture([Source(samples, False, 1.0), Source(half, True, 2.0)], SETTINGS, 0)
    drawn = [tuple(item) for step in mixture.steps(0) for item in step.tolist()]
    assert Counter(source for source, _, _ in drawn) == {0: 6, 1: 12}
    assert set(Counter(row for source, row, _ in drawn if source == 1).values()) == {2}
    assert len(set(drawn)) == len(drawn)  # the second time round is augmented anew
    assert quotas([1, 1, 1], 10) == [4, 3, 3]


def test_same_batches_with_workers_and_from_the_middle(samples):
    sources = [Source(samples, False, 1.0)]
    plain = list(Mixture(sources, SETTINGS, 7).batches(2))
    forked = list(Mixture(sources, SETTINGS.model_copy(update={"workers": 2}), 7).batches(2))
    resumed = list(Mixture(sources, SETTINGS, 7).batches(2, first=1))
    for name in plain[0].data:
        for a, b in zip(plain, forked, strict=True):
            torch.testing.assert_close(a.data[name], b.data[name], rtol=0, atol=0)
        torch.testing.assert_close(plain[1].data[name], resumed[0].data[name], rtol=0, atol=0)
    other = next(Mixture(sources, SETTINGS, 8).batches(2))
    assert not torch.equal(other.data["image"], plain[0].data["image"])


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_devices_share_the_same_batches(samples, devices):
    def seen(devices):
        settings = Train(image_size=64, batch=2, effective_batch=8, devices=devices, epochs=1)
        mixture = Mixture([Source(samples, False, 1.0)], settings, 7)
        found = {}
        for device in range(devices):
            step = 0
            for batch in mixture.batches(0, device=device):
                found[step, batch.number] = (batch.share, batch.data["id"].tolist())
                step += batch.last
            assert step == mixture.n_steps == 2
        return found

    found = seen(devices)
    assert found == seen(1)
    assert sorted(id for _, ids in found.values() for id in ids) == list(range(12))
    for step in range(2):
        assert sum(share for (s, _), (share, _) in found.items() if s == step) == pytest.approx(1)


def test_a_step_has_images_for_every_device(samples):
    settings = Train(image_size=64, batch=7, devices=7, epochs=1)  # 12 images: two steps of 6
    with pytest.raises(ConfigError, match="7 devices"):
        Mixture([Source(samples, False, 1.0)], settings, 0)


def test_held_out_images_are_never_trained_on(samples):
    settings = Train(image_size=64, batch=4, epochs=1, validation=0.25)
    selection = select(samples, Subset(), settings.validation, 0)
    mixture = Mixture([Source(samples, False, 1.0, selection)], settings, 0)
    held = [sample for batch in mixture.held_batches() for sample in batch["id"].tolist()]
    trained = [row for step in rows_of(mixture) for row in step]
    assert len(held) == mixture.n_held == 3
    assert sorted(held + trained) == list(range(12))
    cut = training_sample(samples[int(held[0])], 64, settings.box_expansion)
    batch = next(mixture.held_batches())
    np.testing.assert_array_equal(batch["image"][0], cut["image"])  # as evaluated: nothing drawn


def test_invalid_samples_are_not_trained_on(tmp_path):
    hand = toy_hand(tmp_path / "hand.npz")
    columns = toy_columns(hand, range(4))
    columns["valid"][[0, 2]] = False
    write_store(tmp_path / "some.h5", columns, study="t", seed=0, code="-", config="-")
    mixture = Mixture([Source(Samples([tmp_path / "some.h5"]), False, 1.0)], SETTINGS, 0)
    assert sorted(row for step in rows_of(mixture) for row in step) == [1, 3]
    columns["valid"][:] = False
    write_store(tmp_path / "none.h5", columns, study="t", seed=0, code="-", config="-")
    with pytest.raises(ConfigError, match="none of its samples is valid"):
        Mixture([Source(Samples([tmp_path / "none.h5"]), False, 1.0)], SETTINGS, 0)


def test_an_image_is_decoded_once(samples, monkeypatch):
    first = samples[5]
    monkeypatch.setattr("handgap.data.samples.decode_rgb", None)
    assert samples[5] is first


def test_projection_does_not_depend_on_the_frame(samples):
    # the same hand seen by a turned camera gives the same crop, up to the roll about the axis
    joints = samples[0].joints.astype(np.float64)
    spread = np.linalg.norm(joints - joints.mean(0), axis=1).max()
    turn = random_rotation(rng(0, "tests/turn"))
    moved = (joints - joints.mean(0)) @ turn.T + [0.02, -0.03, 0.7]
    crop = hand_crop(moved, Side.RIGHT, 64, 1.25)
    assert spread < 0.3
    assert (np.abs(crop.uv(moved) - 0.5) <= 0.4 + 1e-9).all()
    assert np.abs(crop.uv(moved) - 0.5).max() == pytest.approx(0.4)
