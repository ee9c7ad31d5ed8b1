import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "envs" / "requirements.lock").read_text()
PINS = dict(re.findall(r"^([a-z0-9._-]+)==([^\s\\]+)", LOCK, re.MULTILINE))
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


def test_every_locked_package_has_hashes_and_no_address() -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", LOCK.strip())
    assert len(blocks) == len(PINS) > 50
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK and "-index" not in LOCK and "find-links" not in LOCK


def test_what_is_asked_for_is_what_is_locked() -> None:
    asked = re.findall(r"^([a-z0-9._-]+)==(\S+)$", (ROOT / "envs" / "requirements.in").read_text(), re.MULTILINE)
    assert asked
    assert {name: PINS.get(name) for name, _ in asked} == dict(asked)


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda p: p.stem)
def test_conda_environment_pins_the_locked_versions(path: Path) -> None:
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    pins = dict(pin.split("==") for pin in dependencies[-1]["pip"])
    assert pins == {name: PINS[name] for name in pins}


def test_every_rule_names_an_environment_that_exists_and_none_is_idle() -> None:
    named = set()
    for rules in (ROOT / "rules").glob("*.smk"):
        named |= set(re.findall(r'conda:\s+"\.\./envs/([a-z_]+)\.yaml"', rules.read_text()))
    assert named == {path.stem for path in ENVIRONMENTS}
