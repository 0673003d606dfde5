"""An evaluation replaces an earlier one's files, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.evaluation_directory import EvaluationDirectory, set_aside

QUESTION = {"metrics": "m.py:a", "loader": None}


def write(out: EvaluationDirectory, *pictures: str, question: dict[str, object] | None = None) -> None:
    with out.writing({"value": 1.0}, question or QUESTION) as aside:
        for name in pictures:
            (aside / name).write_text(name)


def names(path: Path) -> set[str]:
    return {one.name for one in path.iterdir()}


def test_same_question_replaces_its_files_and_leaves_others(tmp_path: Path) -> None:
    first = EvaluationDirectory.of(tmp_path, QUESTION)
    write(first, "a.png", "b.png")
    (first.path / "notes.txt").write_text("mine")
    again = EvaluationDirectory.of(tmp_path, QUESTION)
    assert again.path == tmp_path / "evaluation"
    write(again, "b.png", "c.png")
    assert names(again.path) == {"metrics.json", "evaluation.json", "b.png", "c.png", "notes.txt"}
    record = json.loads((again.path / "evaluation.json").read_text())
    assert record == {"format": 1, **QUESTION, "files": ["b.png", "c.png", "metrics.json"]}


def test_other_question_has_a_directory_of_its_own(tmp_path: Path) -> None:
    write(EvaluationDirectory.of(tmp_path, QUESTION))
    other: dict[str, object] = {"metrics": "m.py:b", "loader": None}
    assert EvaluationDirectory.of(tmp_path, other).path == tmp_path / "evaluation-2"
    write(EvaluationDirectory.of(tmp_path, other), question=other)
    assert EvaluationDirectory.of(tmp_path, other).path == tmp_path / "evaluation-2"
    assert EvaluationDirectory.of(tmp_path, QUESTION).path == tmp_path / "evaluation"


def test_directory_that_is_named_may_hold_an_earlier_evaluation_or_nothing(tmp_path: Path) -> None:
    write(EvaluationDirectory.at(tmp_path / "new" / "out"), "a.png")
    write(EvaluationDirectory.at(tmp_path / "new" / "out"), question={"metrics": "m.py:b"})
    assert names(tmp_path / "new" / "out") == {"metrics.json", "evaluation.json"}
    (tmp_path / "empty").mkdir()
    write(EvaluationDirectory.at(tmp_path / "empty"))


@pytest.mark.parametrize("name", ["metrics.json", "evaluation.json", "anything"])
def test_foreign_directory_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("[1]")
    with pytest.raises(
        ConfigurationError, match=r"is a directory with other files in it, which is left as it is. To fix, name"
    ):
        EvaluationDirectory.at(tmp_path)
    assert EvaluationDirectory.of(tmp_path.parent, QUESTION).path.name == "evaluation"
    with pytest.raises(ConfigurationError, match="is a file, which"):
        EvaluationDirectory.at(tmp_path / name)


def test_foreign_file_with_the_name_of_a_picture_is_left(tmp_path: Path) -> None:
    write(EvaluationDirectory.at(tmp_path / "out"))
    (tmp_path / "out" / "a.png").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"files of these names that no evaluation has made: a.png"):
        write(EvaluationDirectory.at(tmp_path / "out"), "a.png")
    assert (tmp_path / "out" / "a.png").read_text() == "mine"
    assert names(tmp_path / "out") == {"metrics.json", "evaluation.json", "a.png"}


def test_evaluation_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write(EvaluationDirectory.at(tmp_path / "out"), "a.png")
    with pytest.raises(RuntimeError), EvaluationDirectory.at(tmp_path / "out").writing({}, QUESTION) as aside:
        (aside / "b.png").write_text("b")
        raise RuntimeError
    assert names(tmp_path / "out") == {"metrics.json", "evaluation.json", "a.png"}
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == {"value": 1.0}


def test_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot be written: .* To fix, name another one: --out DIR"):
        write(EvaluationDirectory.at(tmp_path / "file" / "out"))


def test_evaluations_of_predictions_that_are_overwritten_are_moved_aside_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    for _ in range(2):
        write(EvaluationDirectory.of(tmp_path, QUESTION), "a.png")
        write(EvaluationDirectory.at(tmp_path / "named"))
        set_aside(tmp_path)
    assert names(tmp_path) == {"notes", "superseded"}
    assert names(tmp_path / "superseded") == {"evaluation", "evaluation-2", "named", "named-2"}
    assert names(tmp_path / "superseded" / "evaluation") == {"metrics.json", "evaluation.json", "a.png"}


def test_disk_without_room_is_told_and_leaves_an_earlier_evaluation_as_it_was(tmp_path: Path) -> None:
    write(EvaluationDirectory.at(tmp_path / "out"), "a.png")
    with (
        pytest.raises(
            ConfigurationError, match=r"out cannot be written: .*No space left.* name another one: --out DIR"
        ),
        EvaluationDirectory.at(tmp_path / "out").writing({"value": 2.0}, QUESTION) as aside,
    ):
        (aside / "a.png").write_text("half of it")
        raise OSError(28, "No space left on device")
    assert names(tmp_path / "out") == {"metrics.json", "evaluation.json", "a.png"}
    assert (tmp_path / "out" / "a.png").read_text() == "a.png"
