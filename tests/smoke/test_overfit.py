"""Networks, at laptop size, learn 16 images by heart: rendered, trained, predicted and judged by the workflow."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CORES = str(min(2, os.cpu_count()))
# What a network needs, under three minutes on two cores; an epoch is one step. Batch norm predicts with n / (n - 1) of
# the batch's variance: at a stride of 32, sixteen crops of 64 px are n = 64 places, too few for simpleHand and CMR.
TRAINING = {
    "s2hand": {"image_size": 64, "epochs": 240, "learning_rate": 1e-3},
    "cmr": {"image_size": 96, "epochs": 170, "learning_rate": 2.2e-3},
    "metro": {"image_size": 64, "epochs": 560, "learning_rate": 4e-3},
    "graphormer": {"image_size": 64, "epochs": 640, "learning_rate": 2.5e-3},
    "simplehand": {"image_size": 96, "epochs": 280, "learning_rate": 1.5e-3},
}
STILL = {"rotation_deg": 0.0, "scale_jitter": 0.0, "shift_jitter": 0.0, "colour_jitter": 0.0}
METRICS = "results/overfit/metrics/{}-still-s0/proxyfrei-train.csv"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> str:
    """A study of 16 images, all of them in every step, run for all networks; what Snakemake said."""
    values = {
        "study": "overfit",
        "shard_size": 16,
        "datasets": {"proxyfrei": {"splits": {"train": 16, "test": 1}}},
        "render": {"samples": 2},
        "recipes": {"still": {"sources": [{"dataset": "proxyfrei", "images": "real"}], "amplitude": False}},
        "networks": {name: {"train": keys} for name, keys in TRAINING.items()},
        "train": {"batch": 16, "validation": 0.0, **STILL},
        "evaluate": {"bootstrap": 1},
    }
    path = tmp_path_factory.mktemp("study") / "overfit.yaml"
    path.write_text(yaml.safe_dump(values))
    metrics = [METRICS.format(name) for name in TRAINING]
    for name in metrics:
        (ROOT / name).unlink(missing_ok=True)
    command = [sys.executable, "-m", "snakemake", "--cores", CORES, "--keep-going"]
    command += ["--set-threads", f"train_network={CORES}", "--configfile", str(path), "--", *metrics]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    return done.stdout + done.stderr


@pytest.mark.parametrize("network", TRAINING)
def test_sixteen_images_are_learnt_by_heart(log: str, network: str) -> None:
    metrics = ROOT / METRICS.format(network)
    assert metrics.exists(), log[-4000:]
    table = pd.read_csv(metrics).set_index("metric")["value"]
    assert table["pa_mpjpe"] < 2.0  # mm
    assert table["pa_mpvpe"] < 4.0  # the mesh too: joints, read off few of its vertices, say little about the others
