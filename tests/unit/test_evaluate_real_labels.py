"""FreiHAND's own labels: the numbers that its authors print for a predictor of zeros."""

import os
from pathlib import Path

import numpy as np
import pytest
from handgap.evaluate.files.challenge import read_challenge_truth
from handgap.evaluate.protocols import FREIHAND
from handgap.evaluate.scores import evaluate

FOLDER = Path(os.environ.get("HANDGAP_FREIHAND", "data/FreiHAND"))
# README of FreiHAND: cm with two digits, shares with three
PRINTED = {"abs_mpjpe": "70.79", "pa_mpjpe": "4.73", "abs_mpvpe": "70.84", "pa_mpvpe": "5.07"}
SHARES = {"abs_f5": "0.000", "abs_f15": "0.000", "pa_f5": "0.001", "pa_f15": "0.031"}


@pytest.mark.skipif(
    not (FOLDER / "evaluation_verts.json").is_file(),
    reason="FreiHAND's evaluation labels (licensed) are not there: set HANDGAP_FREIHAND to their folder",
)
def test_all_zeros_give_the_printed_numbers():
    truth = read_challenge_truth(FOLDER, "freihand")
    joints, vertices = truth.columns["joints"], truth.columns["vertices"]
    scores = evaluate(FREIHAND, joints, vertices, np.zeros_like(joints), np.zeros_like(vertices), camera=True)
    assert len(joints) == 3_960
    assert {name: f"{scores[name].mean() / 10:.2f}" for name in PRINTED} == PRINTED
    assert {name: f"{scores[name].mean():.3f}" for name in SHARES} == SHARES
