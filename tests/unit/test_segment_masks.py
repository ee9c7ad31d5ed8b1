from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from handgap.core.config.segment import Segment
from handgap.core.conventions import MaskLabel, Side
from handgap.core.drawing import silhouette
from handgap.core.geometry import project
from handgap.core.seeds import rng
from handgap.segment.boxes import HandPrior, prior_from_labels, prior_from_landmarks
from handgap.segment.detect import Sighting, sighting_of
from handgap.segment.finders import AnnotatedHand, joined
from handgap.segment.held import why_not_held
from handgap.segment.masks import HandSegmenter, Segmented, reconcile
from handgap.segment.regions import bounds, dilate, erode, filled, tidy
from handgap.segment.score import intersection_over_union

SIZE = 96
K = np.array([[200.0, 0, 48], [0, 200.0, 48], [0, 0, 1]])


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[top:bottom, left:right] = True
    return mask


def flat_hand() -> np.ndarray:
    """Joints of a flat hand at 0.5 m whose fingers point up in the image, (21, 3)."""
    joints = np.zeros((21, 3))
    for finger in range(5):
        for k in range(4):
            joints[1 + 4 * finger + k] = [(finger - 2) * 0.015, -0.05 - 0.01 * k, 0]
    return joints + np.array([0.0, 0.02, 0.5])


class ColourSegmenter:
    """Answers with the class at the first point on the thing; with hand and arm, or just the hand, where boxes ask.

    A single box is about the object.
    """

    def __init__(self, labels: np.ndarray):
        self.labels = labels

    def decode(self, embedding, size, prompts):
        hand = self.labels == MaskLabel.HAND
        if prompts.boxes is not None and len(prompts.boxes) == 1:
            masks = [self.labels == MaskLabel.OBJECT]
        elif prompts.points is None:
            masks = [hand, hand | (self.labels == MaskLabel.ARM)]
        elif prompts.boxes is not None:
            masks = [hand | (self.labels == MaskLabel.ARM)] * 2
        else:
            firsts = [points[kinds == 1][0] for points, kinds in zip(prompts.points, prompts.labels, strict=True)]
            masks = [self.labels == self.labels[int(y), int(x)] for x, y in firsts]
        logits = np.stack([np.where(mask, 5.0, -5.0)[None].repeat(3, 0) for mask in masks])
        return logits, np.full((len(logits), 3), 0.9)


def segmented(labels: np.ndarray, sighting: Sighting, **settings) -> Segmented:
    return HandSegmenter(ColourSegmenter(labels), Segment(**settings))(torch.zeros(1), (SIZE, SIZE), sighting)


def test_silhouette_of_a_square_covers_its_pixels():
    corners = np.array([[20.0, 30.0], [40.0, 30.0], [40.0, 50.0], [20.0, 50.0]])
    mask = silhouette(corners, np.array([[0, 1, 2], [0, 2, 3]]), SIZE, SIZE)
    truth = rectangle(20, 30, 40, 50)
    assert (mask & truth).sum() == truth.sum()
    assert (mask & ~dilate(truth, 2)).sum() == 0


def test_forearm_runs_behind_the_wrist_and_its_corridor_widens():
    joints = flat_hand()
    prior = prior_from_labels(joints, joints, np.array([[1, 4, 20]]), K, SIZE, SIZE)
    np.testing.assert_allclose(prior.forearm[0], project(joints[:1], K)[0])
    assert (np.diff(prior.forearm[:, 1]) > 0).all()
    np.testing.assert_allclose(prior.forearm[:, 0], prior.forearm[0, 0])
    assert (np.diff(prior.radius) > 0).all()
    rows = prior.corridor.sum(1)
    assert rows[95] > rows[60] > 0
    assert rows[:20].sum() == 0


def test_forearm_behind_the_camera_is_left_out():
    joints = flat_hand()
    joints[9:13, 2] += 0.05
    joints[0, 2] = 0.1
    prior = prior_from_labels(joints, joints, np.array([[1, 4, 20]]), K, SIZE, SIZE)
    assert np.isfinite(prior.forearm).all()
    assert len(prior.forearm) == len(prior.radius) < 15


def test_a_forearm_that_comes_out_of_the_picture_can_be_segmented():
    prior = simple_prior()
    short = replace(prior, forearm=prior.forearm[:1], radius=prior.radius[:1])
    result = segmented(scene(), sighting_of(short, 0.05, 1.0, None), min_object_score=0.5)
    assert iou(scene(), result.labels, MaskLabel.HAND) > 0.9


def test_boxes_hold_hand_and_forearm_and_stay_inside():
    joints = flat_hand()
    prior = prior_from_labels(joints, joints, np.array([[1, 4, 20]]), K, SIZE, SIZE)
    hand, whole = prior.hand_box(0.1), prior.arm_box(0.1)
    assert (whole[:2] <= hand[:2]).all()
    assert whole[3] == SIZE
    assert hand[3] < SIZE
    assert bounds(prior.outline)[0] > hand[0]
    assert np.isnan(bounds(np.zeros((4, 4), bool))).all()


