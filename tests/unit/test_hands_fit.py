"""Fitting the render hand to annotation meshes of poses and shapes it has not seen."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.core.config.fit import Fit
from handgap.core.geometry import random_rotation
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from handgap.hands.fit.fitter import Fitter
from handgap.hands.fit.step import app
from handgap.hands.kinematics import axis_angles
from handgap.hands.prior import PosePrior
from handgap.hands.render_hand import RenderHand
from typer.testing import CliRunner

MODELS = Path(__file__).parents[2] / "results" / "models"
NIMBLE, MANO = MODELS / "open_nimble.npz", MODELS / "open_mano.npz"
pytestmark = pytest.mark.skipif(not (NIMBLE.exists() and MANO.exists()), reason="the open hands are not forged yet")
COUNT = 6


@pytest.fixture(scope="module")
def meshes():
    prior, hand = PosePrior.load(NIMBLE), RenderHand.load(NIMBLE)
    poses, shapes = [], []
    for k in range(COUNT):
        g = rng(0, "tests/fit", k)
        pose = prior.sample_pose(g)
        pose[:3] = axis_angles(torch.tensor(random_rotation(g))).numpy()
        poses.append(pose)
        shapes.append(prior.sample_shape(g))
    trans = np.tile([0.05, -0.02, 0.6], (COUNT, 1))
    with torch.no_grad():
        parts = [torch.tensor(np.stack(x), dtype=torch.float32) for x in (poses, shapes, trans)]
        return hand.to_annotation(hand(*parts).vertices).numpy()


def test_residual_is_small_and_true(meshes):
    result = Fitter.load(NIMBLE, MANO, Fit()).fit(meshes)
    assert result.residual_mm.mean() <= 1.5
    assert np.percentile(result.residual_mm, 95) <= 3.0
    hand = RenderHand.load(NIMBLE)
    with torch.no_grad():
        parts = [torch.tensor(x) for x in (result.render_pose, result.render_shape, result.render_trans)]
        again = hand.to_annotation(hand(*parts).vertices).numpy()
    measured = np.linalg.norm(again - meshes, axis=-1).mean(1) * 1e3
    np.testing.assert_allclose(measured, result.residual_mm, atol=0.01)


def test_fit_follows_a_rigid_motion(meshes):
    g = rng(0, "tests/fit/motion")
    turn, move = random_rotation(g), np.array([0.1, -0.2, 0.4])
    fitter = Fitter.load(NIMBLE, MANO, Fit())
    first, second = fitter.fit(meshes[:2]), fitter.fit((meshes[:2] @ turn.T + move).astype(np.float32))
    np.testing.assert_allclose(second.render_pose[:, 3:], first.render_pose[:, 3:], atol=2e-2)
    np.testing.assert_allclose(second.residual_mm, first.residual_mm, atol=0.02)


def test_step_carries_labels_flags_and_mirrors_left_hands(meshes, tmp_path):
    vertices = np.stack([meshes[0], meshes[0] * [-1, 1, 1], meshes[0] * [3, 1, 1]]).astype(np.float32)
    n = len(vertices)
    columns = {
        "id": np.arange(n),
        "K": np.tile(np.eye(3, dtype=np.float32), (n, 1, 1)),
        "joints": np.zeros((n, 21, 3), np.float32),
        "vertices": vertices,
        "pose": np.zeros((n, 48), np.float32),
        "shape": np.zeros((n, 10), np.float32),
        "trans": np.zeros((n, 3), np.float32),
        "side": np.array([0, 1, 0], np.uint8),
        "valid": np.ones(n, bool),
        "flag": [""] * n,
    }
    write_store(tmp_path / "real.h5", columns, study="t", seed=0, code="c", config="s")
    options = {"render-hand": NIMBLE, "annotation-hand": MANO, "out": tmp_path / "fit.h5", "study": "t", "seed": 0}
    options |= {"code": "c", "settings": json.dumps({})}
    arguments = [str(x) for key, value in options.items() for x in (f"--{key}", value)]
    done = CliRunner().invoke(app, [str(tmp_path / "real.h5"), *arguments])
    assert done.exit_code == 0, done.output
    with Store(tmp_path / "fit.h5") as store:
        assert list(store.column("valid")) == [True, True, False]
        assert list(store.column("flag")) == ["", "", "fit residual above 5 mm"]
        poses = store.column("render_pose")
        np.testing.assert_allclose(poses[0], poses[1], atol=1e-3)
        np.testing.assert_array_equal(store.column("vertices"), vertices)
        assert store.column("render_trans").shape == (n, 3)
