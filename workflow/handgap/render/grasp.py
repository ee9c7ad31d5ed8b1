"""Grasps: a thing is laid against the palm or between the pads, and each digit closes until its skin touches it.

The two are the power and the precision grip of Napier (1956, "The prehensile movements of the human hand").
Joint after joint, as in the automatic grasp of Miller & Allen (2004, "GraspIt!"): all joints of a digit flex together;
where a link touches, it and the joints before it stay, and the rest flexes on.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import least_squares

from handgap.core.conventions import FINGERS
from handgap.core.geometry import rodrigues
from handgap.hands.prior import CHAINS, DIP_PER_PIP, FLEXION_LIMITS, PRONATION_LIMITS, SPREAD_LIMITS, Angles, PosePrior
from handgap.hands.render_hand import RenderHand
from handgap.render.objects import HeldObject

PALM = -1
THUMB = 0
CONTACT = 2.5e-3  # metres: skin nearer than this touches
PENETRATION = 2e-3  # metres allowed: real finger pads give by as much
GAP = 2e-4  # metres left when a digit stops
STEPS = 14  # poses between open and closed
MAX_TRIES = 12
PRECISION, PRECISION_SHARE = 0.03, 0.4  # metres thick: thinner things are held between the pads as often as this
CARD = (0.008, 0.018)  # metres a flat thing reaches behind the pads' middle
FLESH = 15e-3  # metres of two pads, from bone to bone

# degrees; thumb, index, middle, ring, pinky x base, middle and end joint
CLOSED = np.array([[35, 45, 70], [80, 105, 70], [80, 100, 70], [80, 100, 70], [75, 95, 70]], float)
OPEN = np.array([[-15, 0, 0], *[[0, 4, 3]] * 4], float)
OPENING = np.array([[10, 5, 5], *[[18, 8, 5]] * 4], float)  # of a hand about to hold something between its pads
# the thumb's flexion, spread and pronation, base and middle flexion of index and middle finger
PRECISION_LIMITS = np.vstack(
    [FLEXION_LIMITS[0], SPREAD_LIMITS[0], PRONATION_LIMITS, FLEXION_LIMITS[1, :2], FLEXION_LIMITS[2, :2]]
)


@dataclass(frozen=True)
class Placement:
    """A thing at an open hand.

    Attributes:
        start: angles of the hand.
        goal: flexion (5, 3) in degrees towards which it closes.
        rotation, translation: (3, 3), (3,) of the thing, x -> R x + t.
    """

    start: Angles
    goal: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    def distance(self, thing: HeldObject, skin: np.ndarray) -> np.ndarray:
        """Signed distance (...,) in metres of points (..., 3) of the hand to the thing."""
        return thing.solid.distance((skin - self.translation) @ self.rotation)


@dataclass(frozen=True)
class Grasp:
    """A hand at rest (no global rotation, no translation) and the thing in it.

    Attributes:
        pose: (60,) render-hand pose.
        rotation, translation: (3, 3), (3,) of the object, x -> R x + t.
        vertices: (V, 3) the hand's skin.
        penetration: metres, deepest vertex of the hand inside the object.
        contacts: digits (by name) and "palm" that touch it.
        closing: angles on the way from the open hand to this one; no digit meets the thing between them.
        tries: placements drawn.
    """

    pose: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    vertices: np.ndarray
    penetration: float
    contacts: tuple[str, ...]
    closing: tuple[Angles, ...]
    tries: int

    @property
    def stable(self) -> bool:
        """Two fingers against the palm or the thumb, nothing deeper than `PENETRATION`."""
        fingers = len(set(self.contacts) & set(FINGERS[1:]))
        return fingers >= 2 and not {"palm", "thumb"}.isdisjoint(self.contacts) and self.penetration <= PENETRATION

    def closed(self, share: float) -> Angles:
        """Angles of the hand on its way from open (0) to holding the thing (1); every digit arrives at the end."""
        way = np.stack([angles.flexion for angles in self.closing])
        travelled = np.cumsum(np.pad(np.abs(np.diff(way, axis=0)).max(2), ((1, 0), (0, 0))), axis=0)
        flexion = [[np.interp(share * at[-1], at, way[:, d, k]) for k in range(3)] for d, at in enumerate(travelled.T)]
        return replace(self.closing[-1], flexion=np.array(flexion))


class Grasper:
    """Makes grasps with one render hand.

    Args:
        hand: the layer.
        prior: turns anatomical angles into poses.
    """

    def __init__(self, hand: RenderHand, prior: PosePrior):
        self._hand, self._prior = hand, prior
        joint = hand.weights.argmax(1).numpy()
        self._digit, self._link = np.full(len(joint), PALM), np.full(len(joint), 0)
        for digit, chain in enumerate(CHAINS):
            for link, of in enumerate(chain):
                self._digit[joint == of], self._link[joint == of] = digit, link
        self._skin = joint < 25  # without the forearm
        self._moving = np.flatnonzero(self._digit != PALM)[::2]
        self._still = np.flatnonzero(self._skin & ((self._digit == PALM) | (self._link < 2)) & (self._digit != THUMB))[
            ::2
        ]

    def grasp(self, thing: HeldObject, shape: np.ndarray, generator: np.random.Generator) -> Grasp | None:
        """A stable grasp of `thing` by a hand of `shape` (S,), or None when `MAX_TRIES` placements gave none."""
        precise = thing.thickness < PRECISION and generator.random() < PRECISION_SHARE
        place = self._between_pads if precise else self._across_palm
        for tries in range(1, MAX_TRIES + 1):
            placement = place(thing, shape, generator)
            if placement.distance(thing, self.skins([placement.start], shape)[0]).min() < -PENETRATION:
                continue
            grasp = self._judge(thing, shape, placement, self._close(thing, shape, placement), tries)
            if grasp.stable and not self._prior.collides(grasp.pose):
                return grasp
        return None

    def skins(self, poses: list[Angles], shape: np.ndarray) -> np.ndarray:
        """Skin (B, V, 3) of several angles and one shape (S,)."""
        batch = torch.from_numpy(np.stack([self._prior.pose_of(a.limited()) for a in poses])).float()
        shapes = torch.from_numpy(np.asarray(shape)).float().expand(len(batch), -1)
        with torch.inference_mode():
            return self._hand(batch, shapes, torch.zeros(len(batch), 3)).vertices.numpy()

    def _across_palm(self, thing: HeldObject, shape: np.ndarray, g: np.random.Generator) -> Placement:
        """Lay the thing's long axis across the palm, as deep as the skin lets it."""
        flexion = OPEN + g.normal(0, 2, (5, 3))
        start = Angles(
            flexion, np.array([g.uniform(-30, -15), *(g.uniform(0, 0.5) * np.array([-9.0, -1, 6, 13]))]), 20.0
        )
        skin = self.skins([start], shape)[0]
        # object x to the fingertips, y out of the palm, z to the thumb; oblique as in a power grip, some upside down
        axes = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        tilt = np.radians(g.normal(12.0, 10.0))
        turn = rodrigues(np.array([0.0, 0.0, tilt])) @ axes @ rodrigues(np.array([0.0, 0.0, thing.draw_roll(g)]))
        if g.random() < 0.12:
            turn = turn @ np.diag([1.0, -1.0, -1.0])
        knuckles = self._prior.joints[CHAINS[1:, 0]].mean(0)
        # the thicker the thing, the farther from the wrist; a wide one (phone, book) clears the ball of the thumb
        share = min(g.uniform(0.74, 0.86) + 2.0 * thing.thickness, 0.98)
        overhang = max(0.0, float(thing.solid.mesh.vertices[:, 0].max()) - 0.028) if thing.flat else 0.0
        along = knuckles[1] * share + g.uniform(0.6, 1.2) * overhang
        centre = np.array([knuckles[0] * g.uniform(0.0, 1.0), along, -0.15])
        translation = self._advance(thing, skin[self._still], turn, centre, np.array([0.0, 0.0, 1.0]))
        return Placement(start, CLOSED, turn, translation)

    def _between_pads(self, thing: HeldObject, _: np.ndarray, g: np.random.Generator) -> Placement:
        """Put the thing between the thumb's pad and those of index and middle finger.

        A flat thing is held at its end like a card, others across the two fingers.
        """
        angles = self._opposed(thing.thickness, g)
        places, _ = self._pads(angles)
        out, across = places[1:].mean(0) - places[0], places[1] - places[2]
        out /= np.linalg.norm(out)
        across -= (across @ out) * out
        across /= np.linalg.norm(across)
        centre = (places[0] + places[1:].mean(0)) / 2
        if thing.flat:
            across = rodrigues(np.radians(g.normal(-90.0, 15.0)) * out) @ across
            centre = centre - (thing.solid.mesh.vertices[:, 2].min() + g.uniform(*CARD)) * across
        roll = rodrigues(np.array([0.0, 0.0, thing.draw_roll(g)]))
        turn = np.stack([np.cross(out, across), out, across], 1) @ roll
        start = replace(angles, flexion=angles.flexion - OPENING)
        return Placement(start, angles.flexion + OPENING, turn, centre)

    def _opposed(self, gap: float, g: np.random.Generator) -> Angles:
        """Thumb's pad facing those of index and middle finger, as far as the joints allow, at a gap in metres."""
        low, high = PRECISION_LIMITS.T
        base, middle = g.uniform([30, 20], [60, 50])
        first = np.clip([15, 20, 25, -12, 35, *[base, middle] * 2], low + 0.1, high - 0.1)
        curl = g.uniform(0.0, 15.0)  # of the fingers that do not hold

        def unpack(x: np.ndarray) -> Angles:
            fingers = np.stack([x[5:7], x[7:], x[7:] + curl, x[7:] + 1.5 * curl])
            flexion = np.column_stack([fingers, DIP_PER_PIP * fingers[:, 1]])
            return Angles(np.vstack([x[:3], flexion]), np.append(x[3], [-1.0, 0.0, 1.0, 2.0]), x[4])

        def residual(x: np.ndarray) -> np.ndarray:
            # a millimetre weighs as much as 10 degrees away from facing or 12 from the start
            places, facing = self._pads(unpack(x))
            across = places[1:].mean(0) - places[0]
            apart = np.linalg.norm(across)
            askew = np.concatenate([facing[0] - across / apart, facing[1:].mean(0) + across / apart])
            errors = np.array([apart - gap - FLESH, (places[1] - places[2]) @ across / apart])
            return np.concatenate([1e3 * errors, 6.0 * askew, (x - first) / 12.0])

        return unpack(least_squares(residual, first, bounds=(low, high), x_scale=10.0, max_nfev=30).x)

    def _pads(self, angles: Angles) -> tuple[np.ndarray, np.ndarray]:
        """Middles (3, 3) of the end bones of thumb, index and middle finger, and where their pads face (3, 3)."""
        joints, turns = self._prior.pose_joints(self._prior.pose_of(angles))
        end = CHAINS[:3, 2]
        facing = (turns[end] @ self._prior.joint_axes[end, 1, :, None])[..., 0]
        return 0.5 * (joints[end] + joints[end + 1]), facing

    def _advance(
        self, thing: HeldObject, skin: np.ndarray, rotation: np.ndarray, centre: np.ndarray, direction: np.ndarray
    ) -> np.ndarray:
        """Move the thing along `direction` until it touches: steps of the distance left cannot pass through."""
        for _ in range(24):
            left = thing.solid.distance((skin - centre) @ rotation).min()
            if left < GAP:
                break
            centre = centre + direction * (left - GAP / 2)
        return centre

    def _close(self, thing: HeldObject, shape: np.ndarray, placement: Placement) -> tuple[Angles, ...]:
        """Flex every digit until it touches, joint after joint: the angles before, and after each round."""
        rounds = [placement.start]
        flexion, free = placement.start.flexion.copy(), np.ones((5, 3), bool)
        digit, link = self._digit[self._moving], self._link[self._moving]
        t = np.linspace(0.0, 1.0, STEPS)
        for _ in range(3):
            end = np.where(free, np.maximum(placement.goal, flexion), flexion)
            path = flexion + t[:, None, None] * (end - flexion)
            skin = self.skins([replace(placement.start, flexion=f) for f in path], shape)[:, self._moving]
            distance = placement.distance(thing, skin) - GAP
            for d in range(5):
                if not free[d].any():
                    continue
                near = np.stack(
                    [
                        distance[:, (digit == d) & (link == k)].min(1) if free[d, k] else np.full(STEPS, np.inf)
                        for k in range(3)
                    ],
                    1,
                )
                touching = np.flatnonzero((near < 0).any(1))
                if not len(touching):
                    flexion[d], free[d] = path[-1, d], False
                    continue
                k = touching[0]
                hit = near[k].argmin()
                if k:  # regula falsi between the last free pose and the first touching one
                    before, after = near[k - 1, hit], near[k, hit]
                    flexion[d] = path[k - 1, d] + before / (before - after) * (path[k, d] - path[k - 1, d])
                free[d, : hit + 1] = False
            rounds.append(replace(placement.start, flexion=flexion.copy()))
        return tuple(rounds)

    def _judge(
        self, thing: HeldObject, shape: np.ndarray, placement: Placement, closing: tuple[Angles, ...], tries: int
    ) -> Grasp:
        skin = self.skins([closing[-1]], shape)[0]
        distance = placement.distance(thing, skin)
        nearest = {name: distance[self._digit == d].min() for d, name in enumerate(FINGERS)}
        nearest["palm"] = distance[self._skin & (self._digit == PALM)].min()
        return Grasp(
            pose=self._prior.pose_of(closing[-1].limited()),
            rotation=placement.rotation,
            translation=placement.translation,
            vertices=skin,
            penetration=max(0.0, -float(distance.min())),
            contacts=tuple(name for name, value in nearest.items() if value < CONTACT),
            closing=closing,
            tries=tries,
        )
