"""Where the hand is and where its forearm must run: from a dataset's labels, or from a palm detector.

Only what real datasets give is used: joints, the annotation mesh and K. Truth masks are for `score` alone.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from handgap.core.conventions import MIDDLE_MCP, WRIST
from handgap.core.drawing import SHIFT, fixed_point, silhouette
from handgap.core.geometry import project
from handgap.segment.regions import dilate

PALM_LENGTH = 0.09  # metres, wrist to base of the middle finger of an adult
FOREARM = np.linspace(0.0, 0.28, 15)  # metres behind the wrist
WRIST_RADIUS, SPREAD = 0.05, 0.4  # metres; a bent wrist or sleeve may leave the straight line by this share of the way
RIM = 2  # px an exact outline may be wrong by
FINGER_RADIUS, WRIST_MARGIN = 0.025, 0.03  # metres of flesh around landmarks, and behind the wrist's
NEAR = 0.05  # metres; what lies nearer to the camera is out of the picture


@dataclass(frozen=True)
class HandPrior:
    """What is known of one hand before its image is looked at.

    Attributes:
        joints: (21, 2) px.
        outline: (H, W) bool, the hand's silhouette with nothing in front of it.
        forearm: (S, 2) px, points along the expected axis of the forearm, from the wrist.
        radius: (S,) px, how far from these points the forearm may reach.
        exact: the outline is the annotation's, not the hull of landmarks.
    """

    joints: np.ndarray
    outline: np.ndarray
    forearm: np.ndarray
    radius: np.ndarray
    exact: bool = True

    @property
    def corridor(self) -> np.ndarray:
        """(H, W) bool, pixels the forearm may cover."""
        canvas = np.zeros(self.outline.shape, np.uint8)
        for centre, radius in zip(fixed_point(self.forearm), self.radius, strict=True):
            cv2.circle(canvas, tuple(map(int, centre)), round(radius * (1 << SHIFT)), 1, cv2.FILLED, shift=SHIFT)
        return canvas.astype(bool)

    @property
    def reach(self) -> np.ndarray:
        """(H, W) bool, pixels the hand may cover: near its outline, and not behind the wrist if that is a hull."""
        if self.exact:
            return dilate(self.outline, RIM)
        metre = self.radius[0] / WRIST_RADIUS
        axis = self.joints[WRIST] - self.joints[MIDDLE_MCP]
        ys, xs = (np.arange(count) + 0.5 for count in self.outline.shape)
        behind = (xs - self.joints[WRIST, 0]) * axis[0] + (ys[:, None] - self.joints[WRIST, 1]) * axis[1]
        limit = WRIST_MARGIN * metre * max(float(np.linalg.norm(axis)), 1.0)
        return dilate(self.outline, round(FINGER_RADIUS * metre)) & (behind < limit)

    def hand_box(self, margin: float) -> np.ndarray:
        """(4,) left, top, right, bottom of the outline, px, widened by a share of its longer edge."""
        ys, xs = np.nonzero(self.outline)
        box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float64)
        widen = margin * max(box[2] - box[0], box[3] - box[1])
        return self._inside(box + widen * np.array([-1, -1, 1, 1]))

    def arm_box(self, margin: float) -> np.ndarray:
        """(4,) box of hand and forearm, px."""
        hand = self.hand_box(margin)
        low = np.minimum(hand[:2], self.forearm.min(0) - self.radius.min())
        high = np.maximum(hand[2:], self.forearm.max(0) + self.radius.min())
        return self._inside(np.concatenate([low, high]))

    def _inside(self, box: np.ndarray) -> np.ndarray:
        height, width = self.outline.shape
        return np.clip(box, 0.0, [width, height, width, height])


def prior_from_labels(
    joints: np.ndarray, vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, height: int, width: int
) -> HandPrior:
    """Prior of an annotated hand.

    Args:
        joints, vertices: (21, 3), (778, 3) metres, camera frame.
        faces: (1538, 3) of the annotation hand.
        K: (3, 3) px.
        height, width: px.
    """
    joints, K = joints.astype(np.float64), K.astype(np.float64)
    axis = joints[WRIST] - joints[MIDDLE_MCP]
    forearm = joints[WRIST] + FOREARM[:, None] * axis / np.linalg.norm(axis)
    forearm_radius = WRIST_RADIUS + SPREAD * FOREARM
    seen = forearm[:, 2] > NEAR
    seen[0] = True  # there is always a wrist
    outline = silhouette(project(vertices.astype(np.float64), K), faces, height, width)
    radius = forearm_radius[seen] * K[0, 0] / forearm[seen, 2]
    return HandPrior(project(joints, K), outline, project(forearm[seen], K), radius)


def prior_from_landmarks(joints: np.ndarray, height: int, width: int) -> HandPrior:
    """Prior of a detected hand: its outline is the landmarks' hull, its scale that of an adult palm.

    Args:
        joints: (21, 2) px, simple order.
        height, width: px.
    """
    axis = joints[WRIST] - joints[MIDDLE_MCP]
    scale = max(float(np.linalg.norm(axis)), 1.0) / PALM_LENGTH
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(canvas, cv2.convexHull(np.rint(joints - 0.5).astype(np.int32)), 1)
    outline = dilate(canvas, round(0.01 * scale))
    forearm = joints[WRIST] + FOREARM[:, None] * axis / PALM_LENGTH
    radius = (WRIST_RADIUS + SPREAD * FOREARM) * scale
    return HandPrior(joints, outline, forearm, radius, exact=False)
