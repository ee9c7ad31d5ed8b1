"""The pose prior on the forged hand."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.core.conventions import NIMBLE_BONES, NIMBLE_TO_SIMPLE
from handgap.core.errors import HandgapError
from handgap.core.geometry import procrustes_align
from handgap.core.seeds import rng
from handgap.hands import mesh
from handgap.hands.prior import CHAINS, FAMILIES, FLEXION_LIMITS, SPREAD_LIMITS, Angles, PosePrior
from handgap.hands.render_hand import RenderHand
from scipy.spatial import cKDTree

MODEL = Path(__file__).parents[2] / "results" / "models" / "open_nimble.npz"
pytestmark = pytest.mark.skipif(not MODEL.exists(), reason="the open hand is not forged yet")


@pytest.fixture(scope="module")
def prior():
    return PosePrior.load(MODEL)


@pytest.fixture(scope="module")
def poses(prior):
    return np.stack([prior.sample_pose(rng(0, "tests/prior", k)) for k in range(500)])


def _by_joint(pose):
    """Rotation (3,) of a pose (60,) by the joint it is about."""
    return dict(zip(NIMBLE_BONES, pose.reshape(20, 3), strict=True))


def test_a_hand_without_axes_is_refused(tmp_path):
    with np.load(MODEL) as file:
        arrays = {name: file[name] for name in file.files if name not in ("joint_axes", "rest_angles")}
    np.savez(tmp_path / "nimble.npz", **arrays)
    with pytest.raises(HandgapError, match="not OpenNimble"):
        PosePrior.load(tmp_path / "nimble.npz")


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


def _digit_faces(model, finger):
    """Closed piece of mesh of a digit beyond its base joint: faces, with the cut closed at one of its vertices."""
    weights = model["weights"][:, CHAINS[finger, 0] + (finger == 0) : CHAINS[finger, 2] + 2].sum(1)
    faces = model["faces_stump"][(weights > 0.5)[model["faces_stump"]].all(1)]
    loop = mesh.boundary_loop(faces)
    cap = np.stack([np.roll(loop, -1), loop, np.full(len(loop), loop[0])], 1)
    return np.concatenate([faces, cap[1:-1]])


def _inside(points, triangles):
    """Whether points (P, 3) lie inside a closed mesh (F, 3, 3), by its winding number (van Oosterom 1983)."""
    a, b, c = (triangles[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(edge, axis=-1) for edge in (a, b, c))
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.arctan2((a * np.cross(b, c)).sum(-1), below).sum(1) / (2 * np.pi) > 0.5


@pytest.fixture(scope="module")
def meshes(prior):
    """Vertices (V, 3) of a pose of the render hand, and the faces of the five digits."""
    model = dict(np.load(MODEL))
    layer, faces = RenderHand(model), [_digit_faces(model, finger) for finger in range(5)]

    def posed(pose):
        parts = (torch.as_tensor(part, dtype=torch.float32)[None] for part in (pose, np.zeros(20), np.zeros(3)))
        with torch.no_grad():
            return layer(*parts).vertices[0].double().numpy()

    return posed, faces


def test_digits_stay_out_of_each_other_on_the_mesh(prior, meshes):
    """Depth of a digit's vertices inside another digit: flesh gives by a millimetre or two where they touch."""
    posed, faces = meshes
    depths = []
    for family in FAMILIES:
        for k in range(3):
            vertices = posed(prior.sample_pose(rng(0, "tests/prior/mesh", k), family))
            depths.append(0.0)
            for one, other in permutations(range(5), 2):
                skin = np.unique(faces[other])
                low, high = vertices[skin].min(0), vertices[skin].max(0)
                points = vertices[np.unique(faces[one])]
                points = points[((points > low) & (points < high)).all(1)]
                points = points[_inside(points, vertices[faces[other]])]
                if len(points):
                    depths[-1] = max(depths[-1], cKDTree(vertices[skin]).query(points)[0].max())
    assert max(depths) < 3.5e-3
    assert np.mean(np.array(depths) > 1.5e-3) < 0.25


@pytest.mark.parametrize("family", ["pinch", "fist"])
def test_thumb_touches(prior, meshes, family):
    """In a pinch thumb and finger meet at their pads; in a fist the thumb lies on the fingers from in front."""
    posed, faces = meshes
    thumb = np.unique(faces[0])
    for k in range(4):
        pose = prior.sample_pose(rng(0, "tests/touch", k), family)
        vertices = posed(pose)
        gaps = [cKDTree(vertices[thumb]).query(vertices[np.unique(faces[f])])[0].min() for f in (1, 2)]
        assert min(gaps) < 3e-3
        if family == "fist":
            joints, _ = prior.pose_joints(pose)
            touched = 1 + int(np.argmin(gaps))
            assert joints[4, 2] < joints[CHAINS[touched, 1] + 1, 2]  # the palm looks along -z


# RenderIH (Li et al. 2023), table 2: bend of root, middle, end; spread of the root
TABLE_2 = {
    "thumb": ((-20, 40), (-8, 50), (-10, 100), (-30, 30)),
    "index": ((-25, 70), (-4, 110), (-8, 90), (-25, 15)),
    "middle": ((-25, 80), (-7, 100), (-8, 90), (-15, 15)),
    "ring": ((-25, 70), (-10, 100), (-8, 90), (-25, 15)),
    "pinky": ((-22, 70), (-8, 90), (-8, 90), (-20, 30)),
}


def test_limits_are_the_tables_and_samples_keep_them(prior, poses):
    for finger, (*bend, spread) in enumerate(TABLE_2.values()):
        assert np.array_equal(FLEXION_LIMITS[finger], bend)
        assert np.array_equal(SPREAD_LIMITS[finger], spread)
    wild = Angles(np.full((5, 3), 300.0), np.full(5, -300.0), 300.0).limited()
    assert (wild.flexion <= FLEXION_LIMITS[..., 1]).all()
    for pose in poses:
        vectors = _by_joint(pose)
        assert not prior.collides(pose)
        for finger, chain in enumerate(CHAINS):
            for place, joint in list(enumerate(chain))[1:]:
                # hinges: the rotation is about the joint's flexion axis alone, by the angle
                vector, axis = np.degrees(vectors[joint]), prior.joint_axes[joint, 0]
                angle = vector @ axis + prior.rest_angles[joint, 0]
                np.testing.assert_allclose(vector, (vector @ axis) * axis, atol=1e-3)
                low, high = FLEXION_LIMITS[finger, place]
                assert low - 1e-3 <= angle <= high + 1e-3


def test_fingertip_joints_follow_the_middle_ones(prior, poses):
    def bend(pose, finger, place):
        joint = CHAINS[finger, place]
        return np.degrees(_by_joint(pose)[joint] @ prior.joint_axes[joint, 0]) + prior.rest_angles[joint, 0]

    middle, end = (np.array([[bend(pose, f, place) for f in range(1, 5)] for pose in poses]) for place in (1, 2))
    assert np.abs(end - 2 / 3 * middle).max() < 18
    assert np.corrcoef(middle.ravel(), end.ravel())[0, 1] > 0.98


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
