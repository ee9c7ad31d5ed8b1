import json
import tracemalloc
from pathlib import Path

import pytest
from handgap.core import json_stream
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.core.json_stream import walk_json

NESTED = {"images": [{"id": 3, "name": "a, ] }"}, {"id": 4, "name": "b\\"}], "empty": [], "more": [1.25, -2e-3]}


@pytest.fixture(params=[1, 7, 1 << 20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that cut entries anywhere."""
    monkeypatch.setattr(json_stream, "BLOCK", request.param)


def entries(path: Path, depth: int) -> list[tuple]:
    return list(walk_json(path, depth, "fetch it again"))


@pytest.mark.parametrize("indent", [None, 2])
def test_entries_of_each_depth(tmp_path: Path, block: None, indent: int | None) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(NESTED, indent=indent))
    assert entries(path, 0) == [(NESTED,)]
    assert entries(path, 1) == list(NESTED.items())
    assert entries(path, 2) == [
        ("images", 0, {"id": 3, "name": "a, ] }"}),
        ("images", 1, {"id": 4, "name": "b\\"}),
        ("more", 0, 1.25),
        ("more", 1, -2e-3),
    ]


def test_numbers_are_not_cut(tmp_path: Path, block: None) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([123456, 0.123456789, 7]))
    assert [value for _, value in entries(path, 1)] == [123456, 0.123456789, 7]


@pytest.mark.parametrize(
    "text", ["", "[1, 2", '[{"a": [1,', '["b', "[1 2]", "{1: 2}]", "[1] 2", "[nope]", "[1, 2.", "5"]
)
def test_what_is_no_json_is_refused_with_its_name_and_place(tmp_path: Path, block: None, text: str) -> None:
    path = tmp_path / "cut.json"
    path.write_text(text)
    with pytest.raises(CorruptFileError, match=r"cut\.json.*\n.*fetch it again") as error:
        entries(path, 1)
    assert "at character" in str(error.value) or "begun" in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"none\.json"):
        entries(tmp_path / "none.json", 1)


def test_memory_is_that_of_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "BLOCK", 1 << 16)
    path = tmp_path / "long.json"
    path.write_text(json.dumps([[0.123456] * 3000] * 300))  # 9 MB of text, 7 MB of pointers to numbers
    tracemalloc.start()
    assert sum(len(value) for _, value in walk_json(path, 1, "")) == 900_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
