"""Label sanity: what no hand can look like, whatever the dataset.

Units are told by the size of the palm, handedness by the way fingers bend: fingers bend towards the palm, so of a hand
that is mirrored, or labelled as the other one, they bend backwards.
"""

from typing import NamedTuple

import numpy as np

from handgap.core.conventions import JOINT_PARENTS, MIDDLE_MCP, WRIST, Side

PALM = (0.04, 0.16)  # metres from wrist to middle knuckle, from a child's hand to one larger than any measured
LONGEST_BONE = 0.16  # metres, of the others
# mean bend of the fingers' middle and end joints: of random poses that no person would take a few reach -40 degrees
BACKWARDS = np.radians(-45.0)
MIRRORED = "fingers bend backwards: mirrored, or the other hand?"
# hands of one side, and their mean bend below which they are taken for mirrored: stretched fingers bend back a little
SAME_SIDE, STRETCHED = 4, np.radians(-15.0)
_UNITS = {"millimetres": 1e-3, "centimetres": 1e-2}
_INDEX_MCP, _PINKY_MCP = 5, 17
_BENT = np.array([[f + k - 1, f + k, f + k + 1] for f in (5, 9, 13, 17) for k in (1, 2)])


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    """(N, 20) lengths of the bones that end in joints 1 to 20, of (N, 21, 3) in simple order; same unit."""
    return np.linalg.norm(joints[:, 1:] - joints[:, JOINT_PARENTS[1:]], axis=2)


def finger_bend(joints: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Mean bend of the four fingers' middle and end joints, radians, positive towards the palm.

    A bend turns about an axis across the palm, from the little finger to the index in a right hand: the opposite way
    in a left one.

    Args:
        joints: (N, 21, 3) simple order, in a frame that is not mirrored.
        side: (N,) `conventions.Side`.

    Returns:
        (N,); nan where two joints coincide.
    """
    axis = joints[:, _INDEX_MCP] - joints[:, _PINKY_MCP]
    axis = axis * np.where(side == Side.LEFT, -1.0, 1.0)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        axis = (axis / np.linalg.norm(axis, axis=1, keepdims=True))[:, None]
        a, b, c = (joints[:, _BENT[:, k]] for k in range(3))
        before, after = b - a, c - b
        sine = (np.cross(before, after) * axis).sum(2)
        bends = np.arctan2(sine, (before * after).sum(2))
    return bends.mean(1)


class Fault(NamedTuple):
    """What is wrong with a sample's labels, empty if nothing; `systematic`: not of this sample alone, by its nature."""

    reason: str = ""
    systematic: bool = False


def label_faults(joints: np.ndarray, vertices: np.ndarray, K: np.ndarray, side: np.ndarray) -> list[Fault]:
    """What is wrong with the labels of each sample.

    Args:
        joints: (N, 21, 3) metres, OpenCV camera.
        vertices: (N, 778, 3); all nan where a dataset has none.
        K: (N, 3, 3) px.
        side: (N,) `conventions.Side`.
    """
    joints, K = joints.astype(np.float64), K.astype(np.float64)
    faults = [Fault()] * len(joints)

    def mark(wrong: np.ndarray, fault: Fault | list[Fault]) -> None:
        for row in np.flatnonzero(wrong):
            if not faults[row].reason:
                faults[row] = fault if isinstance(fault, Fault) else fault[row]

    sound = (K[:, 0, 0] > 0) & (K[:, 1, 1] > 0) & (np.abs(K[:, 2] - [0.0, 0.0, 1.0]) < 1e-6).all(1)
    mark(~np.isfinite(K).all((1, 2)) | ~sound, Fault("K is no intrinsic matrix, or is missing", True))
    mark(~np.isfinite(joints).all((1, 2)), Fault("joints: none, or not finite", True))
    gaps = ~np.isfinite(vertices)
    mark(gaps.any((1, 2)) & ~gaps.all((1, 2)), Fault("vertices: not finite", True))
    palm = np.linalg.norm(joints[:, MIDDLE_MCP] - joints[:, WRIST], axis=1)
    mark(~((palm >= PALM[0]) & (palm <= PALM[1])), [_size_fault(length) for length in palm])
    longest = bone_lengths(joints).max(1)
    mark(
        longest > LONGEST_BONE,
        [Fault(f"a bone is {length:.2f} m long: joints in another order?") for length in longest],
    )
    mark((joints[:, :, 2] <= 0).any(1), Fault("joints lie behind the camera: axes of another convention?", True))
    bend = finger_bend(joints, side)
    for which in Side:
        bends = bend[(side == which) & np.isfinite(bend)]
        if len(bends) >= SAME_SIDE and bends.mean() < STRETCHED:
            mark(side == which, Fault(MIRRORED, True))
    mark(bend < BACKWARDS, Fault(MIRRORED))
    return faults


def unit_of(joints: np.ndarray) -> float | None:
    """Metres in the unit of joints (N, 21, 3) of hands, by the median palm; None if no unit makes them hands."""
    palm = float(np.median(np.linalg.norm(joints[:, MIDDLE_MCP] - joints[:, WRIST], axis=1)))
    fitting = [factor for factor in (1.0, *_UNITS.values()) if PALM[0] <= palm * factor <= PALM[1]]
    return fitting[0] if fitting else None


def _size_fault(palm: float) -> Fault:
    for unit, factor in _UNITS.items():
        if PALM[0] <= palm * factor <= PALM[1]:
            return Fault(f"wrist to middle knuckle are {palm:.3g} m: {unit} where metres belong?", True)
    return Fault(f"wrist to middle knuckle are {palm:.3g} m, which no hand's are: another unit or joint order?")
