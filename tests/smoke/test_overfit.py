"""Networks, at laptop size, learn 16 images by heart: rendered, trained, predicted and judged by the workflow."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
STEPS_AN_EPOCH = 20
# epochs and peak learning rate: what a network needs, in less than three minutes on a core
TRAINING = {"s2hand": {"epochs": 15, "learning_rate": 1e-3}}
STILL = {"rotation_deg": 0.0, "scale_jitter": 0.0, "shift_jitter": 0.0, "colour_jitter": 0.0}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A study of 16 images; an epoch goes through them often, as each ends with a state on disk."""
    source = {"dataset": "proxyfrei", "images": "real"}
    values = {
        "study": "overfit",
        "shard_size": 16,
        "datasets": {"proxyfrei": {"splits": {"train": 16, "test": 1}}},
        "render": {"samples": 2},
        "recipes": {"still": {"sources": [source] * STEPS_AN_EPOCH, "amplitude": False}},
        "networks": {name: {"train": keys | {"image_size": 64}} for name, keys in TRAINING.items()},
        "train": {"batch": 16, "validation": 0.0, **STILL},
        "evaluate": {"bootstrap": 1},
    }
    path = tmp_path_factory.mktemp("study") / "overfit.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("network", TRAINING)
def test_sixteen_images_are_learnt_by_heart(study: Path, network: str) -> None:
    metrics = f"results/overfit/metrics/{network}-still-s0/proxyfrei-train.csv"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(study), "--", metrics]
    (ROOT / metrics).unlink(missing_ok=True)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    table = pd.read_csv(ROOT / metrics).set_index("metric")["value"]
    assert table["pa_mpjpe"] < 2.0  # mm
