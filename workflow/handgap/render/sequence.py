"""Grasp sequences, the role of Dex-YCB's recordings: an open hand comes, closes on a thing, lifts and turns it.

Everything moves in the frame of the hand at rest at the moment it holds the thing, about its wrist. The opening of a
reaching hand is widest on the way, before it closes (Jeannerod 1984, "The timing of natural prehension movements").
"""

from dataclasses import dataclass, field

import numpy as np

from handgap.core.geometry import rodrigues
from handgap.hands.prior import PosePrior
from handgap.render.grasp import PENETRATION, Grasp, Grasper
from handgap.render.objects import HeldObject

# shares of the sequence
COME, OPEN, CLOSE, LIFT = (0.0, 0.4), (0.0, 0.3), (0.35, 0.65), (0.68, 1.0)
DISTANCE = (0.05, 0.10)  # metres the hand comes from
HALF_OPEN = 0.25  # share of the closing it starts at
HEIGHT = (0.02, 0.06)  # metres lifted
TURN = (10.0, 30.0)  # degrees turned
MAX_TRIES = 4


@dataclass(frozen=True)
class Motion:
    """A rigid motion about the wrist w: x -> turn (x - w) + w + shift.

    Attributes:
        turn: (3, 3).
        shift: (3,) metres.
    """

    turn: np.ndarray = field(default_factory=lambda: np.eye(3))
    shift: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def after(self, first: "Motion") -> "Motion":
        """The motion that does `first` and then this one."""
        return Motion(self.turn @ first.turn, self.turn @ first.shift + self.shift)

    def moved(self, points: np.ndarray, wrist: np.ndarray) -> np.ndarray:
        """Points (..., 3) moved."""
        return (points - wrist) @ self.turn.T + wrist + self.shift


@dataclass(frozen=True)
class Moment:
    """One frame: the fingers' pose (60,), and how hand and thing have moved against where the hand holds the thing."""

    pose: np.ndarray
    hand: Motion = field(default_factory=Motion)
    thing: Motion = field(default_factory=Motion)


class Choreographer:
    """Turns grasps into sequences.

    Args:
        grasper: of the render hand.
        prior: of the same hand.
    """

    def __init__(self, grasper: Grasper, prior: PosePrior):
        self._grasper, self._prior = grasper, prior

    def moments(
        self,
        thing: HeldObject,
        grasp: Grasp,
        shape: np.ndarray,
        wrist: np.ndarray,
        length: int,
        generator: np.random.Generator,
    ) -> list[Moment] | None:
        """The `length` frames of a sequence that ends in `grasp`, evenly spaced.

        No frame has the hand deeper in the thing than `PENETRATION` or the digits in each other; None when that
        could not be had in `MAX_TRIES` ways to come.

        Args:
            thing: what is taken.
            grasp: how it is held in the end.
            shape: (S,) of the hand.
            wrist: (3,) of that shape.
            length: frames, >= 2.
            generator: source of randomness.
        """
        phase = np.linspace(0.0, 1.0, length)
        shares = np.maximum(HALF_OPEN * (1.0 - _eased(phase, OPEN)), _eased(phase, CLOSE))
        angles = [grasp.closed(share) for share in shares]
        poses = [self._prior.pose_of(a.limited()) for a in angles]
        if any(self._prior.collides(pose) for pose in poses):
            return None
        skins = self._grasper.skins(angles, shape)
        for _ in range(MAX_TRIES):
            come, lift = self._draw(generator)
            came = [_part(come, 1.0 - share) for share in _eased(phase, COME)]
            skin = np.stack([motion.moved(points, wrist) for motion, points in zip(came, skins, strict=True)])
            depth = -thing.solid.distance((skin - grasp.translation) @ grasp.rotation).min()
            if depth <= PENETRATION:
                lifted = [_part(lift, share) for share in _eased(phase, LIFT)]
                return [Moment(pose, up.after(at), up) for pose, up, at in zip(poses, lifted, came, strict=True)]
        return None

    @staticmethod
    def _draw(g: np.random.Generator) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Rotation vector and shift (3,) of where the hand comes from, out of its back and wrist, and of the lift."""
        away = np.array([g.normal(0.0, 0.15), -g.uniform(0.0, 0.6), 1.0])
        come = np.radians(g.normal(0.0, 8.0, 3)), g.uniform(*DISTANCE) * away / np.linalg.norm(away)
        axis, up = (v / np.linalg.norm(v) for v in g.normal(size=(2, 3)))
        return come, (np.radians(g.uniform(*TURN)) * axis, g.uniform(*HEIGHT) * up)


def _part(whole: tuple[np.ndarray, np.ndarray], share: float) -> Motion:
    """A share of a motion given as rotation vector and shift."""
    return Motion(rodrigues(share * whole[0]), share * whole[1])


def _eased(phase: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """From 0 before `span` to 1 after it, with speed 0 at both ends."""
    t = np.clip((phase - span[0]) / (span[1] - span[0]), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
