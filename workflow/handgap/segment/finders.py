"""Finders as the settings name them, and how their sightings go together with labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torchvision.ops import box_iou

from handgap.core.config.segment import Segment
from handgap.segment.detect import HAND, HELD, WHOLE, Finder, LabelFinder, Sighting, TextFinder
from handgap.segment.tiles import TiledFinder

MAX_HANDS = 10  # that the palm detector looks for in a photo, and in each tile of it
SAME_HAND = 0.1  # IoU of hand boxes below which a sighting is of another hand


@contextmanager
def open_finder(
    settings: Segment, detector: Path | None = None, vocab: Path | None = None, *, photos: bool = False
) -> Iterator[Finder]:
    """The finder of `settings.boxes`, "palm" or "grounding_dino".

    Args:
        settings: the segment stage's.
        detector, vocab: weights of Grounding DINO, vocabulary of its text encoder.
        photos: of people, in which hands may be many and small, not a dataset's images of one or two.

    Raises:
        MissingAssetError, CorruptFileError: of Grounding DINO's files.
    """
    if settings.boxes == "palm":
        from handgap.segment.palm import PalmFinder

        with PalmFinder(MAX_HANDS if photos else 2, settings.box_margin) as finder:
            yield TiledFinder(finder, settings.box_margin) if photos else finder
        return
    from handgap.segment.grounding_dino import GroundingDino, load_grounding_dino

    thresholds = {name: getattr(settings, name) for name in ("box_threshold", "text_threshold")}
    model = load_grounding_dino(detector, vocab)
    yield TextFinder(GroundingDino(model, settings.prompts, **thresholds, short_side=settings.detector_side))


class AnnotatedHand:
    """The annotated hand of an image, as seen by another finder if there is one and it sees that hand.

    Args:
        labels: of the shard.
        finder: asked first.
    """

    def __init__(self, labels: LabelFinder, finder: Finder | None):
        self._labels, self._finder = labels, finder

    def __call__(self, row: int, rgb: np.ndarray) -> tuple[Sighting, bool]:
        """Sighting of a row's hand, and whether it is the finder's.

        Boxes alone are joined with the labels: these keep the hand's own box and outline, and lend the box of
        hand + arm where it lacks.
        """
        label = self._labels(row, rgb)[0]
        sighting = _same_hand(label, self._finder(row, rgb)) if self._finder else None
        if sighting is None:
            return label, False
        return (sighting if sighting.prior else joined(label, sighting)), True


def _same_hand(label: Sighting, found: list[Sighting]) -> Sighting | None:
    """The one of some sightings whose hand box lies best on the label's."""
    if not found or np.isnan(label.boxes[HAND]).any():
        return None
    boxes = torch.from_numpy(np.stack([sighting.boxes[HAND] for sighting in found]))
    overlap = box_iou(torch.from_numpy(label.boxes[HAND])[None], boxes)[0].nan_to_num()
    best = int(overlap.argmax())
    return found[best] if overlap[best] >= SAME_HAND else None


def joined(label: Sighting, text: Sighting) -> Sighting:
    """A label's sighting with the boxes of hand + arm and object from a text detector."""
    boxes, scores = label.boxes.copy(), label.scores.copy()
    for row in (WHOLE, HELD):
        if not np.isnan(text.boxes[row]).any():
            boxes[row], scores[row] = text.boxes[row], text.scores[row]
    return replace(label, boxes=boxes, scores=scores)
