import numpy as np
import pytest
from handgap.core.conventions import MaskLabel
from handgap.core.seeds import rng
from handgap.segment.score import TOLERANCE, boundary, boundary_f, image_scores, quality_table


def square(left: int, top: int, edge: int, size: int = 64) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[top : top + edge, left : left + edge] = True
    return mask


def slow_boundary_f(truth: np.ndarray, found: np.ndarray) -> float:
    """Pixel by pixel."""
    height, width = truth.shape
    reach = np.ceil(TOLERANCE * np.sqrt(height**2 + width**2))

    def lines(mask):
        return [
            (y, x)
            for y in range(height)
            for x in range(width)
            if any(
                mask[y, x] != mask[min(y + dy, height - 1), min(x + dx, width - 1)] for dy in (0, 1) for dx in (0, 1)
            )
        ]

    def near(ours, theirs):
        if not ours:
            return 1.0
        hits = [any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in theirs) for y, x in ours]
        return sum(hits) / len(hits)

    precision, recall = near(lines(found), lines(truth)), near(lines(truth), lines(found))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(30))
def test_boundary_f_is_its_definition(seed):
    generator = rng(seed, "test/boundary")
    truth, found = generator.random((2, 12, 17)) < generator.uniform(0, 1, (2, 1, 1)) ** 3
    if truth.any():
        assert boundary_f(truth, found) == pytest.approx(slow_boundary_f(truth, found))
    else:
        assert np.isnan(boundary_f(truth, found))


def test_boundary_f_knows_good_from_bad():
    truth = square(20, 20, 24)
    assert boundary_f(truth, truth) == 1.0
    assert boundary_f(truth, square(21, 20, 24)) == 1.0  # a pixel off
    assert boundary_f(truth, square(24, 24, 16)) == 0.0  # nowhere near, though its IoU is 0.44
    assert boundary_f(truth, np.zeros_like(truth)) == 0.0
    assert np.isnan(boundary_f(np.zeros_like(truth), truth))


def test_the_images_edge_is_no_boundary():
    assert not boundary(np.ones((8, 8), bool)).any()
    assert boundary(square(0, 0, 4, 8)).sum() == 7  # the pixels left of and above the corner's two sides


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
    assert rows.loc[("hand", "0"), "median_f"] == 1.0
    assert ("object", "all") not in rows.index  # no truth to score against


def test_false_positives_are_counted_among_images_without_the_class():
    truth, found = np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8), np.uint8)
    truth[:, :4], truth[0, 6:] = MaskLabel.HAND, MaskLabel.OBJECT
    found[:, :4], found[1, 6:] = MaskLabel.HAND, MaskLabel.OBJECT
    rows = quality_table(zip(truth, found, strict=True), np.zeros(2), np.array([True, False])).set_index(
        ["class", "bin"]
    )
    assert rows.loc[("object", "all"), "false_positive"] == 1.0
    assert rows.loc[("object", "all"), "mean_iou"] == 0.0
    assert rows.loc[("hand", "all"), "valid"] == 0.5
    assert image_scores(truth[1], found[1])["object"][2] is True
