from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from handgap.core.config.segment import Segment
from handgap.core.conventions import MaskLabel
from handgap.core.drawing import silhouette
from handgap.core.geometry import project
from handgap.segment.boxes import HandPrior, prior_from_labels, prior_from_landmarks
from handgap.segment.masks import HandSegmenter, bounds, dilate, erode, reconcile, tidy
from handgap.segment.score import intersection_over_union, quality_table

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
    """Answers with what has the colour of the first point on the thing, or with all that is not background."""

    def __init__(self, labels: np.ndarray):
        self.labels = labels

    def decode(self, embedding, size, prompts):
        logits = []
        for points, kinds in zip(prompts.points, prompts.labels, strict=True):
            if prompts.boxes is not None:
                mask = (self.labels == MaskLabel.HAND) | (self.labels == MaskLabel.ARM)
            else:
                x, y = np.floor(points[kinds == 1][0]).astype(int)
                mask = self.labels == self.labels[y, x]
            logits.append(np.where(mask, 5.0, -5.0)[None].repeat(3, 0))
        return np.stack(logits), np.full((len(logits), 3), 0.9)


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


def test_reconcile_puts_object_over_hand_over_arm():
    prior = simple_prior()
    whole, held = rectangle(35, 20, 60, 90), rectangle(50, 10, 75, 30)
    labels = reconcile(prior, prior.outline, whole, held, 5)
    assert (labels[held] == MaskLabel.OBJECT).all()
    assert (labels[prior.outline & ~held] == MaskLabel.HAND).all()
    below = rectangle(35, 53, 60, 90)
    assert (labels[below] == MaskLabel.ARM).all()
    assert (labels[~dilate(whole | held, 2)] == 0).all()


def test_whole_chain_finds_hand_arm_and_object():
    prior = simple_prior()
    truth = np.zeros((SIZE, SIZE), np.uint8)
    truth[rectangle(38, 45, 57, 96)] = MaskLabel.ARM
    truth[prior.outline] = MaskLabel.HAND
    truth[rectangle(30, 12, 54, 36)] = MaskLabel.OBJECT
    result = HandSegmenter(ColourSegmenter(truth), Segment(min_object_score=0.5))(torch.zeros(1), prior)
    assert result.flag == ""
    for label in (MaskLabel.HAND, MaskLabel.ARM, MaskLabel.OBJECT):
        assert intersection_over_union(truth, result.labels, (label,)) > 0.9
    np.testing.assert_array_equal(result.boxes[2], [30, 12, 54, 36])
    assert np.isfinite(result.scores).all()


def test_a_hand_the_segmenter_does_not_see_is_flagged():
    prior = simple_prior()
    result = HandSegmenter(ColourSegmenter(np.zeros((SIZE, SIZE), np.uint8)), Segment())(torch.zeros(1), prior)
    assert "does not find the hand" in result.flag
    nothing = HandPrior(prior.joints, np.zeros_like(prior.outline), prior.forearm, prior.radius)
    assert HandSegmenter(ColourSegmenter(np.zeros((SIZE, SIZE), np.uint8)), Segment())(torch.zeros(1), nothing).flag


def test_quality_table_counts_what_it_says():
    truth = np.zeros((4, 4), np.uint8)
    truth[:2] = MaskLabel.HAND
    half = truth.copy()
    half[1] = 0
    wrong = truth.copy()
    wrong[3] = MaskLabel.OBJECT
    table = quality_table([(truth, truth), (truth, half), (truth, wrong)], np.array([0.0, 0.3, 0.0]), np.ones(3, bool))
    rows = table.set_index(["class", "bin"])
    assert rows.loc[("hand", "all"), "n"] == 3
    assert rows.loc[("hand", "25-50 %"), "median_iou"] == pytest.approx(0.5)
    assert rows.loc[("hand", "all"), "mean_iou"] == pytest.approx(2.5 / 3)
    assert ("object", "all") not in rows.index  # no truth to score against


def test_dilate_and_erode_are_discs():
    point = rectangle(48, 48, 49, 49)
    grown = dilate(point, 5)
    assert grown.sum() == cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11)).sum()
    assert (erode(grown, 5) == point).all()


def test_missing_weights_name_their_cure():
    from handgap.core.errors import MissingAssetError
    from handgap.segment.sam import MobileSam

    with pytest.raises(MissingAssetError, match="no MobileSAM weights"):
        MobileSam(Path("nowhere/mobile_sam.pt"), 512)
