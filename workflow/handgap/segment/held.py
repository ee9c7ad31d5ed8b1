"""The held object: asked for by a text detector's box, or searched for around a hand whose joints are known."""

from collections.abc import Callable

import numpy as np

from handgap.core.config.segment import Segment
from handgap.core.conventions import WRIST
from handgap.segment.boxes import HandPrior
from handgap.segment.regions import bounds, deepest, dilate, erode, on, share
from handgap.segment.sam import PADDING, Prompts

Ask = Callable[[Prompts], tuple[np.ndarray, np.ndarray]]  # `Segmenter.decode` of one image

KNUCKLES = (5, 9, 13, 17)
# between thumb, index and middle finger, where things are held: tips and knuckles, pinch, grip
GRASPS = ((4, 8, 12, 5, 9), (4, 8), (4, 6, 10))
MIN_SEED_AREA = 10  # px
SAME = 0.7  # IoU of two masks of one thing
AGREEING = 4  # other candidates that a true object is found by
MAX_FOREARM_COVERED = 0.5  # share of the forearm's first 10 cm; more is the arm itself
EDGE, MAX_EDGE_CONTACT = 2, 3.0  # px; contact with the image's edge, times the root of the area
MAX_HAND_COVERED = 0.75  # share of the joints (of the hand's area, without joints); more is the hand itself
MIN_CONTACT = 0.03  # share of the object near the hand


def why_not_held(mask: np.ndarray, outline: np.ndarray, prior: HandPrior | None, limits: tuple[float, float]) -> str:
    """Why a mask cannot be a thing in this hand; empty when it may be one.

    Args:
        mask: (H, W) bool.
        outline: (H, W) bool, the hand.
        prior: its joints and forearm, if known.
        limits: least and greatest area, times the hand's.
    """
    edge = np.zeros_like(mask)
    edge[:EDGE] = edge[-EDGE:] = edge[:, :EDGE] = edge[:, -EDGE:] = True
    area = mask.sum() / outline.sum()
    covered = on(prior.joints, mask).mean() if prior else share(mask, outline)
    if area <= limits[0]:
        return "too small for a held object"
    if area >= limits[1]:
        return "too large for a held object"
    if (mask & edge).sum() >= MAX_EDGE_CONTACT * np.sqrt(mask.sum()):
        return "runs along the image's edge: background"
    if covered >= MAX_HAND_COVERED:
        return "covers the hand: the hand itself"
    if prior and on(prior.forearm[1:6], mask).sum() >= max(MAX_FOREARM_COVERED * len(prior.forearm[1:6]), 1):
        return "covers the forearm: the arm itself"
    if share(dilate(outline, 6), mask) <= MIN_CONTACT:
        return "does not touch the hand"
    return ""


def object_in_box(
    ask: Ask, box: np.ndarray, outline: np.ndarray, prior: HandPrior | None, settings: Segment
) -> tuple[np.ndarray, float, str]:
    """What a box (4,) px frames: mask (H, W) bool, the model's confidence in it, why there is none."""
    logits, quality = ask(Prompts(box[None], None, None))
    best = int(quality[0].argmax())
    mask, score = logits[0, best] > 0, float(np.clip(quality[0, best], 0.0, 1.0))
    reason = why_not_held(mask, outline, prior, settings.object_area)
    return (mask & (reason == ""), score, reason)


def search_object(
    ask: Ask, prior: HandPrior, hand: np.ndarray, whole: np.ndarray, settings: Segment
) -> tuple[np.ndarray, float, str]:
    """The held object of a hand whose joints are known: its mask (H, W) bool, its score, why there is none.

    A grasped thing is found from several sides: from where fingers meet, from what the answers for hand and arm
    cover that cannot be either (`spilled`), and from where they leave the hand's outline bare (`hidden`). The
    best candidate covers both, agrees with others, hardly depends on the logits' threshold, and is believed by the
    model: its score is the mean of these five. Its box is then asked for, which draws its border better.

    Args:
        ask: answers prompts about the image.
        prior: the hand.
        hand, whole: (H, W) bool, answers for hand and for hand + arm.
        settings: the segment stage's.
    """
    nothing = np.zeros(prior.outline.shape, bool)
    hidden = erode(prior.outline & ~(hand & whole), 1)
    spilled = erode((hand | whole) & ~dilate(prior.outline, 2) & ~prior.corridor, 1)
    seeds = [prior.joints[list(group)].mean(0) for group in GRASPS]
    seeds += [deepest(region) for region in (spilled, hidden) if region.sum() >= MIN_SEED_AREA]
    seeds = np.array(seeds)[on(np.array(seeds), ~nothing)]
    if not len(seeds):
        return nothing, np.nan, "fingers out of the picture"
    logits, quality = _candidates(ask, prior, seeds, hand & whole)
    masks = logits > 0
    stability = (logits > 1).sum((1, 2)) / np.maximum((logits > -1).sum((1, 2)), 1)
    explained = [[share(mask, region) for mask in masks] for region in (spilled, hidden)]
    scores = np.mean([_agreement(masks), stability, *explained, np.clip(quality, 0.0, 1.0)], axis=0)
    scores[[why_not_held(mask, prior.outline, prior, settings.object_area) != "" for mask in masks]] = 0.0
    best = int(scores.argmax())
    if scores[best] < settings.min_object_score:
        return nothing, np.nan, f"best candidate scores {scores[best]:.2f}, below {settings.min_object_score}"
    return _redrawn(ask, masks[best]), float(scores[best]), ""


def _agreement(masks: np.ndarray) -> np.ndarray:
    """Mean IoU (M,) of each mask (M, H, W) with those most like it."""
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    area, common = flat.sum(1), flat @ flat.T
    alike = common / np.maximum(area[:, None] + area - common, 1.0)
    np.fill_diagonal(alike, 0.0)
    return np.sort(alike, 1)[:, -AGREEING:].mean(1)


def _redrawn(ask: Ask, mask: np.ndarray) -> np.ndarray:
    """What the model answers to a mask's box, if that is the same thing; else the mask."""
    logits, quality = ask(Prompts(bounds(mask)[None], None, None))
    answers = logits[0] > 0
    alike = np.array([(answer & mask).sum() / (answer | mask).sum() for answer in answers])
    best = int((alike * quality[0]).argmax())
    return answers[best] if alike[best] > SAME else mask


def _candidates(ask: Ask, prior: HandPrior, seeds: np.ndarray, certain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (M, H, W) and quality (M,) of what lies at the seeds (S, 2): asked plainly, and with the hand excluded."""
    off = np.concatenate([prior.joints[[WRIST, *KNUCKLES]], prior.forearm[3:4]])
    excluded = np.where(on(off, certain), 0, PADDING)
    points = np.stack([np.concatenate([seed[None], off]) for seed in seeds])
    labels = np.stack([np.concatenate([[1], row]) for row in (np.full(len(off), PADDING), excluded)])
    prompts = Prompts(None, np.repeat(points, 2, 0), np.tile(labels, (len(seeds), 1)))
    logits, quality = ask(prompts)
    return logits.reshape(-1, *prior.outline.shape), quality.ravel()