def test_landmarks_give_the_prior_of_the_labels():
    joints = flat_hand()
    points = project(joints, K)
    prior = prior_from_landmarks(points, SIZE, SIZE)
    assert all(prior.outline[int(y), int(x)] for x, y in points)
    assert (prior.forearm[1] - prior.forearm[0])[1] > 0


def test_tidy_removes_islands_and_holes_only_below_the_limit():
    mask = rectangle(10, 10, 50, 50) & ~rectangle(20, 20, 22, 22) & ~rectangle(30, 30, 36, 36) | rectangle(
        70, 70, 72, 72
    )
    clean = tidy(mask, 9)
    assert (clean == (rectangle(10, 10, 50, 50) & ~rectangle(30, 30, 36, 36))).all()
    assert (tidy(rectangle(0, 0, SIZE, SIZE), 9)).all()
    assert not tidy(rectangle(0, 0, 0, 0), 9).any()


def simple_prior() -> HandPrior:
    outline = rectangle(35, 20, 60, 50)
    joints = np.array([[47.0, 48.0]] + [[37.0 + 5 * finger, 38.0 - 4 * k] for finger in range(5) for k in range(4)])
    ys = np.linspace(48.0, 120.0, 15)
    return HandPrior(joints, outline, np.stack([np.full(15, 47.0), ys], 1), np.full(15, 16.0))


def scene() -> np.ndarray:
    """Labels of an arm from below, the prior's hand and a box in it."""
    truth = np.zeros((SIZE, SIZE), np.uint8)
    truth[rectangle(38, 45, 57, 96)] = MaskLabel.ARM
    truth[simple_prior().outline] = MaskLabel.HAND
    truth[rectangle(30, 12, 54, 36)] = MaskLabel.OBJECT
    return truth


def iou(truth: np.ndarray, found: np.ndarray, label: MaskLabel) -> float:
    return intersection_over_union(truth == label, found == label)


def text_sighting(**boxes: tuple[float, ...]) -> Sighting:
    found = np.full((3, 4), np.nan)
    for row, name in enumerate(("hand", "whole", "held")):
        if name in boxes:
            found[row] = boxes[name]
    return Sighting(found, np.where(np.isnan(found[:, 0]), np.nan, 0.5))


