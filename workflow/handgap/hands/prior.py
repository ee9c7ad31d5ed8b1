"""Natural poses of the render hand: families of gestures in anatomical angles, within joint limits, free of collisions.

Limits are those of RenderIH (Li et al. 2023, table 2), in degrees; a fingertip joint follows its middle joint by about
two thirds (Rijpkema & Girard 1991). Flexion is positive towards the palm, spread positive towards the little finger.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from handgap.core.conventions import FINGERS, NIMBLE_BONES, NIMBLE_PARENTS
from handgap.core.errors import HandgapError
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
PRONATION_LIMITS = np.array([-10.0, 60.0])
DIP_PER_PIP = 2 / 3
# joints (NIMBLE order) that flex, by finger, base to end
CHAINS = np.array([[1, 2, 3], [6, 7, 8], [11, 12, 13], [16, 17, 18], [21, 22, 23]])
_DIGITS = np.concatenate([CHAINS, CHAINS[:, 2:] + 1], 1)
FAMILIES = ("open", "relaxed", "pinch", "fist", "point", "grasp", "count", "spread", "free")
_SHARES = np.array([0.10, 0.18, 0.15, 0.09, 0.09, 0.17, 0.10, 0.05, 0.07])
# finger direction in the plane of the palm when the fingers lie side by side, degrees from the middle metacarpal
NEUTRAL_SPREAD = np.array([0.0, -3.0, 0.0, 4.0, 9.0])
_MAX_TRIES = 200
_RADII = np.array([9.0, 8.0, 8.0, 7.5, 6.3]) * 1e-3
# half the thickness (5, 12) along the middle and the end bone, the thumb's thicker at its root
_THICKNESS = _RADII[:, None] * np.concatenate([np.ones(6), np.linspace(1.0, 0.5, 6)])
_THICKNESS[THUMB, :6] *= np.linspace(1.3, 1.1, 6)
# bones in touch are this share of their radii apart: pads are flatter than sides
_TOUCHING = {1: 0.97, 2: 0.85}
_PALM_RADIUS = 14e-3
_PALM_THUMB_SHARE = 0.55
_MAX_GAP = 2e-3
_OPENING = 0.97
_MARGIN = 1e-3
# flesh gives: axes may come this close, as a share of the two radii
_CONTACT = 0.85
# room between the points of two digits
_ROOM = _CONTACT * np.add.outer(_THICKNESS, _THICKNESS).transpose(0, 2, 1, 3)
_PAIRS = np.triu_indices(5, 1)


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
        return Angles(
            flexion, np.clip(self.spread, *SPREAD_LIMITS.T) * lock, float(np.clip(self.pronation, *PRONATION_LIMITS))
        )


@dataclass(frozen=True)
class Touch:
    """What the thumb's pad meets: a finger's end bone (2) at its pad, or its middle bone (1) at its back."""

    finger: int
    bone: int


_PAD, _BACK = 2, 1
Gesture = tuple[Angles, Touch | None]


class PosePrior:
    """Samples natural finger poses and shapes of one render hand.

    Args:
        joints: (25, 3) rest joints, metres.
        joint_axes: (25, 3, 3) unit axes of each joint in the rest frame: flexion, spread, twist.
        rest_angles: (25, 2) flexion and spread of the rest pose, degrees.
        shape_std: (S,) standard deviation of the shape coefficients.
    """

    def __init__(self, joints: np.ndarray, joint_axes: np.ndarray, rest_angles: np.ndarray, shape_std: np.ndarray):
        # model files hold single precision, too coarse for the finite differences of `_meet`
        given = (np.asarray(array, float) for array in (joints, joint_axes, rest_angles, shape_std))
        self.joints, self.joint_axes, self.rest_angles, self.shape_std = given

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read from OpenNimble's model file.

        Raises:
            MissingAssetError: there is no such file.
            CorruptFileError: it is truncated, or lacks an array of every render hand.
            HandgapError: it is a render hand without anatomical axes, as a converted NIMBLE is.
        """
        arrays = read_arrays(path, ("J_template", "shape_std"))
        if not {"joint_axes", "rest_angles"} <= set(arrays):
            cure = "take results/models/open_nimble.npz: poses for NIMBLE come from its pose components"
            raise HandgapError(path, "has no anatomical axes: it is not OpenNimble", cure)
        return cls(*(arrays[name] for name in ("J_template", "joint_axes", "rest_angles", "shape_std")))

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
            angles, touch = _GESTURES[family](generator)
            angles = self._stopped(angles.limited())
            if touch is not None:
                angles = self._meet(angles, touch)
                if abs(self._contact(angles, touch)[0]) > _MAX_GAP:
                    continue
            pose = self.pose_of(angles)
            if not self.collides(pose):
                return pose
        raise RuntimeError(f"no collision-free '{family}' pose in {_MAX_TRIES} tries")

    def pose_of(self, angles: Angles) -> np.ndarray:
        """Pose vector (60,) that puts the joints at anatomical angles: flexion first, then spread, then pronation."""
        pose = np.zeros((len(NIMBLE_BONES), 3))
        vectors = Rotation.from_matrix(self._rotations(angles).reshape(-1, 3, 3)).as_rotvec()
        pose[np.searchsorted(NIMBLE_BONES, CHAINS.ravel())] = vectors
        return pose.ravel()

    def _rotations(self, angles: Angles) -> np.ndarray:
        """Rotations (5, 3, 3, 3) of each digit's joints against their parents."""
        flexion = np.radians(angles.flexion - self.rest_angles[CHAINS, 0])
        turns = rodrigues((flexion[..., None] * self.joint_axes[CHAINS, 0]).reshape(-1, 3)).reshape(5, 3, 3, 3)
        bases = CHAINS[:, 0]
        spread = np.radians(angles.spread + NEUTRAL_SPREAD - self.rest_angles[bases, 1])
        turns[:, 0] = rodrigues(spread[:, None] * self.joint_axes[bases, 1]) @ turns[:, 0]
        twist = np.radians(angles.pronation) * self.joint_axes[bases[THUMB], 2]
        turns[THUMB, 0] = turns[THUMB, 0] @ rodrigues(twist)
        return turns

    def _digits(self, angles: Angles) -> tuple[np.ndarray, np.ndarray]:
        """Joints (5, 4, 3) of each digit, base to tip, and its bones' rotations (5, 3, 3, 3) against the palm."""
        turns = self._rotations(angles)
        places = self.joints[_DIGITS].copy()
        bones = np.diff(places, axis=1)
        for k in range(3):
            turns[:, k] = turns[:, k - 1] @ turns[:, k] if k else turns[:, k]
            places[:, k + 1] = places[:, k] + (turns[:, k] @ bones[:, k, :, None])[..., 0]
        return places, turns

    def pose_joints(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joints (25, 3) of a pose (60,) at mean shape, and global rotations (25, 3, 3)."""
        local = np.tile(np.eye(3), (25, 1, 1))
        local[NIMBLE_BONES] = rodrigues(pose.reshape(-1, 3))
        turns, places = local.copy(), self.joints.copy()
        for joint, parent in enumerate(NIMBLE_PARENTS[1:], start=1):
            turns[joint] = turns[parent] @ local[joint]
            places[joint] = places[parent] + turns[parent] @ (self.joints[joint] - self.joints[parent])
        return places, turns

    def collides(self, pose: np.ndarray) -> bool:
        """Whether two digits, or a digit's end and the palm, run into each other (capsules that taper to the tips)."""
        places = self.pose_joints(pose)[0][_DIGITS]
        return bool((_intrusions(places)[_PAIRS] > 0).any() or (self._palm_gaps(places) < 0).any())

    def _palm_gaps(self, places: np.ndarray) -> np.ndarray:
        """Gaps (5,) in metres between the end bone of each digit, joints (5, 4, 3), and the palm."""
        steps = np.linspace(0.15, 1, 6)[:, None]
        palm = np.concatenate([steps * self.joints[base] for base in CHAINS[1:, 0]])
        ends = _points(places, slice(2, 3))[:, 1:]
        distance = np.linalg.norm(ends[:, :, None] - palm, axis=-1).min((1, 2))
        return distance - np.append(_PALM_THUMB_SHARE, np.ones(4)) * (_RADII + _PALM_RADIUS)

    def _stopped(self, angles: Angles) -> Angles:
        """The same with fingers that run into the palm opened at their middle and end joints until they rest on it."""
        flexion = angles.flexion.copy()
        for _ in range(_MAX_TRIES):
            stopped = Angles(flexion, angles.spread, angles.pronation)
            inside = self._palm_gaps(self._digits(stopped)[0]) < 0
            if not inside[1:].any():
                break
            flexion[1:][inside[1:], 1:] *= _OPENING
        return stopped

    def _contact(self, angles: Angles, touch: Touch) -> tuple[float, np.ndarray]:
        """Gap in metres between the thumb's end bone and the one it touches, and how far from facing they are.

        The latter is (6,): differences of unit vectors.
        """
        places, turns = self._digits(angles)
        ends = ((THUMB, 2), (touch.finger, touch.bone))
        facing = np.stack([turns[end] @ self.joint_axes[CHAINS[end], 1] for end in ends])
        facing[1] *= 1.0 if touch.bone == _PAD else -1.0
        # a pad is the middle of the end bone, not its thin tip
        steps = np.linspace(0.3, 0.7, 8)[:, None]
        thumb, other = (places[d, b] + steps * (places[d, b + 1] - places[d, b]) for d, b in ends)
        across = other[None] - thumb[:, None]
        distance = np.linalg.norm(across, axis=-1)
        nearest = np.unravel_index(distance.argmin(), distance.shape)
        toward = across[nearest] / distance[nearest]
        gap = distance[nearest] - _TOUCHING[touch.bone] * _RADII[[THUMB, touch.finger]].sum()
        return gap, (facing - np.stack([toward, -toward])).ravel()

    def _meet(self, start: Angles, touch: Touch) -> Angles:
        """The start, with the thumb, and in a pinch the finger, moved by as little as makes them touch."""
        finger, moved = touch.finger, 7 if touch.bone == _PAD else 5
        first = np.array([*start.flexion[THUMB], start.spread[THUMB], start.pronation, *start.flexion[finger, :2]])
        limits = np.vstack([FLEXION_LIMITS[THUMB], SPREAD_LIMITS[THUMB], PRONATION_LIMITS, FLEXION_LIMITS[finger, :2]])

        def unpack(x: np.ndarray) -> Angles:
            flexion, spread = start.flexion.copy(), start.spread.copy()
            flexion[THUMB], spread[THUMB] = x[:3], x[3]
            if touch.bone == _PAD:
                flexion[finger] = [x[5], x[6], DIP_PER_PIP * x[6]]
            return Angles(flexion, spread, x[4]).limited()

        def residual(x: np.ndarray) -> np.ndarray:
            # a millimetre of gap weighs as much as 15 degrees away from facing or 12 from the start
            angles = unpack(x)
            gap, askew = self._contact(angles, touch)
            places, _ = self._digits(angles)
            inside = np.maximum(_intrusions(places)[THUMB, 1:] + _MARGIN, 0.0)
            return np.concatenate([1e3 * np.array([gap, *inside]), 4.0 * askew, (x - first[:moved]) / 12.0])

        allowed = np.clip(first, limits[:, 0] + 0.1, limits[:, 1] - 0.1)[:moved]
        return unpack(least_squares(residual, allowed, bounds=limits[:moved].T, x_scale=10.0, max_nfev=30).x)


def _points(places: np.ndarray, bones: slice) -> np.ndarray:
    """Six points along each of some bones (B) of the digits with joints (5, 4, 3): (5, 6 B, 3)."""
    steps = np.linspace(0, 1, 6)[:, None]
    starts, ends = places[:, :-1][:, bones, None], places[:, 1:][:, bones, None]
    return (starts + steps * (ends - starts)).reshape(len(places), -1, 3)


def _intrusions(places: np.ndarray) -> np.ndarray:
    """How far in metres each digit's upper two bones are inside each other digit's (5, 5), negative when apart."""
    points = _points(places, slice(1, 3))
    distance = np.linalg.norm(points[:, None, :, None] - points[None, :, None], axis=-1)
    return (_ROOM - distance).max((2, 3))


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
_THUMB_ACROSS = (28.0, 32.0, 50.0, -16.0, 20.0)


def _open(g: np.random.Generator) -> Gesture:
    return _angles(g, _curl(g, g.uniform(-0.08, 0.12) * np.ones(4), 4), _THUMB_OUT, g.uniform(0, 0.8)), None


def _relaxed(g: np.random.Generator) -> Gesture:
    return _angles(g, _curl(g, g.uniform(0.1, 0.5) + np.array([-0.05, 0.0, 0.04, 0.06]), 6), _THUMB_REST, 0.3), None


def _pinch(g: np.random.Generator) -> Gesture:
    angles = _angles(g, _curl(g, g.uniform(0.15, 0.6) * np.ones(4) + g.normal(0, 0.05, 4), 5), _THUMB_OPPOSED, 0.3)
    return angles, Touch(1 + int(g.random() < 0.35), _PAD)


def _fist(g: np.random.Generator) -> Gesture:
    angles = _angles(g, _curl(g, g.uniform(0.85, 1.0) * np.ones(4), 4), _THUMB_ACROSS, 0.0)
    return angles, Touch(1 + int(g.random() < 0.75), _BACK)


def _point(g: np.random.Generator) -> Gesture:
    curl = np.array([g.uniform(-0.05, 0.15), *g.uniform(0.75, 0.98, 3)])
    across = g.random() < 0.6
    return _angles(g, _curl(g, curl, 5), _THUMB_ACROSS if across else _THUMB_REST, 0.2), (
        Touch(2, _BACK) if across else None
    )


def _grasp(g: np.random.Generator) -> Gesture:
    size = g.uniform(0.25, 0.7)
    fingers = _curl(g, size + np.array([0.0, 0.0, 0.03, 0.06]), 4)
    return _angles(g, fingers, _THUMB_OPPOSED, g.uniform(0, 0.7) * (1 - size)), None


def _count(g: np.random.Generator) -> Gesture:
    up = np.arange(4) < g.integers(1, 5)
    if g.random() < 0.3:
        up = up[::-1]
    curl = np.where(up, g.uniform(-0.05, 0.1, 4), g.uniform(0.75, 0.98, 4))
    folded = 1 + np.flatnonzero(~up[:3])
    across = g.random() < 0.6
    angles = _angles(g, _curl(g, curl, 4), _THUMB_ACROSS if across else _THUMB_OUT, g.uniform(0.2, 1.0))
    return angles, Touch(int(folded[0]), _BACK) if across and len(folded) else None


def _spread(g: np.random.Generator) -> Gesture:
    return _angles(g, _curl(g, g.uniform(-0.15, 0.1) * np.ones(4), 3), _THUMB_WIDE, g.uniform(1, 1.6)), None


def _free(g: np.random.Generator) -> Gesture:
    thumb = tuple(g.uniform([-10, -5, -5, -20, 0], [35, 45, 70, 25, 35]))
    return _angles(g, _curl(g, g.uniform(0, 0.9, 4), 6), thumb, g.uniform(0, 1)), None


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
