"""Every protocol against a plain per-sample transcription of what its authors publish."""

from typing import get_args

import numpy as np
import pytest
from evaluation_hands import challenge, dexycb, predicted, renderih, true_hands
from handgap.core.config.evaluate import ProtocolName
from handgap.core.conventions import TIP_VERTICES
from handgap.evaluate.alignments import align
from handgap.evaluate.pixels import evaluate_pixels
from handgap.evaluate.protocols import DEXYCB, FREIHAND, GEOREC, HO3D_V2, PROTOCOLS, RENDERIH, RENDERIH_WRIST
from handgap.evaluate.scores import evaluate
from handgap.evaluate.two_hands import contact_deviation, evaluate_two_hands, in_pairs


def means(scores):
    return {name: score.mean() for name, score in scores.items()}


@pytest.mark.parametrize("noise", [0.001, 0.006, 0.03])
@pytest.mark.parametrize("protocol", [FREIHAND, HO3D_V2], ids=lambda protocol: protocol.name)
def test_freihand_and_ho3d(protocol, noise):
    truth = true_hands(30)
    columns = (*truth, *predicted(truth, noise))
    ours = means(evaluate(protocol, *columns, camera=True))
    assert ours == pytest.approx(challenge(*columns, ho3d=protocol is HO3D_V2), abs=1e-6)


@pytest.mark.parametrize("noise", [0.001, 0.03])
def test_dexycb(noise):
    truth = true_hands(30)
    pred = predicted(truth, noise)
    ours = means(evaluate(DEXYCB, truth[0], None, pred[0], None, camera=True))
    assert ours == pytest.approx(dexycb(truth[0], pred[0]), abs=1e-6)


def test_all_zeros_are_judged_like_by_the_transcription():
    truth = true_hands(20)
    zeros = [np.zeros_like(part) for part in truth]
    for protocol in (FREIHAND, HO3D_V2):
        ours = means(evaluate(protocol, *truth, *zeros, camera=True))
        assert ours == pytest.approx(challenge(*truth, *zeros, ho3d=protocol is HO3D_V2), abs=1e-6)
    assert ours["abs_mpjpe"] == pytest.approx(1000 * np.linalg.norm(truth[0], axis=2).mean())


def two_hands(count):
    """Two hands a picture, the left one close to the right."""
    right, left = true_hands(count, 2), true_hands(count, 3)
    shift = (right[1][:, :1] - left[1][:, :1]) + 0.001
    return tuple(np.stack([r, x + shift], 1) for r, x in zip(right, left, strict=True))


def as_predicted(hands):
    each = [predicted(tuple(part[:, side] for part in hands), seed=5 + side) for side in (0, 1)]
    return tuple(np.stack(parts, 1) for parts in zip(*each, strict=True))


@pytest.mark.parametrize("protocol", [RENDERIH, RENDERIH_WRIST], ids=lambda protocol: protocol.name)
def test_two_hands(protocol):
    truth = two_hands(12)
    pred = as_predicted(truth)
    ours = means(evaluate_two_hands(protocol, *truth, *pred))
    assert ours == pytest.approx(renderih(*truth, *pred, protocol.root), abs=1e-6)
    assert ours["mrrpe_per_axis"] < ours["mrrpe"] / np.sqrt(3) + 1e-9


def test_two_hands_by_hand():
    joints, vertices = two_hands(4)
    perfect = means(evaluate_two_hands(RENDERIH, joints, vertices, joints, vertices))
    assert perfect.pop("cdev") <= 3.0  # of true hands it is the gap between what counts as touching
    assert perfect == pytest.approx(dict.fromkeys(perfect, 0.0), abs=1e-5)
    larger = means(evaluate_two_hands(RENDERIH, joints, None, 1.1 * joints, None))
    assert larger["smpjpe"] == pytest.approx(0, abs=1e-9) and larger["mpjpe"] > 1
    quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = means(evaluate_two_hands(RENDERIH, joints, None, joints @ quarter, None))
    assert turned["pa_mpjpe"] == pytest.approx(0, abs=1e-5) and turned["mpjpe"] > 10
    moved = joints.copy()
    moved[:, 1] += [0.003, 0.0, 0.004]
    apart = evaluate_two_hands(RENDERIH, joints, None, moved, None)
    assert apart["mrrpe"].mean() == pytest.approx(5.0) and apart["mrrpe_per_axis"].mean() == pytest.approx(7 / 3)
    mirrored = evaluate_two_hands(RENDERIH, joints, None, joints * [-1, 1, 1], None)
    assert mirrored["pa_mpjpe"].mean() > 2  # no reflection


