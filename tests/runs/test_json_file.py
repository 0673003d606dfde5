"""A JSON file holds any number, is read by any reader, and is whole or as it was."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.runs import json_file


def strict(path: Path) -> Any:
    """As readers other than Python's take it."""

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_numbers_that_json_lacks_come_back_and_every_reader_takes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    json_file.write(path, {"a": math.nan, "b": [math.inf, -math.inf], "c": {"d": 0.1 + 0.2}, "e": 10**30})
    assert strict(path) == {"a": "NaN", "b": ["Infinity", "-Infinity"], "c": {"d": 0.1 + 0.2}, "e": 10**30}
    read = json_file.read(path)
    assert math.isnan(read.pop("a"))
    assert read == {"b": [math.inf, -math.inf], "c": {"d": 0.1 + 0.2}, "e": 10**30}


def test_what_json_cannot_hold_is_written_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    json_file.write(path, {1: (Path("x"), None, True), "surrogate": "\udcff", "umlaut": "ä"})
    assert strict(path) == {"1": ["x", None, True], "surrogate": "\udcff", "umlaut": "ä"}


def test_file_of_pythons_own_writer_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"a": math.inf}))
    assert json_file.read(tmp_path / "a.json") == {"a": math.inf}


def test_endless_levels_are_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="no end of levels"):
        json_file.read(tmp_path / "a.json")


def test_crash_while_writing_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    json_file.write(path, {"a": 1})

    def crash(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        json_file.write(path, {"a": 2})
    assert json_file.read(path) == {"a": 1} and [one.name for one in tmp_path.iterdir()] == ["a.json"]
