"""Natural poses of the render hand: families of gestures in anatomical angles, within joint limits, free of collisions.

Limits are those of RenderIH (Li et al. 2023, table 2), in degrees; a fingertip joint follows its middle joint by about
two thirds (Rijpkema & Girard 1991). Flexion is positive towards the palm, spread positive towards the little finger.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np

from handgap.core.conventions import FINGERS, NIMBLE_PARENTS
from handgap.core.files import read_arrays
from handgap.core.geometry import rodrigues

THUMB = 0
# rows thumb, index, middle, ring, pinky: flexion of base (CMC or MCP), middle (MCP or PIP), end (IP or DIP) joint
FLEXION_LIMITS = np.array(
    [
        [[-20, 40], [-8, 50], [-10, 100]],
        [[-25, 70], [-4, 110], [-8, 90]],
        [[-25, 80], [-7, 100], [-8, 90]],
        [[-25, 70], [-10, 100], [-8, 90]],
        [[-22, 70], [-8, 90], [-8, 90]],
    ],
    float,
)
SPREAD_LIMITS = np.array([[-30, 30], [-25, 15], [-15, 15], [-25, 15], [-20, 30]], float)
DIP_PER_PIP = 2 / 3
N_POSE = 60
# joints (NIMBLE order) that flex, by finger, base to end, and each one's bone among the 20 of the pose vector
CHAINS = np.array([[1, 2, 3], [6, 7, 8], [11, 12, 13], [16, 17, 18], [21, 22, 23]])
BONE_OF_JOINT = {j: b for b, j in enumerate(j for j in range(25) if j not in (4, 9, 14, 19, 24))}
FAMILIES = ("open", "relaxed", "pinch", "fist", "point", "grasp", "count", "spread", "free")
_SHARES = np.array([0.10, 0.18, 0.15, 0.09, 0.09, 0.17, 0.10, 0.05, 0.07])
# finger direction in the plane of the palm when the fingers lie side by side, degrees from the middle metacarpal
NEUTRAL_SPREAD = np.array([0.0, -3.0, 0.0, 4.0, 9.0])
_MAX_TRIES = 200
_RADII = np.array([8.5, 7.5, 7.5, 7.0, 6.0]) * 1e-3
_PALM_RADIUS = 10e-3
_PALM_THUMB_SHARE = 0.55
_MAX_GAP = 2e-3
# flesh gives: axes may come this close, as a share of the two radii
_CONTACT = 0.75


@dataclass
class Angles:
    """Anatomical angles in degrees: flexion (5, 3), spread (5,) and the thumb's pronation."""

    flexion: np.ndarray
    spread: np.ndarray
    pronation: float = 0.0

    def limited(self) -> "Angles":
        """The same, inside the joint limits; a bent knuckle locks its spread."""
        flexion = np.clip(self.flexion, FLEXION_LIMITS[..., 0], FLEXION_LIMITS[..., 1])
        lock = np.append(1.0, 1.0 - 0.8 * np.clip(flexion[1:, 0] / 70.0, 0, 1))
        return Angles(flexion, np.clip(self.spread, *SPREAD_LIMITS.T) * lock, float(np.clip(self.pronation, -10, 60)))