def test_contact_deviation_counts_only_pairs_that_touch():
    vertices = np.full((2, 2, 778, 3), 0.0)
    vertices[:, 1] = [0.0, 0.0, 0.5]
    vertices[0, 1, 7] = [0.002, 0.0, 0.0]  # all points of the right hand lie 2 mm from it
    pred = vertices.copy()
    pred[0, 1, 7] = [0.0, 0.010, 0.0]
    assert contact_deviation(vertices, pred) == pytest.approx([0.010, np.nan], nan_ok=True)


def test_hands_are_paired_by_picture():
    ids, rows = in_pairs(np.array([7, 7, 8, 9, 9]), np.array([1, 0, 0, 0, 1]))
    assert ids.tolist() == [7, 9] and rows.tolist() == [[1, 0], [3, 4]]


def test_pck_counts_by_picture_box_and_grid():
    uv = np.tile(np.linspace(20, 120, 21)[None, :, None], (2, 1, 2))  # a box of 100 px in pictures of 256
    pred = uv.copy()
    pred[0, :, 0] += 6.0  # more than 5 % of the box, less than 5 % of the picture
    pred[1, 4::4, 1] += 13.0  # fingertips by more than 12.8 px
    scores = evaluate_pixels(uv, pred, np.full(2, 256))
    assert scores["pck2d_image"].values == pytest.approx([1.0, 16 / 21])
    assert scores["pck2d_image_tip"].values == pytest.approx([1.0, 0.0])
    assert scores["pck2d_image_dip"].values == pytest.approx([1.0, 1.0])
    assert scores["pck2d_box"].values == pytest.approx([0.0, 16 / 21])
    assert scores["pixel_error"].values == pytest.approx([6.0, 13 * 5 / 21])


def test_pck_on_the_grid_passes_three_cells_and_fails_four():
    uv = np.full((3, 21, 2), 100.0)
    pred = uv.copy()
    pred[1, :, 0] += 3 * 4
    pred[2, :, 0] += 4 * 4
    assert evaluate_pixels(uv, pred, np.full(3, 256))["pck2d_heatmap"].values == pytest.approx([1, 1, 0])
    edge = np.full((1, 21, 2), 7.0)  # second column of cells
    assert np.isnan(evaluate_pixels(edge, edge, np.full(1, 256))["pck2d_heatmap"].values).all()


def test_epe_is_root_relative_and_known_scale_takes_the_size_out():
    joints, _ = true_hands(5)
    scores = evaluate(GEOREC, joints, None, 1.2 * joints + 0.3, None)
    assert scores["epe_known_scale"].mean() == pytest.approx(0, abs=1e-9)
    by_hand = np.linalg.norm(0.2 * (joints - joints[:, 9:10]), axis=2).mean() * 1000
    assert scores["epe"].mean() == pytest.approx(by_hand)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_no_metric_depends_on_the_batch(protocol):
    """A sample's numbers are the same to the bit alone, and among others in any place."""
    truth = true_hands(140)
    columns = (*truth, *predicted(truth))
    whole = evaluate(protocol, *columns, camera=True)
    for rows in (slice(130, 131), slice(5, 139)):
        part = evaluate(protocol, *(column[rows] for column in columns), camera=True)
        for name, score in part.items():
            np.testing.assert_array_equal(score.values, whole[name].values[rows], name)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_a_protocol_says_what_must_be_known_to_compare(protocol):
    text = protocol.describe()
    assert text.startswith(f"{protocol.name}: ") and "root " in text and "tips " in text and "joints " in text
    assert protocol.tips in (*TIP_VERTICES, "as labelled")
    assert len({p.describe() for p in PROTOCOLS.values()}) == len(PROTOCOLS)


def test_what_is_measured_in_the_camera_frame_is_left_out_elsewhere():
    truth = true_hands(3)
    names = evaluate(FREIHAND, *truth, *predicted(truth))
    assert list(names) == ["pa_mpjpe", "pa_mpvpe", "mpjpe", "pa_auc_joints", "pa_auc_vertices", "pa_f5", "pa_f15"]


def test_scale_and_wrist_keeps_the_scale_of_a_prediction_without_a_palm():
    truth = true_hands(1)[0]
    pred = np.zeros_like(truth)
    pred[:, 5] = [0.1, 0.0, 0.0]
    relative, moved = align("scale and wrist", truth, pred)
    np.testing.assert_allclose(relative, truth - truth[:, :1])
    assert np.isfinite(moved).all()


def test_the_configuration_knows_the_protocols_of_single_hands():
    assert set(get_args(ProtocolName)) == {name for name, p in PROTOCOLS.items() if p.hands == 1 and not p.pixels}
