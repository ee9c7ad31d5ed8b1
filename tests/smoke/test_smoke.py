"""The whole open DAG, tiny: one real run, then what reruns and what does not."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "smoke"

pytestmark = pytest.mark.slow


def snakemake(*targets: str, options: tuple[str, ...] = ()) -> str:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config/smoke.yaml"]
    command += [*options, "--", *targets]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    return output


def planned_rules(*targets: str) -> dict[str, int]:
    """Jobs of a dry run, by rule; empty when there is nothing to do."""
    output = snakemake(*targets, options=("--dry-run",))
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
    return {name: int(count) for name, count in (line.split() for line in table) if name != "total"}


@pytest.fixture(scope="module", autouse=True)
def study() -> None:
    snakemake("all")


def test_every_product_is_there_and_real() -> None:
    table = pd.read_csv(RESULTS / "tables" / "table_main.csv")
    assert len(table) >= 4
    for product in ("tables/table_main.tex", "tables/table_main.html", "figures/figure_spectrum.png"):
        assert (RESULTS / product).stat().st_size > 200
    assert not list(RESULTS.rglob("*.tmp"))


def test_nothing_to_do_afterwards_not_even_after_touching_every_tracked_file() -> None:
    assert planned_rules("all") == {}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        (ROOT / name).touch()
    assert planned_rules("all") == {}


def test_an_edit_in_compose_reruns_compose_and_what_follows() -> None:
    path = ROOT / "workflow/handgap/compose/paste.py"
    source = path.read_text()
    try:
        path.write_text(source + "\n# edited by a test\n")
        rules = planned_rules("all")
    finally:
        path.write_text(source)
    assert "compose_shard" in rules
    assert not {"render_real", "render_synthetic", "segment_shard", "fit_shard", "forge_hands"} & set(rules)


def test_a_lost_metrics_file_costs_itself_and_its_table() -> None:
    lost = RESULTS / "metrics" / "s2hand-full-s0" / "proxyfrei-test.csv"
    kept = lost.read_text()
    lost.unlink()
    try:
        assert planned_rules("table_main") == {"evaluate_run": 1, "make_table": 1, "table_main": 1}
    finally:
        lost.write_text(kept)
        snakemake("all", options=("--touch",))


def test_a_truncated_shard_is_one_clear_error() -> None:
    shard = RESULTS / "synthetic/proxyfrei/train/00000.h5"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    try:
        command = [sys.executable, "-m", "handgap.cli", "inspect", str(shard)]
        environment = {"PYTHONPATH": str(ROOT / "workflow"), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    finally:
        shard.write_bytes(whole)
        snakemake("all", options=("--touch",))
    assert done.returncode == 1
    assert "00000.h5" in done.stderr and "cure:" in done.stderr
    assert "Traceback" not in done.stderr
