"""Hidden joints in drawn scenes whose answer is plain, and against the labels of rendered ones."""

import numpy as np
import pytest
from handgap.core.conventions import MaskLabel
from handgap.core.images import encode_depth, encode_mask
from handgap.core.store import ShardedStore, write_store
from handgap.evaluate.occlusion import hidden_in_image, hidden_joints

SIZE, FOCAL, DISTANCE, RADIUS = 100, 250.0, 0.5, 0.008
K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]])


def scene():
    """A stiff hand: 21 joints on a grid facing the camera, skin 8 mm around each, tips on the skin; mask and depth."""
    joints = np.zeros((21, 3))
    joints[0] = [0, 0.06, DISTANCE]
    for finger in range(5):
        for k in range(4):
            joints[4 * finger + 1 + k] = [0.03 * (finger - 2), 0.035 - 0.03 * k, DISTANCE]
    generator = np.random.default_rng(0)
    around = generator.normal(size=(778, 3))
    around *= RADIUS / np.linalg.norm(around, axis=1, keepdims=True)
    vertices = joints[np.arange(778) % 21] + around
    vertices[:21] = joints - [0, 0, RADIUS]
    joints[4::4, 2] -= RADIUS
    mask = np.full((SIZE, SIZE), MaskLabel.HAND, np.uint8)
    depth = np.full((SIZE, SIZE), DISTANCE - RADIUS, np.float32)
    return joints, vertices, mask, depth


def test_a_bare_hand_shows_all_its_joints():
    joints, vertices, mask, depth = scene()
    assert not hidden_in_image(joints, vertices, K, mask, depth).any()


@pytest.mark.parametrize("seen_by", ["mask", "depth", "both"])
def test_a_card_in_front_hides_what_lies_behind_it(seen_by):
    joints, vertices, mask, depth = scene()
    mask[:, :50], depth[:, :50] = MaskLabel.OBJECT, DISTANCE - 0.1
    given = {"mask": (mask, None), "depth": (None, depth), "both": (mask, depth)}[seen_by]
    hidden = hidden_in_image(joints, vertices, K, *given)
    np.testing.assert_array_equal(hidden, joints[:, 0] < 0)
    assert hidden.sum() == 8


def test_a_finger_in_front_of_another_is_seen_by_depth_only():
    joints, vertices, mask, depth = scene()
    depth[:, :50] = DISTANCE - 0.05  # a finger, 5 cm nearer than the joints
    np.testing.assert_array_equal(hidden_in_image(joints, vertices, K, mask, depth), joints[:, 0] < 0)
    assert not hidden_in_image(joints, vertices, K, mask, None).any()


def test_a_surface_within_the_flesh_hides_nothing():
    joints, vertices, mask, depth = scene()
    assert not hidden_in_image(joints, vertices, K, mask, depth - np.float32(0.007)).any()  # 15 mm < 1.4 x 8 + 5 mm
    assert hidden_in_image(joints, vertices, K, mask, depth - np.float32(0.009))[[0, 1, 9]].all()


def test_an_object_behind_the_hand_hides_nothing():
    joints, vertices, mask, depth = scene()
    mask[:], depth[:] = MaskLabel.OBJECT, DISTANCE + 0.05
    assert not hidden_in_image(joints, vertices, K, mask, depth).any()


def test_joints_out_of_the_picture_and_behind_the_camera_are_hidden():
    joints, vertices, mask, depth = scene()
    joints[3], joints[6] = [0.4, 0, DISTANCE], [0, 0, -0.1]
    assert set(np.flatnonzero(hidden_in_image(joints, vertices, K, mask, depth))) == {3, 6}


def test_no_depth_on_a_pixel_is_nothing_in_front():
    joints, vertices, mask, _ = scene()
    assert not hidden_in_image(joints, vertices, K, mask, np.zeros((SIZE, SIZE), np.float32)).any()


def write(path, columns):
    write_store(path, {"id": np.arange(2), **columns}, study="t", seed=0, code="c", config="s")
    return ShardedStore([path])


def test_the_best_labels_there_are_tell(tmp_path):
    joints, vertices, mask, depth = scene()
    mask[:, :50], depth[:, :50] = MaskLabel.OBJECT, DISTANCE - RADIUS - 0.003  # a sheet on the skin: no depth tells it
    depth[:, 55:] = DISTANCE - 0.1
    twice = {"joints": np.stack([joints] * 2), "vertices": np.stack([vertices] * 2), "K": np.stack([K] * 2)}
    maps = {"mask": [encode_mask(mask)] * 2, "depth": [encode_depth(depth)] * 2}
    visibility = {"visibility": np.arange(42).reshape(2, 21) % 2 == 0}
    left, right = joints[:, 0] < 0, joints[:, 0] > 0.001
    cases = {
        "visibility": (twice | maps | visibility, ~visibility["visibility"][0]),
        "mask and depth": (twice | maps, left | right),
        "mask": (twice | {"mask": maps["mask"]}, left),
        "depth": (twice | {"depth": maps["depth"]}, right),
    }
    for source, (columns, expected) in cases.items():
        with write(tmp_path / f"{source}.h5", columns) as store:
            hidden, told_by = hidden_joints(store)
        assert told_by == source
        np.testing.assert_array_equal(hidden[0], expected)
    with write(tmp_path / "none.h5", twice) as store:
        assert hidden_joints(store) == (None, "nothing")