def test_reconcile_puts_object_over_hand_over_arm():
    prior = simple_prior()
    whole, held = rectangle(35, 20, 60, 90), rectangle(50, 10, 75, 30)
    labels = reconcile(prior.outline, prior.corridor, prior.outline, whole, held, 5)
    assert (labels[held] == MaskLabel.OBJECT).all()
    assert (labels[prior.outline & ~held] == MaskLabel.HAND).all()
    below = rectangle(35, 53, 60, 90)
    assert (labels[below] == MaskLabel.ARM).all()
    assert (labels[~dilate(whole | held, 2)] == 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_the_arm_is_never_hand_nor_object_nor_outside_hand_and_arm(seed):
    outline, hand, whole, held = rng(seed, "test/reconcile").random((4, 24, 24)) < 0.6
    labels = reconcile(outline, np.ones_like(outline), hand, whole, held, 1)  # without clean-up
    assert ((labels == MaskLabel.OBJECT) == held).all()
    assert not ((labels == MaskLabel.ARM) & (erode(outline, 2) | held | ~whole)).any()
    assert ((labels != 0) == (erode(outline, 2) | (dilate(outline, 2) & hand) | whole | held)).all()


def test_whole_chain_finds_hand_arm_and_object():
    truth = scene()
    result = segmented(truth, sighting_of(simple_prior(), 0.05, 1.0, None), min_object_score=0.5)
    assert result.flag == ""
    assert result.reasons == ("", "", "")
    for label in (MaskLabel.HAND, MaskLabel.ARM, MaskLabel.OBJECT):
        assert iou(truth, result.labels, label) > 0.9
    np.testing.assert_array_equal(result.boxes[2], [30, 12, 54, 36])
    assert np.isfinite(result.scores).all()


def test_boxes_of_text_are_enough():
    truth = scene()
    boxes = {"hand": (30, 12, 60, 50), "whole": (30, 12, 60, 96), "held": (30, 12, 54, 36)}
    result = segmented(truth, text_sighting(**boxes), boxes="grounding_dino")
    assert result.reasons == ("", "", "")
    for label in (MaskLabel.HAND, MaskLabel.ARM, MaskLabel.OBJECT):
        assert iou(truth, result.labels, label) > 0.9
    del boxes["held"]
    result = segmented(truth, text_sighting(**boxes), boxes="grounding_dino")
    assert result.flag == ""
    assert result.reasons[2] == "no box of a held object"
    assert not (result.labels == MaskLabel.OBJECT).any()
    assert np.isnan(result.boxes[2]).all() and np.isnan(result.scores[2])


def test_a_text_box_around_the_hand_itself_is_no_object():
    truth = scene()
    truth[truth == MaskLabel.OBJECT] = MaskLabel.HAND
    far = truth.copy()
    far[rectangle(80, 70, 94, 84)] = MaskLabel.OBJECT
    boxes = {"hand": (30, 12, 60, 50), "whole": (30, 12, 60, 96), "held": (80, 70, 94, 84)}
    result = segmented(far, text_sighting(**boxes), boxes="grounding_dino")
    assert result.reasons[2] == "does not touch the hand"
    assert not (result.labels == MaskLabel.OBJECT).any()


def test_labels_and_text_join():
    label = sighting_of(simple_prior(), 0.05, 1.0, Side.LEFT)
    both = joined(label, text_sighting(hand=(1, 1, 5, 5), held=(30, 12, 54, 36)))
    np.testing.assert_array_equal(both.boxes[:2], label.boxes[:2])
    np.testing.assert_array_equal(both.boxes[2], [30, 12, 54, 36])
    np.testing.assert_array_equal(both.scores, [1.0, 1.0, 0.5])
    assert both.prior is label.prior and both.side == Side.LEFT
    result = segmented(scene(), both, boxes="grounding_dino")
    assert iou(scene(), result.labels, MaskLabel.OBJECT) == 1.0


@pytest.mark.parametrize(
    ("found", "taken"),
    [
        ([], False),
        ([(70, 60, 90, 90)], False),
        ([(70, 60, 90, 90), (36, 21, 60, 50)], True),
    ],
)
def test_a_finder_is_believed_about_the_annotated_hand_alone(found, taken):
    label = sighting_of(simple_prior(), 0.05, 1.0, None)
    others = [text_sighting(hand=box, whole=(0, 0, SIZE, SIZE)) for box in found]
    hand = AnnotatedHand(lambda row, rgb: [label], lambda row, rgb: others)
    sighting, by_finder = hand(0, np.zeros((SIZE, SIZE, 3), np.uint8))
    assert by_finder is taken
    assert (sighting.boxes[1] == [0, 0, SIZE, SIZE]).all() is np.bool_(taken)
    np.testing.assert_array_equal(sighting.boxes[0], label.boxes[0])


def test_a_hand_known_by_landmarks_is_cut_at_the_wrist():
    prior = prior_from_landmarks(simple_prior().joints, SIZE, SIZE)
    truth = scene()
    truth[truth == MaskLabel.OBJECT] = 0
    truth[rectangle(35, 20, 60, 50)] = MaskLabel.HAND
    result = segmented(truth, sighting_of(prior, 0.05, 1.0, None))
    assert result.flag == ""
    assert (result.labels == MaskLabel.ARM)[80:, 40:55].all()
    assert (result.labels == MaskLabel.HAND)[25:45, 40:55].all()


def test_a_hand_the_segmenter_does_not_see_is_flagged():
    prior, nothing = simple_prior(), np.zeros((SIZE, SIZE), np.uint8)
    result = segmented(nothing, sighting_of(prior, 0.05, 1.0, None))
    assert "does not find the hand" in result.flag
    assert result.reasons[0] == result.flag and result.reasons[1] and result.reasons[2]
    away = HandPrior(prior.joints, np.zeros_like(prior.outline), prior.forearm, prior.radius)
    assert segmented(nothing, sighting_of(away, 0.05, 1.0, None)).flag == "hand out of the picture"
    assert segmented(nothing, text_sighting(hand=(10, 10, 40, 40))).flag == "segmenter finds no hand where it must be"
    assert segmented(nothing, text_sighting()).flag == "hand out of the picture"


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (rectangle(50, 22, 70, 34), ""),
        (rectangle(50, 22, 53, 25), "too small"),
        (rectangle(2, 2, 94, 94), "too large"),
        (rectangle(50, 0, 96, 30), "edge"),
        (rectangle(35, 20, 60, 50), "hand itself"),
        (rectangle(44, 44, 50, 75), "arm itself"),
        (rectangle(75, 60, 90, 75), "does not touch"),
    ],
)
def test_what_cannot_be_held_is_told(mask, reason):
    prior = simple_prior()
    told = why_not_held(mask, prior.outline, prior, (0.04, 3.0))
    assert reason in told and bool(reason) == bool(told)


def test_dilate_and_erode_are_discs():
    point = rectangle(48, 48, 49, 49)
    grown = dilate(point, 5)
    assert grown.sum() == cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11)).sum()
    assert (erode(grown, 5) == point).all()


def test_a_box_is_filled_where_pixel_centres_lie():
    assert (filled(np.array([2.0, 3.0, 5.0, 7.0]), (SIZE, SIZE)) == rectangle(2, 3, 5, 7)).all()
    assert (filled(np.array([2.4, 3.6, 4.6, 7.4]), (SIZE, SIZE)) == rectangle(2, 4, 5, 7)).all()
