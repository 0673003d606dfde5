"""What a project requires is found where projects write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_adapter.submission.requirements import Requirements, read_requirements

PROJECT = '[project]\nname = "mine"\nversion = "1"\n'


def test_requirements_file_comes_first(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("einops\n")
    (tmp_path / "pyproject.toml").write_text(PROJECT + 'dependencies = ["toolz"]\n')
    assert read_requirements(tmp_path) == Requirements(source="requirements.txt")


def test_dependencies_of_a_project_are_taken(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT + "dependencies = ['toolz>=0.1', \"foo; python_version<'3'\"]\n")
    assert read_requirements(tmp_path) == Requirements("pyproject.toml", ("toolz>=0.1", "foo; python_version<'3'"))


@pytest.mark.parametrize("text", ["", "[tool.ruff]\nline-length = 100\n", PROJECT])
def test_project_without_dependencies_asks_for_nothing(text: str, tmp_path: Path) -> None:
    assert read_requirements(tmp_path) == Requirements()
    (tmp_path / "pyproject.toml").write_text(text)
    assert read_requirements(tmp_path) == Requirements()


@pytest.mark.parametrize(
    "text",
    [PROJECT + 'dynamic = ["dependencies"]\n', '[tool.poetry]\nname = "x"\n[tool.poetry.dependencies]\ntoolz = "^1"\n'],
)
def test_dependencies_that_pip_cannot_read_are_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    (note,) = read_requirements(tmp_path).notes
    assert "Write a requirements.txt beside it" in note


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[project\n", "cannot be read"),
        (PROJECT + 'dependencies = ["not a requirement!"]\n', "'not a requirement!', which is no requirement"),
        (PROJECT + 'dependencies = ["mine @ https://me:secret@host/mine.whl"]\n', "the dependency mine has a password"),
    ],
)
def test_dependencies_that_cannot_be_used_are_faults_without_their_secrets(
    text: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    found = read_requirements(tmp_path)
    assert len(found.faults) == 1 and told in found.faults[0] and "secret" not in found.faults[0]
    assert found.lines == ()


def test_dependency_of_a_repository_by_key_is_taken(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT + 'dependencies = ["mine @ git+ssh://git@host/mine.git"]\n')
    assert read_requirements(tmp_path).lines == ("mine @ git+ssh://git@host/mine.git",)
