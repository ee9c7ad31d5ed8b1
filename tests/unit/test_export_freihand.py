import json
from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.core.conventions import MaskLabel
from handgap.core.errors import ConfigError
from handgap.core.images import decode_mask
from handgap.core.store import Store
from handgap.export.formats import export_stores
from labelled_hands import hands, meaning_hand, write_hands
from PIL import Image

from tests.conftest import ROOT

OPTIONS = {"code": "c0de", "table": ROOT / "config/assets.csv"}


@pytest.fixture
def exported(tmp_path: Path):
    """A right hand, a left one, and one that is not valid, of JPEG and WebP."""
    hand = meaning_hand(tmp_path / "hand.npz")
    store = write_hands(tmp_path / "a.h5", hands(hand, range(4), left=[1, 2], invalid=[3]))
    out = tmp_path / "out"
    tally = export_stores("freihand", [store], out, split="train", annotation_hand=tmp_path / "hand.npz", **OPTIONS)
    return hand, store, out, tally


def listed(out: Path, what: str) -> np.ndarray:
    return np.array(json.loads((out / f"training_{what}.json").read_text()))


def test_vertices_come_back_from_the_mano_vector_as_the_official_code_makes_them(exported) -> None:
    hand, _, out, _ = exported
    K, xyz, verts, mano = (listed(out, what) for what in ("K", "xyz", "verts", "mano"))
    assert mano.shape == (3, 1, 61) and verts.shape == (3, 778, 3)
    for row in range(3):
        # split_theta and recover_root of the release
        poses, shapes, uv_root, scale = np.split(mano[row, 0], [48, 58, 60])
        focal = 0.5 * (K[row, 0, 0] + K[row, 1, 1])
        root = np.array([uv_root[0] - K[row, 0, 2], uv_root[1] - K[row, 1, 2], focal]) / scale[0]
        values = [torch.as_tensor(part[None], dtype=torch.float32) for part in (poses[:3], poses[3:], shapes)]
        pose = hand.full_pose(values[0], values[1], use_pca=False, flat_hand_mean=False)
        posed = hand(pose, values[2], torch.zeros(1, 3))
        shift = root - posed.joints[0, 9].numpy()
        np.testing.assert_allclose(posed.vertices[0].numpy() + shift, verts[row], atol=2e-6)
        np.testing.assert_allclose(posed.joints[0].numpy() + shift, xyz[row], atol=2e-6)


def test_scale_is_the_length_of_the_middle_fingers_first_bone(exported) -> None:
    _, _, out, _ = exported
    xyz = listed(out, "xyz")
    np.testing.assert_allclose(listed(out, "scale"), np.linalg.norm(xyz[:, 9] - xyz[:, 10], axis=1), atol=1e-6)


def test_a_left_hand_is_mirrored_with_its_image_and_camera(exported) -> None:
    _, path, out, tally = exported
    assert tally.mirrored == 2 and listed(out, "mirrored").tolist() == [False, True, True]
    with Store(path) as store:
        K, joints = store.column("K", 1), store.column("joints", 1)
        labels = decode_mask(store.column("mask", 1))
    assert listed(out, "K")[1, 0, 2] == pytest.approx(96 - K[0, 2])
    np.testing.assert_allclose(listed(out, "xyz")[1], joints * [-1, 1, 1], atol=1e-7)
    hand = np.asarray(Image.open(out / "training/mask/00000001.jpg")) > 127
    np.testing.assert_array_equal(hand, (labels == MaskLabel.HAND)[:, ::-1])


def test_a_jpeg_stays_as_it_is_and_others_become_one(exported) -> None:
    _, path, out, _ = exported
    with Store(path) as store:
        kept = store.column("image", 1).tobytes()
    pictures = [out / f"training/rgb/{number:08d}.jpg" for number in range(3)]
    assert [Image.open(picture).format for picture in pictures] == ["JPEG"] * 3
    assert pictures[1].read_bytes() != kept  # mirrored: pixels moved
    right = write_hands(path.with_name("b.h5"), hands(meaning_hand(path.with_name("hand.npz")), [1]))
    again = path.with_name("again")
    export_stores("freihand", [right], again, split="test", annotation_hand=path.with_name("hand.npz"), **OPTIONS)
    with Store(right) as store:
        assert (again / "evaluation/rgb/00000000.jpg").read_bytes() == store.column("image", 0).tobytes()
    assert len(json.loads((again / "evaluation_K.json").read_text())) == 1


def test_samples_that_are_not_valid_are_left_out_and_listed(exported) -> None:
    _, _, out, tally = exported
    assert (tally.written, tally.invalid) == (3, 1)
    assert listed(out, "ids").tolist() == [0, 1, 2]
    assert (out / "left_out.csv").read_text() == "id,reason\n3,out of the image\n"


def test_without_the_hand_model_the_option_is_named(tmp_path: Path) -> None:
    hand = meaning_hand(tmp_path / "hand.npz")
    store = write_hands(tmp_path / "a.h5", hands(hand, [0]))
    with pytest.raises(ConfigError, match="--annotation-hand"):
        export_stores("freihand", [store], tmp_path / "out", split="train", **OPTIONS)
    assert not (tmp_path / "out").exists()
