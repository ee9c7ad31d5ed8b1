import subprocess
import sys

import numpy as np
import pytest
from handgap.cli import app
from handgap.core.errors import CorruptFileError, HandgapError
from handgap.report.why import Job, dry_run, parse_dry_run
from PIL import Image
from test_evaluate_step import write_pair
from typer.testing import CliRunner

runner = CliRunner()

WORKFLOW = """
rule all:
    input: "b.txt"
rule first:
    input: "in.txt"
    output: "a.txt"
    params: code="1"
    shell: "cp {input} {output}"
rule second:
    input: "a.txt"
    output: "b.txt"
    shell: "cp {input} {output}"
"""


@pytest.fixture
def workflow(tmp_path):
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    (tmp_path / "in.txt").write_text("x")
    return tmp_path


def make(folder):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_why_names_the_cause_and_what_follows(workflow):
    assert [job.root for job in dry_run("b.txt", workflow, [])] == [True, True]
    make(workflow)
    assert dry_run("b.txt", workflow, []) == []
    (workflow / "Snakefile").write_text(WORKFLOW.replace('code="1"', 'code="2"'))
    first, second = dry_run("all", workflow, [])
    assert first.rule == "first" and first.root and "settings or code" in first.reasons[0]
    assert second.output == "b.txt" and not second.root and "a.txt" in second.reasons[0]


def test_why_passes_snakemakes_complaint_on(workflow):
    with pytest.raises(HandgapError, match=r"nowhere\.txt"):
        dry_run("nowhere.txt", workflow, [])


def test_unknown_reasons_are_kept_as_they_are():
    text = "rule x:\n    output: y.csv\n    jobid: 1\n    reason: The moon has changed\n"
    assert parse_dry_run(text) == [Job("x", "y.csv", ("The moon has changed",), True)]


def test_inspect_shows_columns_and_attributes(tmp_path):
    pred, _ = write_pair(tmp_path)
    result = runner.invoke(app, ["inspect", str(pred), "--verify"])
    assert result.exit_code == 0 and "joints" in result.output and "matches its digest" in result.output


def test_view_writes_a_sheet(tmp_path):
    _, truth = write_pair(tmp_path)
    out = tmp_path / "sheet.png"
    result = runner.invoke(app, ["view", str(truth[0]), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert np.asarray(Image.open(out)).std() > 1


def test_evaluate_prints_the_metrics(tmp_path):
    pred, truth = write_pair(tmp_path)
    options = [text for path in truth for text in ("--truth", str(path))]
    result = runner.invoke(app, ["evaluate", "--pred", str(pred), *options])
    assert result.exit_code == 0 and "pa_mpjpe" in result.output


def test_a_truncated_file_is_one_message_without_traceback(tmp_path):
    pred, _ = write_pair(tmp_path)
    pred.write_bytes(pred.read_bytes()[:2000])
    with pytest.raises(CorruptFileError):
        runner.invoke(app, ["inspect", str(pred)], catch_exceptions=False)
    done = subprocess.run([sys.executable, "-m", "handgap.cli", "inspect", pred], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr and str(pred) in done.stderr


def test_why_reads_rules_that_have_a_message_of_their_own():
    text = "Job 3: Writing table_main\nReason: Missing output files: a.csv\nJob 4: Drawing\nReason: Forced execution\n"
    first, second = parse_dry_run(text)
    assert (first.rule, first.reasons) == ("Writing table_main", ("it does not exist: a.csv",))
    assert second.reasons == ("it was asked for by force",)
