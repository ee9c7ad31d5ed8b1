"""Hands that are small in a photo: a finder looks at the whole photo, and at square tiles of it."""

from itertools import product

import numpy as np

from handgap.segment.detect import HAND, Finder, Sighting, overlaps
from handgap.segment.views import seen_in

SHARES = (1.0, 0.5)  # edges of tiles, of the photo's shorter edge
PART = 0.5  # share of a hand box inside another hand's from which it is a part of that hand
SMALLEST = 48  # px; in smaller tiles no hand is found, and a strip of an image has thousands of them
RIM = 1.0  # px; a hand that comes so near to a tile's edge goes on beyond it


class TiledFinder:
    """A `detect.Finder` that asks another one about tiles too, each half over the next.

    A hand at a tile's edge inside the photo is cut by it: it is whole in another tile, or so large that the photo
    itself shows it well. What is found inside a hand of a larger view is a part of that hand. Tiles of one size may
    show the same hand: see `views.distinct`.

    Args:
        finder: asked.
        margin: see `detect.sighting_of`.
    """

    def __init__(self, finder: Finder, margin: float):
        self._finder, self._margin = finder, margin

    def __call__(self, row: int, rgb: np.ndarray) -> list[Sighting]:
        """See `detect.Finder`."""
        found = self._finder(row, rgb)
        for share in SHARES:
            larger = np.array([sighting.boxes[HAND] for sighting in found]).reshape(-1, 4)
            for corner, edge in tiles(rgb.shape[:2], share):
                for sighting in self._in_tile(row, rgb, corner, edge):
                    if (overlaps(sighting.boxes[HAND], larger)[0] < PART).all():
                        found.append(sighting)
        return sorted(found, key=lambda sighting: -np.nan_to_num(sighting.scores[HAND]))

    def _in_tile(self, row: int, rgb: np.ndarray, corner: tuple[int, int], edge: int) -> list[Sighting]:
        """Whole hands of one tile, as seen in the photo."""
        left, top = corner
        found = self._finder(row, rgb[top : top + edge, left : left + edge])
        size, shift = rgb.shape[:2], -np.array(corner)
        whole = [sighting for sighting in found if _is_whole(sighting.boxes[HAND], corner, edge, size)]
        return [seen_in(sighting, np.ones(2), shift, size, self._margin) for sighting in whole]


def tiles(size: tuple[int, int], share: float) -> list[tuple[tuple[int, int], int]]:
    """Left and top corner, and edge, of square tiles of an image (H, W), px; none that is the image itself or tiny.

    Args:
        size: (H, W).
        share: the tiles' edge, of the shorter edge.
    """
    edge = round(share * min(size))
    if edge == max(size) or edge < SMALLEST:
        return []
    counts = [-(-2 * (length - edge) // edge) + 1 for length in size[::-1]]
    places = [
        np.linspace(0, length - edge, count).round().astype(int).tolist()
        for length, count in zip(size[::-1], counts, strict=True)
    ]
    return [(corner, edge) for corner in product(*places)]


def _is_whole(box: np.ndarray, corner: tuple[int, int], edge: int, size: tuple[int, int]) -> bool:
    """Whether a hand's box (4,) px of a tile stays off those of its edges that are not the image's."""
    inner = np.array([*np.greater(corner, 0), *np.less(np.add(corner, edge), size[::-1])])
    room = np.array([*box[:2], *(edge - box[2:])])
    return bool((room[inner] > RIM).all())
