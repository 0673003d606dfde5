from __future__ import annotations

from pathlib import Path

import pytest

from lightning_adapter.configs.place import place

TEXT = """\
# a comment
model:
  class_path: a.B
  init_args:
    lr: 1
trainer:
  callbacks:
  - class_path: X
  - class_path: Y
    init_args: {monitor: m}
"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["model"], 2),
        (["model", "init_args", "lr"], 5),
        (["model", "init_args", "width"], 4),
        (["trainer", "callbacks", "1", "init_args", "monitor"], 10),
        (["trainer", "callbacks", "1"], 9),
        (["trainer", "callbacks", "7"], 7),
    ],
)
def test_place_is_the_line_of_the_entry_or_of_the_nearest_around_it(tmp_path: Path, keys: list[str], line: int) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT, encoding="utf-8")
    assert place(path, keys) == f"{path}, line {line}"


def test_place_in_a_section_of_fit_is_found_without_its_name(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("fit:\n  model:\n    lr: 1\n", encoding="utf-8")
    assert place(path, ["model", "lr"]) == f"{path}, line 3"


@pytest.mark.parametrize(("text", "line"), [("a: 1\n", ""), ("a:\n  b: {c\n", ", line 3"), (None, "")])
def test_place_of_what_is_not_there_is_the_file(tmp_path: Path, text: str | None, line: str) -> None:
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert place(path, ["model"]) == f"{path}{line}"
