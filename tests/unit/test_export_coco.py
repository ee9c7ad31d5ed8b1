import json
from pathlib import Path

import numpy as np
import pytest
from handgap.core.conventions import MaskLabel
from handgap.core.errors import CorruptFileError
from handgap.core.images import decode_mask, encode_mask
from handgap.core.store import Store
from handgap.export.coco import CATEGORY
from handgap.export.formats import export_stores
from labelled_hands import HEIGHT, WIDTH, hands, meaning_hand, write_hands
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.conftest import ROOT

OPTIONS = {"split": "val", "code": "c0de", "table": ROOT / "config/assets.csv"}


@pytest.fixture
def exported(tmp_path: Path):
    columns = hands(meaning_hand(tmp_path / "hand.npz"), range(5), left=[2], invalid=[3])
    columns["K"][1, 0, 2] += 40  # moves joints out of the image
    store = write_hands(tmp_path / "a.h5", columns)
    out = tmp_path / "out"
    export_stores("coco", [store], out, **OPTIONS)
    return columns, out, COCO(out / "annotations/hand_keypoints_val.json")


def test_pycocotools_finds_every_valid_sample(exported) -> None:
    columns, out, coco = exported
    assert sorted(coco.imgs) == [0, 1, 2, 4]
    assert [coco.anns[number + 1]["side"] for number in (0, 1, 2, 4)] == ["right", "right", "left", "right"]
    for number, entry in coco.imgs.items():
        path = out / "images/val" / entry["file_name"]
        assert path.read_bytes() == columns["image"][number].tobytes()
        assert Image.open(path).size == (entry["width"], entry["height"]) == (WIDTH, HEIGHT)


def test_masks_boxes_and_areas_are_the_hands_pixels(exported) -> None:
    columns, _, coco = exported
    for number in coco.imgs:
        annotation = coco.anns[number + 1]
        hand = decode_mask(columns["mask"][number]) == MaskLabel.HAND
        np.testing.assert_array_equal(coco.annToMask(annotation), hand)
        rows, cols = np.flatnonzero(hand.any(1)), np.flatnonzero(hand.any(0))
        size = [cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1]
        assert annotation["bbox"] == [cols[0], rows[0], *size] and annotation["area"] == hand.sum()


def test_keypoints_are_pixels_and_say_what_is_seen(exported) -> None:
    columns, _, coco = exported
    outside = 0
    for number in coco.imgs:
        x, y, flags = np.array(coco.anns[number + 1]["keypoints"]).reshape(21, 3).T
        K, joints = columns["K"][number].astype(float), columns["joints"][number].astype(float)
        u = K[0, 0] * joints[:, 0] / joints[:, 2] + K[0, 2]
        v = K[1, 1] * joints[:, 1] / joints[:, 2] + K[1, 2]
        inside = (u >= 0) & (u < WIDTH) & (v >= 0) & (v < HEIGHT)
        np.testing.assert_array_equal(flags, np.where(inside, 1 + columns["visibility"][number], 0))
        np.testing.assert_allclose(x[inside], u[inside] - 0.5, atol=6e-4)
        np.testing.assert_allclose(y[inside], v[inside] - 0.5, atol=6e-4)
        assert not x[~inside].any() and not y[~inside].any()
        assert coco.anns[number + 1]["num_keypoints"] == inside.sum()
        outside += (~inside).sum()
    assert outside


def test_the_skeleton_joins_wrist_and_fingers() -> None:
    named = [tuple(CATEGORY["keypoints"][end - 1] for end in bone) for bone in CATEGORY["skeleton"]]
    assert len(named) == 20
    assert ("wrist", "thumb1") in named and ("ring3", "ring4") in named and ("wrist", "pinky1") in named


def test_the_truth_as_predictions_scores_full_marks_in_cocos_own_evaluation(exported) -> None:
    _, _, coco = exported
    keys = ("image_id", "category_id", "keypoints", "bbox")
    found = coco.loadRes([{key: annotation[key] for key in keys} | {"score": 1.0} for annotation in coco.anns.values()])
    judge = COCOeval(coco, found, "keypoints")
    judge.params.kpt_oks_sigmas = np.full(21, 0.05)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)


def test_two_hands_of_one_picture_are_annotations_of_one_image(tmp_path: Path) -> None:
    columns = hands(meaning_hand(tmp_path / "hand.npz"), range(4), left=[1, 3])
    columns["image"][1], columns["image"][3] = columns["image"][0], columns["image"][2]
    columns["image_id"] = np.array([0, 0, 1, 1])
    export_stores("coco", [write_hands(tmp_path / "a.h5", columns)], tmp_path / "out", **OPTIONS)
    coco = COCO(tmp_path / "out/annotations/hand_keypoints_val.json")
    assert sorted(coco.imgs) == [0, 1] and len(coco.anns) == 4
    assert [annotation["side"] for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[1]))] == ["right", "left"]
    assert len(list((tmp_path / "out/images/val").iterdir())) == 2


def test_without_masks_the_box_is_the_joints(tmp_path: Path) -> None:
    columns = hands(meaning_hand(tmp_path / "hand.npz"), [0])
    del columns["mask"], columns["visibility"]
    export_stores("coco", [write_hands(tmp_path / "a.h5", columns)], tmp_path / "out", **OPTIONS)
    (annotation,) = json.loads((tmp_path / "out/annotations/hand_keypoints_val.json").read_text())["annotations"]
    points = np.array(annotation["keypoints"]).reshape(21, 3)
    assert "segmentation" not in annotation and set(points[:, 2]) <= {0, 2}
    x, y = points[points[:, 2] > 0, :2].T
    expected = [x.min() + 0.5, y.min() + 0.5, np.ptp(x), np.ptp(y)]
    np.testing.assert_allclose(annotation["bbox"], expected, atol=2e-3)


def test_a_mask_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    columns = hands(meaning_hand(tmp_path / "hand.npz"), range(2))
    columns["mask"][1] = encode_mask(np.zeros((8, 8)))
    store = write_hands(tmp_path / "a.h5", columns)
    with pytest.raises(CorruptFileError, match=r"a\.h5\[1\].*mask of \(8, 8\) px"):
        export_stores("coco", [store], tmp_path / "out", **OPTIONS)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
    with Store(store) as whole:
        whole.verify()
