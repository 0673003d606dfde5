"""A project and what is generated beside it do not get into each other's way."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_adapter.submission.context import read_context
from lightning_adapter.submission.staging import faults_of, staged

MADE = {"startup-hook.sh": b"hook", ".lightning_adapter/plan.json": b"{}"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("startup-hook.sh/readme", "a directory startup-hook.sh, under whose name a file is sent"),
        (".lightning_adapter", "a file .lightning_adapter, under whose name a directory is sent"),
    ],
)
def test_what_stands_in_the_place_of_something_generated_is_told_unless_it_stays_here(
    tmp_path: Path, name: str, told: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (fault,) = faults_of(read_context(tmp_path), MADE)
    assert told in fault and str(tmp_path) in fault
    (tmp_path / ".detignore").write_text(name.partition("/")[0] + "\n")
    assert faults_of(read_context(tmp_path), MADE) == []


def test_generated_files_stand_in_the_place_of_those_of_an_earlier_submission(tmp_path: Path) -> None:
    for name in (*MADE, ".lightning_adapter/old.whl", "model_def.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("the project's")
    context = read_context(tmp_path)
    assert faults_of(context, MADE) == []
    with staged(context, MADE) as root:
        files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert files == {**MADE, "model_def.py": b"the project's"}
