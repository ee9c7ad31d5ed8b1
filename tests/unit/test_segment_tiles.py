import numpy as np
import pytest
from handgap.core.conventions import Side
from handgap.segment.boxes import prior_from_landmarks
from handgap.segment.detect import HAND, sighting_of
from handgap.segment.tiles import SMALLEST, TiledFinder, tiles
from handgap.segment.views import distinct
from test_segment_photos import landmarks


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (500, 500), (100, 950), (95, 200), (2, 5000), (1, 1)])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_tiles_cover_the_image_and_half_of_each_other(size, share):
    found = tiles(size, share)
    if not found:
        assert (size[0] == size[1] and share == 1.0) or share * min(size) < SMALLEST
        return
    (edge,) = {edge for _, edge in found}
    assert edge == round(share * min(size)) >= SMALLEST
    for axis, length in enumerate(size[::-1]):
        starts = sorted({corner[axis] for corner, _ in found})
        assert starts[0] == 0 and starts[-1] == length - edge
        assert (np.diff(starts) <= edge / 2 + 1).all()


class BrightFinder:
    """Hands where an image's pixels are bright, each as large as its brightness; blind to what is below a share."""

    def __init__(self, least: float):
        self.least, self.asked = least, 0

    def __call__(self, row, rgb):
        self.asked += 1
        found = []
        for y, x in zip(*np.nonzero(rgb[..., 0]), strict=True):
            size = int(rgb[y, x, 0])
            if size >= self.least * max(rgb.shape[:2]):
                prior = prior_from_landmarks(landmarks((x + 0.5, y + 0.5), size), *rgb.shape[:2])
                found.append(sighting_of(prior, 0.0, 0.9, Side.RIGHT))
        return found


def test_small_hands_are_found_in_tiles_and_lie_where_they_are():
    rgb = np.zeros((400, 800, 3), np.uint8)
    places = {(200, 150): 120, (600, 300): 60, (430, 330): 61}
    for (x, y), size in places.items():
        rgb[y, x, 0] = size
    assert len(BrightFinder(0.14)(0, rgb)) == 1
    found = distinct(TiledFinder(BrightFinder(0.14), 0.0)(0, rgb))
    wrists = {tuple(np.floor(sighting.prior.joints[0]).astype(int)): sighting for sighting in found}
    assert set(wrists) == set(places) and len(found) == 3
    for (x, y), sighting in wrists.items():
        expected = prior_from_landmarks(landmarks((x + 0.5, y + 0.5), places[x, y]), 400, 800)
        np.testing.assert_array_equal(sighting.prior.outline, expected.outline)
        np.testing.assert_array_equal(sighting.boxes[HAND], expected.hand_box(0.0))


def test_a_hand_cut_by_a_tile_and_a_part_of_a_hand_are_no_hands():
    rgb = np.zeros((400, 800, 3), np.uint8)
    rgb[200, 210, 0] = 250  # reaches over the edges of the small tiles

    class Palms(BrightFinder):
        """Sees a small second hand in the palm when it comes near."""

        def __call__(self, row, rgb):
            found = super().__call__(row, rgb)
            if max(rgb.shape[:2]) == 200 and found:
                x, y = found[0].prior.joints[9]
                prior = prior_from_landmarks(landmarks((x, y + 10), 30), *rgb.shape[:2])
                found.append(sighting_of(prior, 0.0, 0.99, Side.RIGHT))
            return found

    finder = Palms(0.14)
    (only,) = distinct(TiledFinder(finder, 0.0)(0, rgb))
    assert finder.asked == 1 + 3 + 21
    np.testing.assert_allclose(only.prior.joints[0], [210.5, 200.5])
