"""Why a file would be made again, in plain words, out of Snakemake's dry run."""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handgap.core.errors import HandgapError

NOTHING = "Nothing to be done"
_JOB = re.compile(r"^(?:local)?(?:rule|checkpoint) (\S+):$")
# a rule with a message of its own is shown by that, without its files
_MESSAGE = re.compile(r"^Job \d+: (.*)$")
_REASON = re.compile(r"^Reason: (.*)$")
_FIELD = re.compile(r"^ {4}(output|reason): (.*)$")
# first words of Snakemake's reasons -> ours; those of files carry the list along
_PLAIN = (
    ("Missing output files", "it does not exist: {}"),
    ("Incomplete output files", "an earlier run was stopped while writing {}"),
    ("Updated input files", "its input has changed: {}"),
    ("Input files updated by another job", "its input will be made again: {}"),
    ("Code has changed", "the rule's text has changed since it was made"),
    ("Params have changed", "settings or code of its stage have changed since it was made"),
    ("Set of input files has changed", "it would be made from other files than last time"),
    ("Software environment definition", "the stage's software environment has changed"),
    ("Forced execution", "it was asked for by force"),
)


@dataclass(frozen=True)
class Job:
    """One job of the dry run.

    Attributes:
        rule: name of the rule, or its message.
        output: files it makes, or the message again where Snakemake does not show them.
        reasons: in plain words.
        root: it would run even if no other job ran before it.
    """

    rule: str
    output: str
    reasons: tuple[str, ...]
    root: bool


def plain_reasons(reason: str) -> tuple[str, ...]:
    """Snakemake's reasons of one job, in plain words; an unknown one is kept as it is."""
    found = []
    for part in filter(None, (text.strip() for text in reason.split(";"))):
        words = next((plain for start, plain in _PLAIN if part.startswith(start)), "{}")
        detail = part.partition(": ")[2] if "{}" in words and words != "{}" else part
        found.append(words.format(detail))
    return tuple(found)


def parse_dry_run(text: str) -> list[Job]:
    """Jobs of a dry run's output, each once, in its order; targets that make no file are left out."""
    jobs: dict[str, Job] = {}
    rule, fields = None, {}

    def finish() -> None:
        if rule and "output" in fields and "reason" in fields:
            reason = fields["reason"]
            follows = all(part.strip().startswith("Input files updated") for part in reason.split(";"))
            jobs.setdefault(fields["output"], Job(rule, fields["output"], plain_reasons(reason), not follows))

    for line in text.splitlines():
        if match := _JOB.match(line):
            finish()
            rule, fields = match[1], {}
        elif match := _MESSAGE.match(line):
            finish()
            rule, fields = match[1], {"output": match[1]}
        elif match := _REASON.match(line):
            fields["reason"] = match[1]
        elif match := _FIELD.match(line):
            fields[match[1]] = match[2]
    finish()
    return list(jobs.values())


def dry_run(target: str, root: Path, configfiles: Sequence[Path]) -> list[Job]:
    """Jobs that snakemake would run for a target; none when it is up to date.

    Raises:
        HandgapError: snakemake knows no such target, or the workflow is not valid; its last words are passed on.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", "--cores", "1"]
    if configfiles:
        command += ["--configfile", *map(str, configfiles)]
    done = subprocess.run([*command, "--", target], cwd=root, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if done.returncode != 0:
        tail = "\n  ".join(line for line in output.strip().splitlines()[-6:])
        raise HandgapError(target, f"snakemake cannot plan it:\n  {tail}", "name a file or a target of the workflow")
    jobs = parse_dry_run(output)
    if not jobs and NOTHING not in output:
        raise HandgapError(target, "snakemake's plan could not be read", "look at it: snakemake -n " + target)
    return jobs
