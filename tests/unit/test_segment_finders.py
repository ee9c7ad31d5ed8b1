import json
from pathlib import Path

import numpy as np
import pytest
from handgap.core.config.segment import Segment
from handgap.core.errors import ConfigError
from handgap.segment.detect import HAND, HELD, WHOLE, Detections
from handgap.segment.finders import open_finder
from handgap.segment.step import masks

SETTINGS = Segment(
    boxes="grounding_dino", prompts=("a hand", "an arm", "a thing"), box_threshold=0.4, detector_side=480
)


def test_text_finder_is_built_from_the_settings(monkeypatch):
    grounding_dino = pytest.importorskip("handgap.segment.grounding_dino", reason="no groundingdino installed")
    seen = {}

    class Stub:
        def __init__(self, model, prompts, **options):
            seen.update(model=model, prompts=prompts, **options)

        def __call__(self, images):
            boxes = np.array([[10.0, 10, 30, 30], [10, 10, 30, 60], [20, 5, 40, 25]])
            return [Detections(boxes, np.array([0.9, 0.8, 0.7]), np.array([HAND, WHOLE, HELD]))]

    monkeypatch.setattr(grounding_dino, "load_grounding_dino", lambda weights, vocab: (weights, vocab))
    monkeypatch.setattr(grounding_dino, "GroundingDino", Stub)
    with open_finder(SETTINGS, Path("w.pth"), Path("vocab.txt")) as finder:
        found = finder(0, np.zeros((64, 64, 3), np.uint8))
    assert seen == {
        "model": (Path("w.pth"), Path("vocab.txt")),
        "prompts": ("a hand", "an arm", "a thing"),
        "box_threshold": 0.4,
        "text_threshold": 0.25,
        "short_side": 480,
    }
    np.testing.assert_array_equal(found[0].boxes, [[10, 10, 30, 30], [10, 10, 30, 60], [20, 5, 40, 25]])


@pytest.mark.parametrize(
    ("boxes", "files"),
    [
        ("grounding_dino", {}),
        ("grounding_dino", {"vocab": Path("vocab.txt")}),
        ("annotation", {"detector": Path("w.pth"), "vocab": Path("vocab.txt")}),
    ],
)
def test_files_and_source_of_boxes_must_agree(boxes, files):
    nowhere = dict.fromkeys(("real", "weights", "annotation_hand", "out"), Path("nowhere"))
    with pytest.raises(ConfigError, match=f"boxes are {boxes}"):
        masks(**nowhere, **files, study="t", seed=0, code="c", settings=json.dumps({"boxes": boxes}))
