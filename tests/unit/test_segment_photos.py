import numpy as np
import pytest
from handgap.core.config.segment import Segment
from handgap.core.conventions import MaskLabel, Side
from handgap.segment.boxes import prior_from_landmarks
from handgap.segment.detect import Sighting, sighting_of
from handgap.segment.photos import AROUND, PhotoSegmenter
from handgap.segment.views import cut_off, distinct, enlarged, seen_in, shrunk, window

HEIGHT, WIDTH = 60, 90


def picture(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Red left half, blue right half, a white corner at the top left."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2, 0], rgb[:, width // 2 :, 2] = 200, 200
    rgb[: height // 4, : width // 4] = 255
    return rgb


def test_shrunk_keeps_what_fits_and_tells_its_scale():
    rgb = picture()
    same, scale = shrunk(rgb, WIDTH)
    assert (same == rgb).all() and (scale == 1).all()
    small, scale = shrunk(picture(1000, 2001), 200)
    assert small.shape == (100, 200, 3)
    np.testing.assert_allclose(scale, [200 / 2001, 100 / 1000])
    assert shrunk(np.zeros((1, 3000, 3), np.uint8), 100)[0].shape == (1, 100, 3)


def test_labels_grow_back_to_what_they_were():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:20, 5:30], labels[20:35, 5:30], labels[12:18, 20:25] = MaskLabel.HAND, MaskLabel.ARM, MaskLabel.OBJECT
    large = enlarged(labels, (400, 400))
    assert set(np.unique(large)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(large[5::10, 5::10], labels)
    np.testing.assert_array_equal(enlarged(labels, (40, 40)), labels)


def test_a_window_holds_all_boxes_and_stays_inside():
    boxes = np.array([[500.0, 320, 600, 380], [500, 320, 780, 380], [np.nan] * 4])
    left, top, right, bottom = window(boxes, (1000, 2000), AROUND)
    assert left < 500 and top < 320 and right > 780 and bottom > 380
    assert right - left == bottom - top
    left, top, right, bottom = window(boxes, (390, 790), AROUND)
    assert (right, bottom) == (790, 390) and left < 500
    assert window(boxes - 1e4, (390, 790), AROUND) == (0, 0, 1, 1)  # nothing of it in the picture


def landmarks(centre: tuple[float, float], size: float) -> np.ndarray:
    joints = np.zeros((21, 2))
    for finger in range(5):
        for k in range(4):
            joints[1 + 4 * finger + k] = [(finger - 2) * 0.2, -0.5 - 0.15 * k]
    return np.array(centre) + size * joints


def test_a_hand_seen_in_another_view_lies_where_it_did():
    prior = prior_from_landmarks(landmarks((60, 70), 40), 100, 120)
    sighting = sighting_of(prior, 0.05, 0.8, Side.LEFT)
    seen = seen_in(sighting, np.array([2.0, 2.0]), np.array([30.0, 10.0]), (200, 200), 0.05)
    np.testing.assert_allclose(seen.prior.joints, 2 * prior.joints - [30, 10])
    assert seen.side == Side.LEFT and not seen.prior.exact
    np.testing.assert_allclose(seen.boxes[0], 2 * sighting.boxes[0] - [30, 10, 30, 10], atol=4)
    text = Sighting(sighting.boxes, sighting.scores)
    moved = seen_in(text, np.array([2.0, 2.0]), np.array([30.0, 10.0]), (200, 200), 0.05)
    np.testing.assert_allclose(moved.boxes[0], 2 * sighting.boxes[0] - [30, 10, 30, 10])


def test_a_hand_seen_twice_is_one_hand():
    def hand(left: float, score: float) -> Sighting:
        boxes = np.full((3, 4), np.nan)
        boxes[0] = [left, 10, left + 50, 60]
        return Sighting(boxes, np.array([score, np.nan, np.nan]))

    kept = distinct(
        [hand(10, 0.5), hand(12, 0.9), hand(100, 0.7), Sighting(np.full((3, 4), np.nan), np.full(3, np.nan))]
    )
    assert [sighting.scores[0] for sighting in kept] == [0.9, 0.7]
    assert distinct([]) == []


class RedSegmenter:
    """Answers every question with what is red."""

    def embed(self, images):
        return [image[..., 0] > 100 for image in images]

    def decode(self, embedding, size, prompts):
        count = len(prompts.boxes if prompts.boxes is not None else prompts.points)
        logits = np.where(embedding, 5.0, -5.0)[None, None].repeat(count, 0).repeat(3, 1)
        return logits, np.full((count, 3), 0.9)


class RedFinder:
    """A hand box around each red blob, given as boxes in shares of the image."""

    def __init__(self, *boxes):
        self.boxes = np.array(boxes, float).reshape(-1, 4)

    def __call__(self, row, rgb):
        height, width = rgb.shape[:2]
        found = []
        for box in self.boxes * [width, height, width, height]:
            boxes = np.full((3, 4), np.nan)
            boxes[:2] = box
            found.append(Sighting(boxes, np.array([0.9, 0.9, np.nan]), None, Side.RIGHT))
        return found


SETTINGS = Segment(boxes="grounding_dino")


@pytest.mark.parametrize("size", [(90, 60), (3000, 4000), (480, 2600)])
def test_masks_lie_on_the_hands_of_a_photo_of_any_size(size):
    rgb = np.zeros((*size, 3), np.uint8)
    truth = np.zeros(size, bool)
    height, width = size
    for left, top in ((0.1, 0.2), (0.6, 0.5)):
        truth[int(top * height) : int((top + 0.3) * height), int(left * width) : int((left + 0.25) * width)] = True
    rgb[truth] = [255, 0, 0]
    finder = RedFinder([0.1, 0.2, 0.35, 0.5], [0.6, 0.5, 0.85, 0.8])
    labels, rows = PhotoSegmenter(finder, RedSegmenter(), SETTINGS)(rgb, "a.jpg")
    hand = labels == MaskLabel.HAND
    assert (hand & truth).sum() / (hand | truth).sum() > 0.97
    assert [row.hand for row in rows] == [1, 2] and all(row.valid for row in rows)
    assert sum(row.hand_px for row in rows) == hand.sum()
    np.testing.assert_allclose([rows[0].left, rows[0].bottom], [0.1 * width, 0.5 * height], atol=0.01 * max(size))


def test_a_mask_is_cut_off_by_edges_inside_the_image_only():
    mask = np.zeros((20, 30), bool)
    mask[5, 0] = mask[0, 7] = True
    assert not cut_off(mask, (0, 0, 30, 20), (100, 100))
    assert cut_off(mask, (1, 0, 31, 20), (100, 100)) and cut_off(mask, (0, 1, 30, 21), (100, 100))
    assert cut_off(mask[::-1, ::-1], (70, 0, 99, 20), (20, 100))
    assert not cut_off(mask[::-1, ::-1], (70, 80, 100, 100), (100, 100))


def test_a_hand_beyond_its_window_is_looked_at_in_a_wider_one():
    rgb = np.zeros((600, 600, 3), np.uint8)
    rgb[200:300, 200:450, 0] = 255
    small = RedFinder([200 / 600, 200 / 600, 380 / 600, 300 / 600])  # the finder misses the fingertips
    labels, (row,) = PhotoSegmenter(small, RedSegmenter(), SETTINGS)(rgb, "a.jpg")
    np.testing.assert_array_equal(labels[195:305, 380:455] > 0, rgb[195:305, 380:455, 0] > 0)
    assert row.valid


def test_scores_are_shares():
    class Sure(RedSegmenter):
        def decode(self, embedding, size, prompts):
            logits, quality = super().decode(embedding, size, prompts)
            return logits, quality + 0.2

    rgb = np.zeros((100, 100, 3), np.uint8)
    rgb[30:60, 30:60, 0] = 255
    _, (row,) = PhotoSegmenter(RedFinder([0.3, 0.3, 0.6, 0.6]), Sure(), SETTINGS)(rgb, "a.jpg")
    assert row.hand_score == row.hand_arm_score == 1.0
