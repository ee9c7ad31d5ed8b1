"""From a hand prior to labels: SAM is asked for hand and arm, then for the object, and the answers are reconciled.

As in the paper, arm = (hand + arm) minus hand, and the object lies over the hand. The hand is told from the arm by the
annotation's silhouette, which is exact at the wrist where an image shows no border.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from handgap.core.config.segment import Segment
from handgap.core.conventions import FINGERTIPS, MIDDLE_MCP, WRIST, MaskLabel
from handgap.segment.boxes import HandPrior
from handgap.segment.sam import PADDING, Prompts, Segmenter

KNUCKLES = (5, 9, 13, 17)
HAND, WHOLE, HELD = range(3)  # rows of `boxes` and `scores`


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
        count, parts, statistics, _ = cv2.connectedComponentsWithStats((mask == inside).astype(np.uint8), connectivity=4)
        small = statistics[:, cv2.CC_STAT_AREA] < min_area
        small[0] = False
        mask[small[parts]] = not inside
    return mask


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
        held, boxes[HELD], scores[HELD] = self._ask_for_object(embedding, prior, hand, whole)
        labels = self._reconcile(prior, hand, whole, held, smallest)
        flag = "" if _share(labels > 0, prior.outline) >= self._settings.min_coverage else "hand not found by segmenter"
        return Segmented(labels, boxes, scores, flag)

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
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Mask, box and score of the held object; an empty mask when there seems to be none."""
        shape = prior.outline.shape
        outline = prior.outline
        around = dilate(outline, 2)
        hidden = erode(outline & ~(hand & whole), 1)
        spilled = erode((hand | whole) & ~around & ~prior.corridor, 1)
        grasp = prior.joints[[*FINGERTIPS[:3], *KNUCKLES[:2]]].mean(0)
        seeds = [_core(region) for region in (hidden, spilled) if region.sum() >= self._min_evidence(outline)]
        seeds.append(grasp)
        seeds = [seed for seed in seeds if _on(seed[None], np.ones(shape, bool))[0]]
        if not seeds:
            return np.zeros(shape, bool), np.full(4, np.nan), np.nan
        negatives = np.concatenate([prior.joints[[WRIST, *KNUCKLES]], prior.forearm[3:4]])
        off = np.where(_on(negatives, hand & whole), 0, PADDING)
        height, width = shape
        questions = Prompts(
            np.tile([0.0, 0.0, width, height], (len(seeds), 1)),
            np.stack([np.concatenate([seed[None], negatives]) for seed in seeds]),
            np.stack([np.concatenate([[1], off]) for _ in seeds]),
        )
        raise NotImplementedError
