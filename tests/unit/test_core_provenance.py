import ast
from pathlib import Path

import pytest
from handgap.core import provenance

FLOORS = {
    "core": 0,
    **dict.fromkeys(("hands", "data", "assets"), 1),
    **dict.fromkeys(("render", "segment", "compose", "networks", "ingest"), 2),
    **dict.fromkeys(("train", "evaluate"), 3),
    **dict.fromkeys(("report", "export"), 4),
    "use": 5,
    "cli": 6,
}
SOURCES = sorted(provenance.ROOT.rglob("*.py"))


def clear() -> None:
    for cached in (provenance._imports, provenance.modules_of, provenance.code_of):
        cached.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = tmp_path / "handgap"
    (root / "a").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "a" / "__init__.py").write_text("")
    (root / "a" / "step.py").write_text("def main():\n    from handgap.a.low import f\n    return f()\n")
    (root / "a" / "low.py").write_text("from . import deep\n\ndef f():\n    return deep.X\n")
    (root / "a" / "deep.py").write_text("X = 1\n")
    (root / "a" / "other.py").write_text("Y = 1\n")
    monkeypatch.setattr(provenance, "ROOT", root)
    clear()
    yield root
    clear()


def test_code_follows_imports_even_inside_functions_and_relative(package: Path) -> None:
    assert provenance.modules_of("handgap.a.step") == (
        "handgap",
        "handgap.a",
        "handgap.a.deep",
        "handgap.a.low",
        "handgap.a.step",
    )


@pytest.mark.parametrize(("edited", "changes"), [("deep", True), ("low", True), ("other", False)])
def test_an_edit_changes_the_hash_of_what_imports_it(package: Path, edited: str, changes: bool) -> None:
    before = provenance.code_of("a.step")
    (package / "a" / f"{edited}.py").write_text((package / "a" / f"{edited}.py").read_text() + "Z = 2\n")
    clear()
    assert (provenance.code_of("a.step") != before) is changes


def test_touch_changes_nothing_and_a_missing_module_is_an_error(package: Path) -> None:
    before = provenance.code_of("a.step")
    (package / "a" / "deep.py").touch()
    clear()
    assert provenance.code_of("a.step") == before
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        provenance.code_of("a.nothing")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(provenance.ROOT)))
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    room = path.relative_to(provenance.ROOT).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            parts = name.split(".")
            if parts[0] == "handgap" and len(parts) > 1 and parts[1] != room:
                assert FLOORS[parts[1]] < FLOORS[room], f"{path}: {room} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(provenance.ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
