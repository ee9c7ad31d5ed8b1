"""The vectorised metrics against a plain per-sample transcription of FreiHAND's published protocol."""

import numpy as np
import pytest
from evaluation_hands import area, f_score
from handgap.evaluate import metrics
from handgap.evaluate.protocols import FREIHAND
from handgap.evaluate.scores import evaluate
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import KDTree


def hands(count, noise, seed=0):
    """A curved sheet of 778 points and 21 of them as joints, true and predicted, with outliers."""
    generator = np.random.default_rng(seed)
    u, v = generator.uniform(-1, 1, (2, 778))
    template = np.stack([0.09 * u, 0.05 * v, 0.03 * u * u + 0.01 * np.sin(9 * v)], -1)
    vertices = template + generator.normal(0, 0.002, (count, 778, 3)) + generator.normal(0, 0.3, (count, 1, 3))
    turn = np.linalg.qr(generator.normal(size=(count, 3, 3)))[0]
    size = generator.uniform(0.7, 1.4, (count, 1, 1))
    drift = np.cumsum(generator.normal(0, noise / 6, (count, 778, 3)), 1) / 6
    predicted = (vertices + drift + generator.normal(0, noise, vertices.shape)) @ turn * size
    return vertices[:, ::38][:, :21], vertices, predicted[:, ::38][:, :21], predicted


def align(truth, pred):
    truth_mean, pred_mean = truth.mean(0), pred.mean(0)
    truth_norm, pred_norm = np.linalg.norm(truth - truth_mean) + 1e-8, np.linalg.norm(pred - pred_mean) + 1e-8
    rotation, scale = orthogonal_procrustes((truth - truth_mean) / truth_norm, (pred - pred_mean) / pred_norm)
    return (pred - pred_mean) / pred_norm @ rotation.T * scale * truth_norm + truth_mean


def transcription(joints, vertices, pred_joints, pred_vertices):
    joint_errors, vertex_errors, relative, f5, f15 = [], [], [], [], []
    for j, v, pj, pv in zip(joints, vertices, pred_joints, pred_vertices, strict=True):
        joint_errors.append(np.linalg.norm(j - align(j, pj), axis=1))
        aligned = align(v, pv)
        vertex_errors.append(np.linalg.norm(v - aligned, axis=1))
        relative.append(np.linalg.norm((j - j[9]) - (pj - pj[9]), axis=1))
        f5.append(f_score(v, aligned, 0.005))
        f15.append(f_score(v, aligned, 0.015))
    joint_errors, vertex_errors = np.array(joint_errors), np.array(vertex_errors)
    return {
        "pa_mpjpe": 1000 * joint_errors.mean(0).mean(),
        "pa_mpvpe": 1000 * vertex_errors.mean(0).mean(),
        "mpjpe": 1000 * np.mean(relative),
        "pa_auc_joints": area(joint_errors),
        "pa_auc_vertices": area(vertex_errors),
        "pa_f5": np.mean(f5),
        "pa_f15": np.mean(f15),
    }


@pytest.mark.parametrize("noise", [0.0, 0.003, 0.008, 0.03])
def test_equals_the_per_sample_loop(noise):
    sample = hands(40, noise)
    ours, reference = evaluate(FREIHAND, *sample), transcription(*sample)
    assert {name: score.values.mean() for name, score in ours.items()} == pytest.approx(reference, abs=1e-6)


def test_one_wrong_prediction_in_a_batch_changes_only_its_own_row():
    joints, vertices, pred_joints, pred_vertices = hands(130, 0.005)
    before = evaluate(FREIHAND, joints, vertices, pred_joints, pred_vertices)
    pred_joints, pred_vertices = pred_joints.copy(), pred_vertices.copy()
    pred_joints[129], pred_vertices[129] = joints[0], vertices[0]
    after = evaluate(FREIHAND, joints, vertices, pred_joints, pred_vertices)
    for name in before:
        changed = before[name].values != after[name].values
        assert changed[129] and not changed[:129].any(), name


def test_alignment_allows_scale_and_reflection():
    joints, vertices, _, _ = hands(3, 0.0)
    mirror = np.array([-2.5, 2.5, 2.5])
    scores = evaluate(FREIHAND, joints, vertices, joints * mirror + 1, vertices * mirror + 1)
    assert scores["pa_mpjpe"].values == pytest.approx(0.0, abs=1e-4)
    assert scores["pa_f5"].values == pytest.approx(1.0)
    assert (scores["mpjpe"].values > 10).all()


def test_f_score_threshold_is_strict():
    distance = np.array([[0.005, 0.0]])
    assert metrics.f_scores(distance, distance, 0.005) == pytest.approx([0.5])
    assert metrics.f_scores(distance + 1, distance + 1, 0.005) == pytest.approx([0.0])


def test_pck_threshold_is_inclusive_and_auc_is_its_area():
    errors = np.array([[0.0, 0.01, 0.05, 0.2]])
    assert metrics.pck(errors, np.array([0.01, 0.05])) == pytest.approx(np.array([[0.5, 0.75]]))
    assert metrics.auc(errors, 0.05, 100) == pytest.approx([area(errors)])


def test_nearest_distances_within_reach_are_exact_for_clouds_of_different_size():
    generator = np.random.default_rng(1)
    truth, pred = generator.normal(0, 0.03, (4, 300, 3)), generator.normal(0.01, 0.03, (4, 170, 3))
    to_pred, to_truth = metrics.nearest_distances(truth, pred, (0.005, 0.015))
    for t, p, ours, back in zip(truth, pred, to_pred, to_truth, strict=True):
        for distances, expected in ((ours, KDTree(p).query(t)[0]), (back, KDTree(t).query(p)[0])):
            near = expected <= 0.015
            assert near.any() and (distances[~near] > 0.015).all()
            assert distances[near] == pytest.approx(expected[near], abs=1e-4)
            assert ((distances < 0.005) == (expected < 0.005)).all()


def test_the_area_is_exact_at_every_threshold_and_next_to_it():
    thresholds = np.linspace(0.0, 0.05, 100)
    beside = [np.nextafter(thresholds, side) for side in (1.0, -1.0)]
    for error in np.concatenate([thresholds, beside[0], beside[1][1:], [0.0, 1.0, np.inf]]):
        assert metrics.auc(np.array([[error]]), 0.05, 100) == pytest.approx([area(np.array([[error]]))], abs=1e-12)
