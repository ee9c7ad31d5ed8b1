from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from handgap.core.conventions import Side
from handgap.core.images import decode_rgb, encode_rgb
from handgap.core.store import Store, write_store
from handgap.segment.detect import HAND, HELD, WHOLE
from typer.testing import CliRunner

landmarks = pytest.importorskip("handgap.segment.landmarks", reason="mediapipe is not installed")
keypoints_step, palm = (pytest.importorskip(f"handgap.segment.{name}") for name in ("keypoints_step", "palm"))


def answering(*hands: tuple[float, str, float]) -> type:
    """MediaPipe's Hands, as if it saw these: x of the wrist as a share of the width, name of the side, score."""

    class Hands:
        def __init__(self, **options):
            self.options = options

        def process(self, rgb):
            assert rgb.flags.c_contiguous
            points = [[SimpleNamespace(x=x + 0.004 * k, y=0.5 - 0.01 * k) for k in range(21)] for x, _, _ in hands]
            sides = [SimpleNamespace(label=label, score=score) for _, label, score in hands]
            return SimpleNamespace(
                multi_hand_landmarks=[SimpleNamespace(landmark=landmarks) for landmarks in points] or None,
                multi_handedness=[SimpleNamespace(classification=[side]) for side in sides] or None,
            )

        def close(self):
            self.options = None

    return Hands


def test_several_hands_come_sorted_with_side_score_and_prior(monkeypatch):
    monkeypatch.setattr(landmarks, "Hands", answering((0.2, "Left", 0.7), (0.6, "Right", 0.9)))
    image = np.zeros((200, 300, 3), np.uint8)[:, ::-1]
    with palm.PalmFinder(2, margin=0.0) as find:
        first, second = find(0, image)
    assert (first.side, second.side) == (Side.LEFT, Side.RIGHT)  # MediaPipe takes photos for mirror images
    np.testing.assert_array_equal(first.scores, [0.9, 0.9, np.nan])
    np.testing.assert_allclose(first.prior.joints[[0, 20]], [[180, 100], [204, 60]])
    for sighting in (first, second):
        low, high = sighting.prior.joints.min(0), sighting.prior.joints.max(0)
        assert (sighting.boxes[HAND, :2] <= low).all() and (sighting.boxes[HAND, 2:] >= high).all()
        assert (sighting.boxes[WHOLE, 3] > sighting.boxes[HAND, 3]) and np.isnan(sighting.boxes[HELD]).all()


def test_no_hand_gives_nothing_and_one_out_of_the_picture_no_box(monkeypatch):
    image = np.zeros((200, 300, 3), np.uint8)
    monkeypatch.setattr(landmarks, "Hands", answering())
    with palm.PalmFinder(1, margin=0.0) as find:
        assert find(0, image) == []
    monkeypatch.setattr(landmarks, "Hands", answering((3.0, "Left", 0.8)))
    with palm.PalmFinder(1, margin=0.0) as find:
        (only,) = find(0, image)
    assert np.isnan(only.boxes).all() and np.isnan(only.scores).all()


def test_rendered_hands_are_found_where_their_labels_are(made: Path):
    """Rendered right hands beside their mirror images, which are left ones."""
    shard = made / "smoke" / "real" / "proxyfrei" / "train" / "00000.h5"
    if not shard.exists():
        pytest.skip("no real side has been rendered: `make smoke` renders one")
    with Store(shard) as store, palm.PalmFinder(2, margin=0.0) as find:
        found, sides, errors = 0, [], []
        for row in range(min(len(store), 12)):
            image = decode_rgb(store.column("image", row))
            joints = store.column("joints", row) @ store.column("K", row).T
            joints = joints[:, :2] / joints[:, 2:]
            width = image.shape[1]
            for sighting in find(row, np.concatenate([image, image[:, ::-1]], axis=1)):
                mirrored = sighting.prior.joints[:, 0].mean() > width
                seen = sighting.prior.joints * [-1, 1] + [2 * width, 0] if mirrored else sighting.prior.joints
                sides.append(sighting.side == (Side.LEFT if mirrored else Side.RIGHT))
                errors.append(np.linalg.norm(seen - joints, axis=1).mean() / np.ptp(joints, axis=0).max())
                found += 1
    assert found >= 6
    assert np.mean(sides) > 0.6
    assert np.median(errors) < 0.2


def test_keypoints_of_a_shard_are_detected_without_its_labels(monkeypatch, tmp_path):
    monkeypatch.setattr(landmarks, "Hands", answering((0.2, "Left", 0.7)))
    images = [encode_rgb(np.full((40, 60, 3), value, np.uint8)) for value in (0, 255)]
    columns = {"id": np.array([7, 8]), "image": images}  # neither K nor joints nor side
    write_store(tmp_path / "real.h5", columns, study="t", seed=0, code="-", config="-")
    command = ["real.h5", "--out", "found.h5", "--study", "t", "--seed", "0", "--code", "-"]
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(keypoints_step.app, command, catch_exceptions=False)
    with Store(tmp_path / "found.h5") as found:
        assert found.names == ["confidence", "flag", "id", "keypoints", "valid"]
        np.testing.assert_array_equal(found.column("id"), [7, 8])
        np.testing.assert_allclose(found.column("keypoints")[:, [0, 20]], [[[12, 20], [16.8, 12]]] * 2, rtol=1e-5)
        np.testing.assert_allclose(found.column("confidence"), np.full((2, 21), 0.7))
        assert found.column("valid").all()
    monkeypatch.setattr(landmarks, "Hands", answering())
    CliRunner().invoke(keypoints_step.app, command, catch_exceptions=False)
    with Store(tmp_path / "found.h5") as found:
        assert not found.column("valid").any()
        assert set(found.column("flag")) == {keypoints_step.NOT_FOUND}
        assert np.isnan(found.column("keypoints")).all() and not found.column("confidence").any()
