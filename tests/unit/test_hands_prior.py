"""The pose prior on the forged hand."""

from pathlib import Path

import numpy as np
import pytest
from handgap.core.conventions import NIMBLE_TO_SIMPLE
from handgap.core.geometry import procrustes_align
from handgap.core.seeds import rng
from handgap.hands.prior import CHAINS, FAMILIES, FLEXION_LIMITS, Angles, PosePrior

MODEL = Path(__file__).parents[2] / "results" / "models" / "open_nimble.npz"
pytestmark = pytest.mark.skipif(not MODEL.exists(), reason="the open hand is not forged yet")


@pytest.fixture(scope="module")
def prior():
    return PosePrior.load(MODEL)


@pytest.fixture(scope="module")
def poses(prior):
    return np.stack([prior.sample_pose(rng(0, "tests/prior", k)) for k in range(150)])


def _flat(finger=None, joint=None, degrees=0.0):
    flexion = np.zeros((5, 3))
    if finger is not None:
        flexion[finger, joint] = degrees
    return Angles(flexion, np.zeros(5))


def test_anatomical_zero_is_a_straight_finger(prior):
    joints, _ = prior.pose_joints(prior.pose_of(_flat()))
    for chain in CHAINS[1:]:
        bones = np.diff(joints[[*chain, chain[-1] + 1]], axis=0)
        bones /= np.linalg.norm(bones, axis=1, keepdims=True)
        assert (bones[0] @ bones[1:].T > np.cos(np.radians(6))).all()


@pytest.mark.parametrize("finger", range(1, 5))
@pytest.mark.parametrize("joint", range(3))
def test_flexion_turns_by_its_angle_towards_the_palm(prior, finger, joint):
    straight, _ = prior.pose_joints(prior.pose_of(_flat()))
    bent, _ = prior.pose_joints(prior.pose_of(_flat(finger, joint, 60.0)))
    first = CHAINS[finger, joint]
    before, after = straight[first + 1] - straight[first], bent[first + 1] - bent[first]
    angle = np.degrees(np.arccos(before @ after / np.linalg.norm(before) / np.linalg.norm(after)))
    assert abs(angle - 60) < 3
    assert after[2] < before[2] - 0.5 * np.linalg.norm(before)


def test_thumb_opposes_in_a_pinch(prior):
    gaps = []
    for k in range(10):
        joints, _ = prior.pose_joints(prior.sample_pose(rng(0, "tests/pinch", k), "pinch"))
        gaps.append(min(np.linalg.norm(joints[4] - joints[end]) for end in (9, 14)))
    assert max(gaps) < 0.03


def test_limits_hold_and_samples_are_free_of_collisions(prior, poses):
    wild = Angles(np.full((5, 3), 300.0), np.full(5, -300.0), 300.0).limited()
    assert (wild.flexion <= FLEXION_LIMITS[..., 1]).all()
    assert not any(prior.collides(pose) for pose in poses)


def test_crossed_fingers_collide(prior):
    crossed = prior.pose_of(Angles(np.zeros((5, 3)), np.array([0.0, 25.0, -25.0, 0.0, 0.0])))
    assert prior.collides(crossed)


def test_same_generator_same_pose_and_every_family_works(prior):
    for family in FAMILIES:
        one, two = (prior.sample_pose(rng(1, "tests/prior", 5), family) for _ in range(2))
        assert one.shape == (60,)
        assert np.array_equal(one, two)
        assert not one[:3].any()


def test_mean_hand_is_a_poor_guess(prior, poses):
    """Poses vary enough: the best constant hand is off by at least 14 mm after Procrustes alignment."""
    joints = np.stack([prior.pose_joints(pose)[0] for pose in poses])[:, NIMBLE_TO_SIMPLE]
    mean = joints[0]
    for _ in range(5):
        mean = procrustes_align(np.repeat(mean[None], len(joints), 0), joints).mean(0)
    aligned = procrustes_align(joints, np.repeat(mean[None], len(joints), 0))
    assert np.linalg.norm(aligned - joints, axis=-1).mean() * 1e3 >= 14
