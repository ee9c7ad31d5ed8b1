import cv2
import numpy as np
import pytest
from handgap.compose.labels import hidden_joints, occlusion, without_depth
from handgap.compose.paste import Layer, coverage, match_colour, paste
from handgap.core.conventions import MaskLabel
from handgap.core.images import decode_depth, encode_depth
from handgap.core.seeds import rng
from scipy.ndimage import distance_transform_edt

SIZE = 24


def picture(sample: int) -> np.ndarray:
    return rng(0, "test/picture", sample).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def labels_of(sample: int, classes: int) -> np.ndarray:
    return rng(0, "test/labels", sample).integers(0, classes, (SIZE, SIZE)).astype(np.uint8)


def disc(row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return (y - row) ** 2 + (x - column) ** 2 < radius**2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("has_arm", "has_object"), [(True, True), (True, False), (False, True), (False, False)])
def test_every_pixel_comes_from_where_it_should(seed, has_arm, has_object):
    synthetic, source, labels = picture(seed), picture(seed + 50), labels_of(seed, 2)
    parts = labels_of(seed + 50, 5)
    arm, held = parts == MaskLabel.ARM, parts == MaskLabel.OBJECT
    before = synthetic.copy()
    image, result = paste(
        synthetic, labels, Layer(source, arm) if has_arm else None, Layer(source, held) if has_object else None
    )
    for y in range(SIZE):
        for x in range(SIZE):
            if has_object and held[y, x]:
                expected, label = source[y, x], MaskLabel.OBJECT
            elif has_arm and arm[y, x] and labels[y, x] == 0:
                expected, label = source[y, x], MaskLabel.ARM
            else:
                expected, label = synthetic[y, x], labels[y, x]
            assert (image[y, x] == expected).all()
            assert result[y, x] == label
    assert (synthetic == before).all()


def test_one_colour_fills_a_piece():
    parts = labels_of(1, 4)
    image, _ = paste(picture(0), labels_of(0, 2), held=Layer(np.uint8([9, 8, 7]), parts == MaskLabel.OBJECT))
    assert (image[parts == MaskLabel.OBJECT] == [9, 8, 7]).all()
    assert (image[parts != MaskLabel.OBJECT] == picture(0)[parts != MaskLabel.OBJECT]).all()


@pytest.mark.parametrize("feather", [1.01, 2.0, 3.5, 12.0])
@pytest.mark.parametrize("seed", range(5))
def test_soft_edge_is_linear_in_the_distance_to_the_edge(seed, feather):
    mask = cv2.GaussianBlur(rng(seed, "test/mask").random((SIZE, SIZE)), (5, 5), 1.5) > 0.5
    assert mask.any() and not mask.all()
    share = coverage(mask, feather)
    signed = np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - distance_transform_edt(~mask))
    np.testing.assert_allclose(share, np.clip(0.5 + signed / feather, 0, 1), atol=1e-5)
    assert ((share > 0.5) == mask).all()


@pytest.mark.parametrize("feather", [0.0, 0.5, 1.0])
def test_up_to_one_pixel_the_edge_is_hard(feather):
    mask = disc(12, 12, 7)
    assert (coverage(mask, feather) == mask).all()


def test_no_mask_and_a_full_mask_have_no_edge():
    assert (coverage(np.zeros((SIZE, SIZE), bool), 6.0) == 0).all()
    assert (coverage(np.ones((SIZE, SIZE), bool), 6.0) == 1).all()


def test_feathering_keeps_the_labels_the_hand_and_what_is_far_from_an_edge():
    labels = np.where(disc(12, 16, 6), MaskLabel.HAND, MaskLabel.BACKGROUND).astype(np.uint8)
    arm, held = Layer(picture(1), disc(12, 6, 8)), Layer(picture(2), disc(4, 16, 4))
    hard, hard_labels = paste(picture(0), labels, arm, held)
    soft, soft_labels = paste(picture(0), labels, arm, held, feather=4.0)
    assert (soft_labels == hard_labels).all()
    no_object = coverage(held.mask, 4.0) == 0
    hand = (labels == MaskLabel.HAND) & no_object
    assert (soft[hand] == picture(0)[hand]).all()
    solid = (coverage(arm.mask, 4.0) == 1) & (labels != MaskLabel.HAND) & no_object
    assert solid.any()
    assert (soft[solid] == picture(1)[solid]).all()
    untouched = (coverage(arm.mask, 4.0) == 0) & no_object
    assert (soft[untouched] == picture(0)[untouched]).all()
    assert (soft != hard).any()


def lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image.reshape(-1, 1, 3).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[:, 0]


def test_colour_matching_gives_a_region_the_mean_and_deviation_of_another():
    generator = rng(0, "test/colour")
    source = generator.normal((90, 120, 150), 12, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    target = generator.normal((150, 120, 100), 18, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    source[40:], target[:, 50:] = 7, 250
    mine, its = np.zeros((2, 64, 64), bool)
    mine[:40], its[:, :50] = True, True
    matched = match_colour(source, mine, target, its)
    wanted = lab(target[its])
    np.testing.assert_allclose(lab(matched[mine]).mean(0), wanted.mean(0), atol=0.3)
    np.testing.assert_allclose(lab(matched[mine]).std(0), wanted.std(0), rtol=0.03)
    assert np.abs(match_colour(source, mine, source, mine).astype(int) - source).max() <= 1
    flat = match_colour(np.full((64, 64, 3), 128, np.uint8), mine, target, its)
    np.testing.assert_allclose(lab(flat[mine]).mean(0), wanted.mean(0), atol=0.5)


def test_without_a_hand_on_either_side_colours_stay():
    none, some = np.zeros((SIZE, SIZE), bool), np.ones((SIZE, SIZE), bool)
    for regions in ((none, some), (some, none)):
        assert (match_colour(picture(0), regions[0], picture(1), regions[1]) == picture(0)).all()


def test_joints_under_the_object_are_hidden_those_on_the_arm_are_not():
    labels = np.zeros((20, 30), np.uint8)
    labels[5:10, 10:20], labels[5:10, 20:25] = MaskLabel.OBJECT, MaskLabel.ARM
    K = np.array([[100.0, 0, 0], [0, 100.0, 0], [0, 0, 1]])
    pixels = np.array([[10.0, 5.0], [9.99, 5.0], [19.99, 9.99], [20.0, 7.0], [-3.0, 7.0], [31.0, 7.0]])
    joints = np.concatenate([pixels / 100.0, np.ones((6, 1))], 1)
    assert hidden_joints(joints, K, labels).tolist() == [True, False, True, False, False, False]


def test_occlusion_is_the_share_of_the_hand_under_the_object():
    before, after = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    before[:4] = after[:4] = MaskLabel.HAND
    after[3:6] = MaskLabel.OBJECT
    assert occlusion(before, after) == pytest.approx(0.25)
    assert occlusion(np.zeros((2, 2), np.uint8), after[:2, :2]) == 0


def test_depth_goes_where_a_piece_is():
    metres = np.zeros((8, 8), np.float32)
    metres[2:6, 2:6] = 0.5
    pasted = np.zeros((8, 8), bool)
    pasted[4:] = True
    data = encode_depth(metres)
    left = decode_depth(without_depth(data, pasted, "d"))
    assert (left == np.where(pasted, 0, metres)).all()
    assert without_depth(data, np.zeros((8, 8), bool), "d") is data
