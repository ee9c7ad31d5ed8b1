"""From a hand prior to labels: SAM is asked for hand and arm, then for the object, and the answers are reconciled.

As in the paper, arm = (hand + arm) minus hand, and the object lies over the hand. The hand is told from the arm by the
annotation's silhouette, which is exact at the wrist where an image shows no border.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from handgap.core.config.segment import Segment
from handgap.core.conventions import MIDDLE_MCP, WRIST, MaskLabel
from handgap.segment.boxes import HandPrior
from handgap.segment.sam import PADDING, Prompts, Segmenter

KNUCKLES = (5, 9, 13, 17)
# between thumb, index and middle finger, where things are held: tips and knuckles, pinch, grip
GRASPS = ((4, 8, 12, 5, 9), (4, 8), (4, 6, 10))
HAND, WHOLE, HELD = range(3)  # rows of `boxes` and `scores`
MIN_SEED_AREA = 10  # px
AGREEING = 4  # other candidates that a true object is found by
OBJECT_AREA = (0.04, 3.0)  # times the hand's outline
MAX_FOREARM_COVERED = 0.5  # share of the forearm's first 10 cm; more is the arm itself
EDGE, MAX_EDGE_CONTACT = 2, 3.0  # px; contact with the image's edge, times the root of the area
MAX_JOINTS_COVERED = 0.75  # share; more is the hand itself
MIN_CONTACT = 0.03  # share of the object near the hand


@dataclass(frozen=True)
class Segmented:
    """Labels of one image.

    Attributes:
        labels: (H, W) uint8 `MaskLabel`.
        boxes: (3, 4) px, prompts for hand, hand + arm, object; nan where there was none.
        scores: (3,) the segmenter's confidence in each; nan where there was none.
        flag: reason why the labels are not to be used, empty if they are.
    """

    labels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    flag: str


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """(H, W) bool grown by a disc of `radius` px."""
    return cv2.dilate(mask.astype(np.uint8), _disc(radius)).astype(bool)


def erode(mask: np.ndarray, radius: int) -> np.ndarray:
    """(H, W) bool shrunk by a disc of `radius` px."""
    return cv2.erode(mask.astype(np.uint8), _disc(radius)).astype(bool)


def tidy(mask: np.ndarray, min_area: int) -> np.ndarray:
    """Without islands and holes below `min_area` px, (H, W) bool."""
    mask = mask.copy()
    for inside in (True, False):
        _, parts, statistics, _ = cv2.connectedComponentsWithStats((mask == inside).astype(np.uint8), connectivity=4)
        small = statistics[:, cv2.CC_STAT_AREA] < min_area
        small[0] = False
        mask[small[parts]] = not inside
    return mask


def bounds(mask: np.ndarray) -> np.ndarray:
    """(4,) left, top, right, bottom of a mask in px; nan when it is empty."""
    if not mask.any():
        return np.full(4, np.nan)
    ys, xs = np.nonzero(mask)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float64)


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    """Share of `whole` that `part` covers."""
    return float((part & whole).sum() / max(whole.sum(), 1))


def _on(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which of (P, 2) px points lie on the mask."""
    pixels = np.floor(points).astype(int)
    inside = ((pixels >= 0) & (pixels < mask.shape[::-1])).all(1)
    pixels = np.clip(pixels, 0, np.array(mask.shape[::-1]) - 1)
    return inside & mask[pixels[:, 1], pixels[:, 0]]


