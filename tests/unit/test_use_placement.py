import numpy as np
import pytest
from handgap.core.geometry import project, random_rotation
from handgap.core.seeds import rng
from handgap.use.placement import NEAREST, place
from scipy.optimize import minimize
from toys import _rest_joints

EDGE = 128
K = np.array([[300.0, 0, 64], [0, 300.0, 64], [0, 0, 1]])


def joints_of(generator):
    """A flat hand, turned at random, its joints displaced by a centimetre."""
    joints = (_rest_joints() + generator.normal(0, 0.01, (21, 3))) @ random_rotation(generator).T
    return joints - joints[9]


@pytest.mark.parametrize("depth", [0.25, 0.6, 3.0])
def test_what_a_camera_sees_is_put_back_where_it_was(depth):
    for sample in range(20):
        generator = rng(0, "tests/place", sample)
        joints = joints_of(generator)
        truth = np.array([*generator.normal(0, 0.1 * depth, 2), depth])
        np.testing.assert_allclose(place(joints, project(joints + truth, K), K, EDGE), truth, atol=1e-6 * depth)


def test_no_other_place_projects_better():
    generator = rng(0, "tests/place", 100)
    joints = joints_of(generator)
    uv = project(joints + np.array([0.02, 0.01, 0.6]), K) + generator.normal(
        0, 0.5, (21, 2)
    )  # within the quadratic part

    def error(translation):
        return np.square(project(joints + translation, K) - uv).sum()

    best = minimize(error, [0, 0, 0.5], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000})
    np.testing.assert_allclose(place(joints, uv, K, EDGE), best.x, atol=1e-5)


def test_a_joint_seen_in_a_wrong_place_moves_the_hand_little():
    generator = rng(0, "tests/place", 200)
    joints, truth = joints_of(generator), np.array([0.02, 0.01, 0.6])
    uv = project(joints + truth, K)
    uv[4] += [60, -40]
    placed = place(joints, uv, K, EDGE)
    assert np.abs(placed[:2] - truth[:2]).max() < 2e-3 and abs(placed[2] - truth[2]) < 0.02


@pytest.mark.parametrize("seen", ["turned", "anywhere", "one point"])
def test_nonsense_stays_before_the_camera_and_near_its_size(seen):
    for sample in range(20):
        generator = rng(0, "tests/place_nonsense", sample)
        joints = joints_of(generator)
        other = np.full((21, 2), 50.0)
        if seen == "turned":
            other = project(joints @ random_rotation(generator).T + np.array([0, 0, 0.6]), K)
        elif seen == "anywhere":
            other = generator.uniform(0, EDGE, (21, 2))
        placed = place(joints, other, K, EDGE)
        assert np.isfinite(placed).all() and (joints + placed)[:, 2].min() > NEAREST - 1e-9
        middle = project(joints + placed, K).mean(0)
        assert np.abs(middle - other.mean(0)).max() < EDGE / 4
        if seen == "turned":
            assert 0.2 < placed[2] < 1.8  # a random turn changes the spread by no more
