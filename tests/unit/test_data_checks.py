"""Label sanity, on numbers worked out by hand and on the open hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.core.conventions import JOINT_PARENTS, Side
from handgap.core.seeds import rng
from handgap.data.adapters.checks import MIRRORED, Fault, bone_lengths, finger_bend, label_faults, unit_of
from handgap.hands.annotation_hand import AnnotationHand
from toys import _rest_joints

K = np.array([[500.0, 0, 112], [0, 500, 112], [0, 0, 1]])
NO_VERTICES = np.full((1, 778, 3), np.nan)


def bent(angle: float) -> np.ndarray:
    """A right hand along x, thumb towards +y, palm towards -z; each joint of the four fingers but the knuckles bent."""
    joints = _rest_joints()
    for finger in range(1, 5):
        for k in (2, 3):
            bone = np.linalg.norm(joints[4 * finger + k + 1] - joints[4 * finger + k])
            turned = (k - 1) * angle
            joints[4 * finger + k + 1] = joints[4 * finger + k] + bone * np.array([np.cos(turned), 0, -np.sin(turned)])
    joints[:, 2] += 0.6
    return joints[None]


def faults(joints: np.ndarray, side: Side = Side.RIGHT, **changes: np.ndarray) -> str:
    labels = {"joints": joints, "vertices": NO_VERTICES, "K": K[None], "side": np.array([side])} | changes
    return label_faults(**labels)[0].reason


def test_bones_are_those_to_the_parents() -> None:
    joints = np.zeros((1, 21, 3))
    joints[0, :, 0] = np.arange(21) ** 2
    assert bone_lengths(joints)[0].tolist() == [abs(k**2 - JOINT_PARENTS[k] ** 2) for k in range(1, 21)]


@pytest.mark.parametrize("angle", [0.3, 0.8])
def test_bend_is_positive_towards_the_palm_of_the_side(angle: float) -> None:
    joints = bent(angle)
    # fingers are not quite parallel to x: a few degrees of their first joint's turn lie off the axis
    assert finger_bend(joints, np.array([Side.RIGHT]))[0] == pytest.approx(angle, abs=0.05)
    mirrored = joints * [1, -1, 1]
    assert finger_bend(mirrored, np.array([Side.LEFT]))[0] == pytest.approx(angle, abs=0.05)
    assert finger_bend(mirrored, np.array([Side.RIGHT]))[0] == pytest.approx(-angle, abs=0.05)


def test_a_sound_hand_has_no_fault() -> None:
    assert faults(bent(0.5)) == "" == faults(bent(0.5) * [1, -1, 1], Side.LEFT)


def test_each_fault_is_told() -> None:
    joints = bent(0.5)
    assert "millimetres where metres belong" in faults(joints * 1000)
    assert "centimetres where metres belong" in faults(joints * 100)
    assert "no hand's are" in faults(joints * 7)
    assert faults(bent(0.9) * [1, -1, 1]) == MIRRORED and faults(bent(0.9), Side.LEFT) == MIRRORED
    assert "behind the camera" in faults(joints * [1, -1, -1])
    far = joints.copy()
    far[:, 4, 1] += 0.3
    assert "a bone is 0.3" in faults(far)
    assert "joints: none" in faults(np.full((1, 21, 3), np.nan))
    assert "vertices: not finite" in faults(joints, vertices=np.where(np.arange(778)[None, :, None] == 5, np.nan, 0.5))
    for wrong in (K * [[0], [1], [1]], np.full((3, 3), np.nan), 2 * K):
        assert "K is no intrinsic matrix" in faults(joints, K=wrong[None])


def test_units_are_told_by_the_palm() -> None:
    joints = bent(0.2)
    assert unit_of(joints) == 1 and unit_of(joints * 1000) == 1e-3 and unit_of(joints * 100) == 1e-2
    assert unit_of(joints * 7) is None


def test_nearly_flat_mirrored_hands_are_told_together() -> None:
    joints = np.repeat(bent(0.4) * [1, -1, 1], 4, 0)
    side = np.full(4, Side.RIGHT)
    found = label_faults(joints, np.full((4, 778, 3), np.nan), np.repeat(K[None], 4, 0), side)
    assert found == [Fault(MIRRORED, True)] * 4
    assert faults(joints[:1]) == ""  # one alone could be a stretched hand


def test_poses_of_the_open_hand_pass_and_their_mirror_images_do_not(made: Path) -> None:
    hand, generator = AnnotationHand.load(made / "models/open_mano.npz"), rng(0, "tests/checks")
    count = 64
    fingers = hand.pose_from_components(torch.from_numpy(generator.normal(0, 0.5, (count, 45))).float())
    pose = torch.cat([torch.from_numpy(generator.uniform(-3, 3, (count, 3))).float(), fingers], 1)
    posed = hand(
        pose, torch.from_numpy(generator.normal(size=(count, 10))).float(), torch.tensor([[0, 0, 0.6]] * count)
    )
    joints, vertices = posed.joints.numpy(), posed.vertices.numpy()
    many, side = np.repeat(K[None], count, 0), np.zeros(count)
    assert set(label_faults(joints, vertices, many, side)) == {Fault()}
    assert set(label_faults(joints * [-1, 1, 1], vertices, many, side)) == {Fault(MIRRORED, True)}