def _core(mask: np.ndarray) -> np.ndarray:
    """(2,) px, the point of the mask deepest inside it."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return np.array([x + 0.5, y + 0.5])


class HandSegmenter:
    """Hand, arm and object of images whose hand prior is known.

    Args:
        segmenter: answers the prompts.
        settings: the segment stage's.
    """

    def __init__(self, segmenter: Segmenter, settings: Segment):
        self._segmenter, self._settings = segmenter, settings

    def __call__(self, embedding: torch.Tensor, prior: HandPrior) -> Segmented:
        """Labels of one image from its embedding."""
        shape = prior.outline.shape
        boxes, scores = np.full((3, 4), np.nan), np.full(3, np.nan)
        smallest = max(1, round(self._settings.min_area * shape[0] * shape[1]))
        if prior.outline.sum() < smallest:
            return Segmented(np.zeros(shape, np.uint8), boxes, scores, "hand out of the picture")
        boxes[HAND], boxes[WHOLE] = (box(self._settings.box_margin) for box in (prior.hand_box, prior.arm_box))
        hand, whole, scores[:HELD] = self._ask_for_hand(embedding, prior, boxes)
        held, scores[HELD] = self._ask_for_object(embedding, prior, hand, whole)
        boxes[HELD] = bounds(held)
        labels = reconcile(prior, hand, whole, held, smallest)
        found = _share(whole | held, prior.outline) >= self._settings.min_coverage
        return Segmented(labels, boxes, scores, "" if found else "segmenter does not find the hand where it must be")

    def _ask_for_hand(
        self, embedding: torch.Tensor, prior: HandPrior, boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks of the hand and of hand + arm, and their scores (2,)."""
        points = np.concatenate([prior.joints[[WRIST, MIDDLE_MCP]], prior.forearm[[3, 5]]])
        whole_labels = np.where(_on(points, np.ones_like(prior.outline)), 1, PADDING)
        prompts = Prompts(boxes[:HELD], np.stack([points, points]), np.stack([np.full(4, PADDING), whole_labels]))
        logits, quality = self._segmenter.decode(embedding, prior.outline.shape, prompts)
        outline = dilate(prior.outline, 2)
        best, scores = [], []
        for row, may_cover in enumerate((outline, outline | prior.corridor)):
            fits = [_share(mask, prior.outline) * _share(may_cover, mask) for mask in logits[row] > 0]
            pick = int(np.argmax(quality[row] * np.array(fits)))
            best.append(logits[row, pick] > 0)
            scores.append(quality[row, pick])
        return best[0], best[1], np.array(scores)

    def _ask_for_object(
        self, embedding: torch.Tensor, prior: HandPrior, hand: np.ndarray, whole: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Mask of the held object and its score; an empty mask and nan when there seems to be none.

        A grasped thing is found from several sides: from where fingers meet, from what the answers for hand and arm
        cover that cannot be either (`spilled`), and from where they leave the hand's outline bare (`hidden`). The
        best candidate explains the spilled pixels, agrees with others, and hardly depends on the logits' threshold.
        """
        shape = prior.outline.shape
        hidden = erode(prior.outline & ~(hand & whole), 1)
        spilled = erode((hand | whole) & ~dilate(prior.outline, 2) & ~prior.corridor, 1)
        seeds = [prior.joints[list(group)].mean(0) for group in GRASPS]
        seeds += [_core(region) for region in (spilled, hidden) if region.sum() >= MIN_SEED_AREA]
        seeds = np.array(seeds)[_on(np.array(seeds), np.ones(shape, bool))]
        if not len(seeds):
            return np.zeros(shape, bool), np.nan
        logits = self._candidates(embedding, prior, seeds, hand & whole)
        masks = logits > 0
        flat = masks.reshape(len(masks), -1).astype(np.float32)
        area = np.maximum(flat.sum(1), 1.0)
        overlap = flat @ flat.T
        agreement = np.sort(overlap / (area[:, None] + area - overlap), 1)[:, -1 - AGREEING : -1].mean(1)
        stability = (logits > 1).sum((1, 2)) / np.maximum((logits > -1).sum((1, 2)), 1)
        explained = np.array([_share(mask, spilled) for mask in masks])
        scores = (agreement + stability + explained) / 3.0
        scores[~np.array([_is_held(mask, prior) for mask in masks])] = 0.0
        best = int(scores.argmax())
        if scores[best] < self._settings.min_object_score:
            return np.zeros(shape, bool), np.nan
        return masks[best], float(scores[best])

    def _candidates(
        self, embedding: torch.Tensor, prior: HandPrior, seeds: np.ndarray, certain: np.ndarray
    ) -> np.ndarray:
        """Logits (M, H, W) of what lies at the seeds (S, 2): asked plainly, and with the hand and arm excluded."""
        off = np.concatenate([prior.joints[[WRIST, *KNUCKLES]], prior.forearm[3:4]])
        excluded = np.where(_on(off, certain), 0, PADDING)
        points = np.stack([np.concatenate([seed[None], off]) for seed in seeds])
        labels = np.stack([np.concatenate([[1], row]) for row in (np.full(len(off), PADDING), excluded)])
        prompts = Prompts(None, np.repeat(points, 2, 0), np.tile(labels, (len(seeds), 1)))
        logits, _ = self._segmenter.decode(embedding, prior.outline.shape, prompts)
        return logits.reshape(-1, *prior.outline.shape)


def _is_held(mask: np.ndarray, prior: HandPrior) -> bool:
    """Whether a mask may be a thing in this hand: it touches the hand, is neither hand nor arm, nor background."""
    edge = np.zeros_like(mask)
    edge[:EDGE] = edge[-EDGE:] = edge[:, :EDGE] = edge[:, -EDGE:] = True
    smallest, largest = OBJECT_AREA
    return bool(
        smallest < mask.sum() / prior.outline.sum() < largest
        and (mask & edge).sum() < MAX_EDGE_CONTACT * np.sqrt(mask.sum())
        and _on(prior.joints, mask).mean() < MAX_JOINTS_COVERED
        and _on(prior.forearm[1:6], mask).mean() < MAX_FOREARM_COVERED
        and _share(dilate(prior.outline, 6), mask) > MIN_CONTACT
    )


def reconcile(prior: HandPrior, hand: np.ndarray, whole: np.ndarray, held: np.ndarray, min_area: int) -> np.ndarray:
    """Labels (H, W) uint8 out of three masks and the prior.

    Inside the outline lies the hand, at its rim as far as the segmenter agrees; the arm is the rest of hand + arm
    where a forearm can be; the object lies over both.
    """
    rim = dilate(prior.outline, 2)
    is_hand = erode(prior.outline, 2) | (rim & (hand | whole))
    is_arm = tidy(whole & prior.corridor & ~is_hand & ~held, min_area)
    labels = np.zeros(prior.outline.shape, np.uint8)
    labels[is_arm] = MaskLabel.ARM
    labels[tidy(is_hand, min_area)] = MaskLabel.HAND
    labels[tidy(held, min_area)] = MaskLabel.OBJECT
    return labels