class PosePrior:
    """Samples natural finger poses and shapes of one render hand.

    Args:
        joints: (25, 3) rest joints, metres.
        joint_axes: (25, 3, 3) unit axes of each joint in the rest frame: flexion, spread, twist.
        rest_angles: (25, 2) flexion and spread of the rest pose, degrees.
        shape_std: (S,) standard deviation of the shape coefficients.
    """

    def __init__(self, joints: np.ndarray, joint_axes: np.ndarray, rest_angles: np.ndarray, shape_std: np.ndarray):
        self.joints, self.joint_axes, self.rest_angles = joints, joint_axes, rest_angles
        self.shape_std = shape_std

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read from a render-hand model file.

        Raises:
            MissingAssetError: there is no such file.
            CorruptFileError: it is truncated, or lacks an array of this model.
        """
        names = ("J_template", "joint_axes", "rest_angles", "shape_std")
        arrays = read_arrays(path, names)
        return cls(*(arrays[name] for name in names))

    def sample_shape(self, generator: np.random.Generator) -> np.ndarray:
        """Shape coefficients (S,), normal, cut at two standard deviations."""
        return self.shape_std * np.clip(generator.normal(size=len(self.shape_std)), -2, 2)

    def sample_pose(self, generator: np.random.Generator, family: str | None = None) -> np.ndarray:
        """One natural pose (60,), axis-angle of the 20 bones with the global rotation zero.

        Args:
            generator: source of randomness.
            family: one of `FAMILIES`; drawn by their shares when None.

        Raises:
            RuntimeError: no pose free of collisions was found (the hand's geometry is at fault).
        """
        family = family or FAMILIES[int(generator.choice(len(FAMILIES), p=_SHARES))]
        for _ in range(_MAX_TRIES):
            angles = _GESTURES[family](generator)
            if family == "pinch":
                finger = 1 + int(generator.random() < 0.35)
                angles = self._touch(angles, finger)
                if abs(self._contact(angles, finger)[0]) > _MAX_GAP:
                    continue
            pose = self.pose_of(angles.limited())
            if not self.collides(pose):
                return pose
        raise RuntimeError(f"no collision-free '{family}' pose in {_MAX_TRIES} tries")

    def pose_of(self, angles: Angles) -> np.ndarray:
        """Pose vector (60,) that puts the joints at anatomical angles: flexion first, then spread, then pronation."""
        joints = CHAINS.ravel()
        flexion = np.radians(angles.flexion.ravel() - self.rest_angles[joints, 0])
        rotation = rodrigues(flexion[:, None] * self.joint_axes[joints, 0]).reshape(5, 3, 3, 3)
        bases = CHAINS[:, 0]
        spread = np.radians(angles.spread + NEUTRAL_SPREAD - self.rest_angles[bases, 1])
        rotation[:, 0] = rodrigues(spread[:, None] * self.joint_axes[bases, 1]) @ rotation[:, 0]
        thumb = CHAINS[THUMB, 0]
        rotation[THUMB, 0] = rotation[THUMB, 0] @ rodrigues(np.radians(angles.pronation) * self.joint_axes[thumb, 2])
        pose = np.zeros((20, 3))
        pose[[BONE_OF_JOINT[int(j)] for j in joints]] = _log(rotation.reshape(-1, 3, 3))
        return pose.ravel()

    def pose_joints(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joints (25, 3) of a pose (60,) at mean shape, and global rotations (25, 3, 3)."""
        local = np.tile(np.eye(3), (25, 1, 1))
        local[list(BONE_OF_JOINT)] = rodrigues(pose.reshape(20, 3))
        turns, places = local.copy(), self.joints.copy()
        for joint, parent in enumerate(NIMBLE_PARENTS[1:], start=1):
            turns[joint] = turns[parent] @ local[joint]
            places[joint] = places[parent] + turns[parent] @ (self.joints[joint] - self.joints[parent])
        return places, turns

    def collides(self, pose: np.ndarray) -> bool:
        """Whether two digits, or a digit's end and the palm, run into each other (capsules against capsules)."""
        joints, _ = self.pose_joints(pose)
        steps = np.linspace(0, 1, 6)[:, None]
        digits = [
            np.concatenate([joints[a] + steps * (joints[b] - joints[a]) for a, b in ((c, c + 1), (c + 1, c + 2))])
            for c in CHAINS[:, 1]
        ]
        for a in range(5):
            for b in range(a + 1, 5):
                gap = np.linalg.norm(digits[a][:, None] - digits[b], axis=-1).min()
                if gap < _CONTACT * (_RADII[a] + _RADII[b]):
                    return True
        palm = np.concatenate([joints[c] * 0.15 + steps * 0.85 * joints[c] for c in CHAINS[1:, 0]])
        for finger, digit in enumerate(digits):
            share = _PALM_THUMB_SHARE if finger == THUMB else 1.0
            if np.linalg.norm(digit[7:, None] - palm, axis=-1).min() < share * (_RADII[finger] + _PALM_RADIUS):
                return True
        return False

    def _contact(self, angles: Angles, finger: int) -> tuple[float, np.ndarray]:
        """Gap in metres between the end bones of thumb and finger, and how far their pads are from facing each other.

        The latter is (6,): differences of unit vectors.
        """
        joints, turns = self.pose_joints(self.pose_of(angles))
        digits = [THUMB, finger]
        ends = CHAINS[digits, 2]
        facing = (turns[ends] @ self.joint_axes[ends, 1][..., None])[..., 0]
        steps = np.linspace(0.3, 1, 8)[:, None]
        thumb, other = (joints[end] + steps * (joints[end + 1] - joints[end]) for end in ends)
        across = other[None] - thumb[:, None]
        distance = np.linalg.norm(across, axis=-1)
        nearest = np.unravel_index(distance.argmin(), distance.shape)
        toward = across[nearest] / distance[nearest]
        return distance[nearest] - 0.95 * _RADII[digits].sum(), (facing - np.stack([toward, -toward])).ravel()

    def _touch(self, start: Angles, finger: int) -> Angles:
        """Gauss-Newton on thumb and finger angles until their pads meet, staying near the start."""

        def unpack(x: np.ndarray) -> Angles:
            flexion, spread = start.flexion.copy(), start.spread.copy()
            flexion[THUMB], spread[THUMB], pronation = x[:3], x[3], x[4]
            flexion[finger] = [x[5], x[6], DIP_PER_PIP * x[6]]
            return Angles(flexion, spread, pronation).limited()

        first = np.array([*start.flexion[THUMB], start.spread[THUMB], start.pronation, *start.flexion[finger, :2]])

        def residual(x: np.ndarray) -> np.ndarray:
            # a millimetre of gap weighs as much as ten degrees away from the start
            gap, askew = self._contact(unpack(x), finger)
            return np.concatenate([[gap * 1e3], 3.0 * askew, (x - first) / 10.0])

        x = first.copy()
        for _ in range(10):
            now = residual(x)
            jacobian = np.stack([residual(x + step) - now for step in np.eye(len(x))], 1)
            x = x - np.clip(np.linalg.lstsq(jacobian, now, rcond=None)[0], -20, 20)
        return unpack(x)


def _log(rotations: np.ndarray) -> np.ndarray:
    """Rotation matrices (N, 3, 3) with angles below pi -> axis-angle (N, 3)."""
    skew = np.stack([rotations[:, 2, 1], rotations[:, 0, 2], rotations[:, 1, 0]], -1)
    skew -= np.stack([rotations[:, 1, 2], rotations[:, 2, 0], rotations[:, 0, 1]], -1)
    sine = np.linalg.norm(skew, axis=1, keepdims=True) / 2
    cosine = (np.trace(rotations, axis1=1, axis2=2)[:, None] - 1) / 2
    return skew / 2 * np.where(sine < 1e-9, 1.0, np.arctan2(sine, cosine) / np.maximum(sine, 1e-12))


def _curl(g: np.random.Generator, amount: np.ndarray, noise: float) -> np.ndarray:
    """Finger flexion (4, 3) in degrees for a curl of 0 (straight) to 1 (closed) per finger."""
    knuckle = 76 * amount + g.normal(0, noise, 4)
    middle = 104 * amount + g.normal(0, noise, 4)
    return np.stack([knuckle, middle, DIP_PER_PIP * middle + g.normal(0, noise / 3, 4)], 1)


def _angles(g: np.random.Generator, fingers: np.ndarray, thumb: tuple[float, ...], spread: float) -> Angles:
    """Angles with a thumb given as flexion of its three joints, spread and pronation, all with some noise."""
    base, middle, end, aside, pronation = np.add(thumb, g.normal(0, 5, 5))
    fan = spread * np.array([-9.0, -1.0, 6.0, 13.0]) + g.normal(0, 1.5, 4)
    return Angles(np.vstack([[base, middle, end], fingers]), np.append(aside, fan), pronation)


# thumb: positive spread lays it beside the index finger, negative brings it in front of the palm
_THUMB_OUT = (-5.0, 5.0, 5.0, 10.0, 0.0)
_THUMB_WIDE = (-15.0, 0.0, 0.0, 5.0, 0.0)
_THUMB_REST = (5.0, 12.0, 15.0, 2.0, 8.0)
_THUMB_OPPOSED = (15.0, 20.0, 25.0, -12.0, 35.0)
_THUMB_ACROSS = (28.0, 32.0, 55.0, -18.0, 25.0)


def _open(g: np.random.Generator) -> Angles:
    return _angles(g, _curl(g, g.uniform(-0.08, 0.12) * np.ones(4), 4), _THUMB_OUT, g.uniform(0, 0.8))


def _relaxed(g: np.random.Generator) -> Angles:
    return _angles(g, _curl(g, g.uniform(0.1, 0.5) + np.array([-0.05, 0.0, 0.04, 0.06]), 6), _THUMB_REST, 0.3)


def _pinch(g: np.random.Generator) -> Angles:
    return _angles(g, _curl(g, g.uniform(0.15, 0.6) * np.ones(4) + g.normal(0, 0.05, 4), 5), _THUMB_OPPOSED, 0.3)


def _fist(g: np.random.Generator) -> Angles:
    return _angles(g, _curl(g, g.uniform(0.8, 0.98) * np.ones(4), 4), _THUMB_ACROSS, 0.0)


def _point(g: np.random.Generator) -> Angles:
    curl = np.array([g.uniform(-0.05, 0.15), *g.uniform(0.65, 0.95, 3)])
    return _angles(g, _curl(g, curl, 5), _THUMB_ACROSS if g.random() < 0.6 else _THUMB_REST, 0.2)


def _grasp(g: np.random.Generator) -> Angles:
    size = g.uniform(0.25, 0.7)
    fingers = _curl(g, size + np.array([0.0, 0.0, 0.03, 0.06]), 4)
    return _angles(g, fingers, _THUMB_OPPOSED, g.uniform(0, 0.7) * (1 - size))


def _count(g: np.random.Generator) -> Angles:
    up = np.arange(4) < g.integers(1, 5)
    if g.random() < 0.3:
        up = up[::-1]
    curl = np.where(up, g.uniform(-0.05, 0.1, 4), g.uniform(0.7, 0.95, 4))
    return _angles(g, _curl(g, curl, 4), _THUMB_ACROSS if g.random() < 0.6 else _THUMB_OUT, g.uniform(0.2, 1.0))


def _spread(g: np.random.Generator) -> Angles:
    return _angles(g, _curl(g, g.uniform(-0.15, 0.1) * np.ones(4), 3), _THUMB_WIDE, g.uniform(1, 1.6))


def _free(g: np.random.Generator) -> Angles:
    thumb = tuple(g.uniform([-10, -5, -5, -20, 0], [35, 45, 70, 25, 35]))
    return _angles(g, _curl(g, g.uniform(0, 0.9, 4), 6), thumb, g.uniform(0, 1))


_GESTURES = dict(zip(FAMILIES, (_open, _relaxed, _pinch, _fist, _point, _grasp, _count, _spread, _free), strict=True))


def joint_axes(joints: np.ndarray, thumb_dorsal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Anatomical axes and rest angles of a hand in the rest frame of `render_hand`.

    Args:
        joints: (25, 3) rest joints.
        thumb_dorsal: (3,) direction out of the thumb nail.

    Returns:
        Axes (25, 3, 3): flexion, spread, twist (the last along the bone); rest angles (25, 2), degrees.
    """
    axes, rest = np.tile(np.eye(3), (25, 1, 1)), np.zeros((25, 2))
    for finger in range(len(FINGERS)):
        chain = CHAINS[finger]
        bones = joints[chain + 1] - joints[chain]
        bones /= np.linalg.norm(bones, axis=1, keepdims=True)
        chord = joints[chain[-1] + 1] - joints[chain[0]]
        flexion = np.cross(thumb_dorsal if finger == THUMB else [0.0, 0.0, 1.0], chord)
        flexion /= np.linalg.norm(flexion)
        for joint, bone in zip(chain, bones, strict=True):
            spread = np.cross(bone, flexion)
            axes[joint] = flexion, -spread / np.linalg.norm(spread), bone
        # signed angle about the flexion axis between consecutive bones
        turn = [_turn(a, b, flexion) for a, b in pairwise(bones)]
        if finger != THUMB:
            axes[chain[0], 1] = 0.0, 0.0, -1.0
            rest[chain, 0] = [np.degrees(np.arcsin(-bones[0, 2])), *turn]
            rest[chain[0], 1] = np.degrees(np.arctan2(chord[0], chord[1]))
        else:
            rest[chain[1:], 0] = turn
    return axes, rest


def _turn(before: np.ndarray, after: np.ndarray, axis: np.ndarray) -> float:
    """Angle in degrees about `axis` that takes one direction to another."""
    return float(np.degrees(np.arctan2(np.cross(before, after) @ axis, before @ after)))
