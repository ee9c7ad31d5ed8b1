"""From a sighting to labels: SAM is asked for hand and arm, then for the object, and the answers are reconciled.

As in the paper, arm = (hand + arm) minus hand, and the object lies over the hand. The hand is told from the arm by the
annotation's silhouette, which is exact at the wrist where an image shows no border; where there is none, SAM's answer
for the hand takes its place, cut at the wrist where that is known.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from handgap.core.config.segment import Segment
from handgap.core.conventions import MIDDLE_MCP, WRIST, MaskLabel
from handgap.segment.boxes import HandPrior
from handgap.segment.detect import HAND, HELD, WHOLE, Sighting
from handgap.segment.held import Ask, object_in_box, search_object
from handgap.segment.regions import bounds, dilate, erode, filled, on, share, tidy
from handgap.segment.sam import PADDING, Prompts, Segmenter


@dataclass(frozen=True)
class Segmented:
    """Labels of one image.

    Attributes:
        labels: (H, W) uint8 `MaskLabel`.
        boxes: (3, 4) px, prompts for hand, hand + arm, object; nan where there was none (an object that was searched
            for has its extent).
        scores: (3,) the segmenter's confidence in each; nan where there was none.
        reasons: (3,) why there is no hand, arm, object; empty where there is one.
        flag: why the labels are not to be used, empty if they are.
    """

    labels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    reasons: tuple[str, str, str]
    flag: str


class HandSegmenter:
    """Hand, arm and object of images whose hand has been sighted.

    Args:
        segmenter: answers the prompts.
        settings: the segment stage's.
    """

    def __init__(self, segmenter: Segmenter, settings: Segment):
        self._segmenter, self._settings = segmenter, settings

    def __call__(self, embedding: torch.Tensor, size: tuple[int, int], sighting: Sighting) -> Segmented:
        """Labels of one image of `size` (H, W) from its embedding."""
        smallest = max(1, round(self._settings.min_area * size[0] * size[1]))
        boxes, prior = sighting.boxes.copy(), sighting.prior
        if np.isnan(boxes[HAND]).any() or (prior and prior.outline.sum() < smallest):
            return _nothing(size, boxes, "hand out of the picture")
        ask = partial(self._segmenter.decode, embedding, size)
        hand, whole, scores = self._ask_for_hand(ask, size, boxes, prior)
        outline = prior.outline if prior and prior.exact else hand
        if outline.sum() < smallest:
            return _nothing(size, boxes, "segmenter finds no hand where it must be")
        held, score, no_object = self._ask_for_object(ask, boxes, prior, outline, hand, whole)
        boxes[HELD] = bounds(held)
        if prior and not prior.exact:
            outline = prior.reach & (hand | whole)  # fingers that one answer lacks are in the other
        corridor = prior.corridor if prior else np.ones(size, bool)
        labels = reconcile(outline, corridor, hand, whole, held, smallest)
        missed = prior is not None and _found(prior, whole | held) < self._settings.min_coverage
        flag = "segmenter does not find the hand where it must be" if missed else ""
        no_arm = "" if (labels == MaskLabel.ARM).any() else "nothing of hand and arm lies beyond the wrist"
        return Segmented(labels, boxes, np.append(scores, score), (flag, no_arm, no_object), flag)

    def _ask_for_hand(
        self, ask: Ask, size: tuple[int, int], boxes: np.ndarray, prior: HandPrior | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks of the hand and of hand + arm, and their scores (2,)."""
        # a text detector may see a hand and no arm
        asked = np.where(np.isnan(boxes[[HAND, WHOLE]]), boxes[HAND], boxes[[HAND, WHOLE]])
        if prior:
            points = np.concatenate([prior.joints[[WRIST, MIDDLE_MCP]], prior.forearm[3:6:2]])
            whole_labels = np.where(on(points, np.ones(size, bool)), 1, PADDING)
            prompts = Prompts(
                asked, np.stack([points, points]), np.stack([np.full(len(points), PADDING), whole_labels])
            )
            must, may = prior.outline, (prior.reach, prior.reach | prior.corridor)
        else:
            prompts = Prompts(asked, None, None)
            must, may = None, [filled(box, size) for box in asked]
        logits, quality = ask(prompts)
        masks, scores = [], []
        for row, may_cover in enumerate(may):
            fits = [share(may_cover, mask) * (1.0 if must is None else share(mask, must)) for mask in logits[row] > 0]
            pick = int(np.argmax(quality[row] * np.array(fits)))
            masks.append(logits[row, pick] > 0)
            scores.append(quality[row, pick])
        hand, whole = masks
        scores = np.clip(scores, 0.0, 1.0)  # the model's estimates of an IoU may lie beyond
        if prior and not prior.exact:
            hand = hand & prior.reach
        return hand, whole, scores

    def _ask_for_object(
        self,
        ask: Ask,
        boxes: np.ndarray,
        prior: HandPrior | None,
        outline: np.ndarray,
        hand: np.ndarray,
        whole: np.ndarray,
    ) -> tuple[np.ndarray, float, str]:
        """Mask of the held object, its score, why there is none: by its box, else by search."""
        if not np.isnan(boxes[HELD]).any():
            return object_in_box(ask, boxes[HELD], outline, prior, self._settings)
        if prior is None or self._settings.boxes == "grounding_dino":
            return np.zeros_like(outline), np.nan, "no box of a held object"
        return search_object(ask, replace(prior, outline=outline), hand, whole, self._settings)


def _nothing(size: tuple[int, int], boxes: np.ndarray, flag: str) -> Segmented:
    return Segmented(np.zeros(size, np.uint8), boxes, np.full(3, np.nan), (flag, flag, flag), flag)


def _found(prior: HandPrior, mask: np.ndarray) -> float:
    """Share of a hand that a mask covers: of its outline where that is exact, else of its landmarks."""
    return share(mask, prior.outline) if prior.exact else float(on(prior.joints, mask).mean())


def reconcile(
    outline: np.ndarray, corridor: np.ndarray, hand: np.ndarray, whole: np.ndarray, held: np.ndarray, min_area: int
) -> np.ndarray:
    """Labels (H, W) uint8 out of three masks and what is known of the hand.

    Inside the outline lies the hand, at its rim as far as the segmenter agrees; the arm is the rest of hand + arm
    where a forearm can be; the object lies over both.

    Args:
        outline: (H, W) bool, the hand with nothing in front of it.
        corridor: (H, W) bool, where a forearm can be.
        hand, whole, held: (H, W) bool, answers for hand, hand + arm, object.
        min_area: px, islands and holes below it go.
    """
    is_hand = erode(outline, 2) | (dilate(outline, 2) & (hand | whole))
    is_arm = tidy(whole & corridor & ~is_hand & ~held, min_area)
    labels = np.zeros(outline.shape, np.uint8)
    labels[is_arm] = MaskLabel.ARM
    labels[tidy(is_hand, min_area)] = MaskLabel.HAND
    labels[tidy(held, min_area)] = MaskLabel.OBJECT
    return labels
