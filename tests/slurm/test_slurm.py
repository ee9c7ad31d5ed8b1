"""Every stage of the smoke study through a real Slurm: one node, set up here when packages may be installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("single_node.sh")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    if os.geteuid() != 0:
        pytest.skip("setting up Slurm needs root")
    if not all(map(shutil.which, PROGRAMS)):
        if shutil.which("apt-get") is None:
            pytest.skip("no Slurm here, and no apt-get to install slurm-wlm and munge with")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "slurm-wlm", "munge"], env=environment, capture_output=True)
        if not all(map(shutil.which, PROGRAMS)):
            pytest.skip("slurm-wlm and munge could not be installed")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "start", folder], check=True)
    yield folder
    subprocess.run([SCRIPT, "stop", folder], check=True)


def test_smoke_study_runs_through_slurm(cluster: Path) -> None:
    """A study of its own name, so nothing made locally can stand in for what the cluster has to make."""
    study = "smoke_slurm"
    shutil.rmtree(ROOT / "results" / study, ignore_errors=True)
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--jobs", "2"]
    metrics = [f"results/{study}/metrics/s2hand-{recipe}-s0/proxyfrei-test.csv" for recipe in ("real", "full")]
    command += ["--configfile", "config/smoke.yaml", "--config", f"study={study}", "--", *metrics]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "has been submitted with SLURM jobid" in done.stdout + done.stderr
    assert all((ROOT / path).is_file() for path in metrics)
