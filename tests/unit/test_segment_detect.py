import numpy as np
import pytest
from handgap.core.conventions import Side
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from handgap.segment.boxes import prior_from_labels
from handgap.segment.detect import HAND, HELD, WHOLE, Detections, LabelFinder, TextFinder, sightings

BOXES = {
    "hand": (20, 20, 60, 60),
    "other hand": (120, 20, 160, 60),
    "arm": (20, 20, 60, 180),
    "far arm": (119, 19, 161, 180),
    "cup": (50, 10, 90, 50),
    "hand as object": (21, 21, 60, 60),
    "far thing": (70, 150, 100, 180),
}


def detections(*rows: tuple[str, int, float]) -> Detections:
    """Named boxes that answer a prompt with a score, sorted as detectors sort them."""
    rows = sorted(rows, key=lambda row: -row[2])
    boxes = np.array([BOXES[name] for name, _, _ in rows], np.float64).reshape(-1, 4)
    scores, prompts = np.array([row[2] for row in rows]), np.array([row[1] for row in rows], np.int64)
    return Detections(boxes, scores, prompts)


def names(sighting) -> list[str | None]:
    table = {tuple(map(float, box)): name for name, box in BOXES.items()}
    return [None if np.isnan(box).any() else table[tuple(box)] for box in sighting.boxes]


def test_each_hand_gets_the_arm_around_it_and_the_object_at_it():
    found = detections(
        ("hand", HAND, 0.6),
        ("other hand", HAND, 0.7),
        ("arm", WHOLE, 0.4),
        ("far arm", WHOLE, 0.5),
        ("cup", HELD, 0.35),
        ("far thing", HELD, 0.9),
    )
    other, hand = sightings(found)
    assert names(other) == ["other hand", "far arm", None]
    assert names(hand) == ["hand", "arm", "cup"]
    np.testing.assert_array_equal(hand.scores, [0.6, 0.4, 0.35])
    assert np.isnan(other.scores[HELD])
    assert hand.prior is None and hand.side is None


def test_the_hand_itself_is_no_object_and_without_a_hand_there_is_no_sighting():
    (only,) = sightings(detections(("hand", HAND, 0.6), ("hand as object", HELD, 0.8), ("cup", HELD, 0.31)))
    assert names(only) == ["hand", None, "cup"]
    assert sightings(detections(("arm", WHOLE, 0.9), ("cup", HELD, 0.9))) == []
    assert sightings(detections()) == []


def test_the_best_of_several_arms_is_taken():
    found = detections(("hand", HAND, 0.9), ("hand", WHOLE, 0.33), ("arm", WHOLE, 0.5))
    assert names(sightings(found)[0])[WHOLE] == "arm"


def test_text_finder_asks_its_detector_for_the_one_image():
    asked = []

    def detector(images):
        asked.extend(images)
        return [detections(("hand", HAND, 0.5))]

    image = np.zeros((8, 9, 3), np.uint8)
    assert names(TextFinder(detector)(3, image)[0]) == ["hand", None, None]
    assert len(asked) == 1 and asked[0] is image


@pytest.fixture
def shard(tmp_path):
    """Three rows of a store; the last hand lies outside the picture."""
    generator = rng(0, "test/detect")
    joints = np.array([0.0, 0.0, 0.5]) + generator.normal(0, 0.02, (3, 21, 3))
    vertices = np.array([0.0, 0.0, 0.5]) + generator.normal(0, 0.02, (3, 778, 3))
    vertices[2, :, 0] += 5.0
    K = np.array([[100.0, 0, 32], [0, 100.0, 24], [0, 0, 1]], np.float32)
    columns = {
        "id": np.arange(3),
        "joints": joints.astype(np.float32),
        "vertices": vertices.astype(np.float32),
        "K": np.tile(K, (3, 1, 1)),
        "side": np.array([Side.RIGHT, Side.LEFT, Side.RIGHT], np.uint8),
    }
    write_store(tmp_path / "real.h5", columns, study="t", seed=0, code="c", config="k")
    return tmp_path / "real.h5", generator.integers(0, 778, (50, 3))


def test_labels_give_one_sure_hand_with_its_prior(shard):
    path, faces = shard
    image = np.zeros((48, 64, 3), np.uint8)
    with Store(path) as store:
        find = LabelFinder(store, faces, margin=0.05)
        (seen,) = find(1, image)
        (unseen,) = find(2, image)
        prior = prior_from_labels(
            store.column("joints", 1), store.column("vertices", 1), faces, store.column("K", 1), 48, 64
        )
    assert seen.side is Side.LEFT
    np.testing.assert_array_equal(seen.scores, [1.0, 1.0, np.nan])
    np.testing.assert_array_equal(seen.prior.outline, prior.outline)
    np.testing.assert_array_equal(seen.boxes[HAND], prior.hand_box(0.05))
    np.testing.assert_array_equal(seen.boxes[WHOLE], prior.arm_box(0.05))
    assert np.isnan(unseen.boxes).all() and np.isnan(unseen.scores).all() and unseen.prior is not None
    low, high = seen.boxes[WHOLE, :2], seen.boxes[WHOLE, 2:]
    assert (low <= seen.boxes[HAND, :2]).all() and (high >= seen.boxes[HAND, 2:]).all()
    assert (low >= 0).all() and (high <= [64, 48]).all()
