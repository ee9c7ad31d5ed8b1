"""Power grasps: a thing is laid against the palm and each digit closes until its skin touches it.

Joint after joint, as in the automatic grasp of Miller & Allen (2004, "GraspIt!"): all joints of a digit flex together;
where a link touches, it and the joints before it stay, and the rest flexes on.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from handgap.core.conventions import FINGERS
from handgap.core.geometry import rodrigues
from handgap.hands.prior import CHAINS, Angles, PosePrior
from handgap.hands.render_hand import RenderHand
from handgap.render.objects import HeldObject

PALM = -1
THUMB = 0
CONTACT = 2.5e-3  # metres: skin nearer than this touches
PENETRATION = 2e-3  # metres allowed: real finger pads give by as much
GAP = 2e-4  # metres left when a digit stops
STEPS = 14  # poses between open and closed
MAX_TRIES = 12

# degrees; thumb, index, middle, ring, pinky x base, middle and end joint
CLOSED = np.array([[35, 45, 70], [80, 105, 70], [80, 100, 70], [80, 100, 70], [75, 95, 70]], float)
OPEN = np.array([[-15, 0, 0], *[[0, 4, 3]] * 4], float)


@dataclass(frozen=True)
class Grasp:
    """A hand at rest (no global rotation, no translation) and the thing in it.

    Attributes:
        pose: (60,) render-hand pose.
        rotation, translation: (3, 3), (3,) of the object, x -> R x + t.
        vertices: (V, 3) the hand's skin.
        penetration: metres, deepest vertex of the hand inside the object.
        contacts: digits (by name) and "palm" that touch it.
        tries: placements drawn.
    """

    pose: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    vertices: np.ndarray
    penetration: float
    contacts: tuple[str, ...]
    tries: int

    @property
    def stable(self) -> bool:
        """Two fingers against the palm or the thumb, nothing deeper than `PENETRATION`."""
        fingers = len(set(self.contacts) & set(FINGERS[1:]))
        return fingers >= 2 and not {"palm", "thumb"}.isdisjoint(self.contacts) and self.penetration <= PENETRATION


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
        for tries in range(1, MAX_TRIES + 1):
            start, rotation, translation = self._across_palm(thing, shape, generator)
            if self._depth(thing, self._skins([start], shape)[0], rotation, translation) > PENETRATION:
                continue
            closed = self._close(thing, shape, start, rotation, translation)
            grasp = self._judge(thing, shape, closed, rotation, translation, tries)
            if grasp.stable and not self._prior.collides(grasp.pose):
                return grasp
        return None

    def _skins(self, poses: list[Angles], shape: np.ndarray) -> np.ndarray:
        """Skin (B, V, 3) of several angles."""
        batch = torch.from_numpy(np.stack([self._prior.pose_of(a.limited()) for a in poses])).float()
        shapes = torch.from_numpy(np.asarray(shape)).float().expand(len(batch), -1)
        with torch.inference_mode():
            return self._hand(batch, shapes, torch.zeros(len(batch), 3)).vertices.numpy()

    def _across_palm(
        self, thing: HeldObject, shape: np.ndarray, g: np.random.Generator
    ) -> tuple[Angles, np.ndarray, np.ndarray]:
        """Lay the thing's long axis across the palm, as deep as the skin lets it."""
        flexion = OPEN + g.normal(0, 2, (5, 3))
        start = Angles(
            flexion, np.array([g.uniform(-30, -15), *(g.uniform(0, 0.5) * np.array([-9.0, -1, 6, 13]))]), 20.0
        )
        skin = self._skins([start], shape)[0]
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
        return start, turn, self._advance(thing, skin[self._still], turn, centre, np.array([0.0, 0.0, 1.0]))

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

    def _close(
        self, thing: HeldObject, shape: np.ndarray, start: Angles, rotation: np.ndarray, translation: np.ndarray
    ) -> Angles:
        """Flex every digit until it touches, joint after joint."""
        flexion, free = start.flexion.copy(), np.ones((5, 3), bool)
        digit, link = self._digit[self._moving], self._link[self._moving]
        t = np.linspace(0.0, 1.0, STEPS)
        for _ in range(3):
            goal = np.where(free, np.maximum(CLOSED, flexion), flexion)
            path = flexion + t[:, None, None] * (goal - flexion)
            skin = self._skins([replace(start, flexion=f) for f in path], shape)[:, self._moving]
            distance = thing.solid.distance((skin - translation) @ rotation) - GAP
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
        return replace(start, flexion=flexion)

    def _depth(self, thing: HeldObject, skin: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> float:
        return max(0.0, -float(thing.solid.distance((skin - translation) @ rotation).min()))

    def _judge(
        self,
        thing: HeldObject,
        shape: np.ndarray,
        angles: Angles,
        rotation: np.ndarray,
        translation: np.ndarray,
        tries: int,
    ) -> Grasp:
        skin = self._skins([angles], shape)[0]
        distance = thing.solid.distance((skin - translation) @ rotation)
        nearest = {name: distance[self._digit == d].min() for d, name in enumerate(FINGERS)}
        nearest["palm"] = distance[self._skin & (self._digit == PALM)].min()
        touching = tuple(name for name, value in nearest.items() if value < CONTACT)
        pose = self._prior.pose_of(angles.limited())
        return Grasp(pose, rotation, translation, skin, max(0.0, -float(distance.min())), touching, tries)
