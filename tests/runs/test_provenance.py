"""What was typed, in which state of the project: as a person would say it, and never a reason to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.runs import provenance


class Known:
    """A class of a module."""

    class Inner:
        """One within another."""


# What was typed


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["/venv/bin/lightning-adapter", "fit", "a b.py:Trial"], "lightning-adapter fit 'a b.py:Trial'"),
        (["-m", "lightning_adapter", "fit", "m:T"], "python -m lightning_adapter fit m:T"),
        (["-u", "train.py", "--lr=1"], "python -u train.py --lr=1"),
        ([], "python"),
    ],
)
def test_command_is_what_was_typed(words: list[str], typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/venv/bin/python3", *words])
    monkeypatch.setattr(sys, "argv", ["changed by somebody"])
    assert provenance.command() == typed


def test_program_given_as_a_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", "x" * 100_000])
    assert len(provenance.command()) < 5000


def test_target_is_what_was_typed_and_else_where_the_class_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local:
        pass

    assert provenance.target_of(Known) == f"{__name__}:Known"
    assert provenance.target_of(Known.Inner) is None and provenance.target_of(Local) is None
    with provenance.typed_target("./model_def.py:Known"):
        assert provenance.target_of(Known) == "./model_def.py:Known"
    assert provenance.target_of(Known) == f"{__name__}:Known"
    main: Any = types.ModuleType("__main__")
    main.Trial = type("Trial", (), {"__module__": "__main__", "__qualname__": "Trial"})
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert provenance.target_of(main.Trial) is None  # a notebook
    (tmp_path / "train.py").write_text("")
    main.__file__ = str(tmp_path / "train.py")
    assert provenance.target_of(main.Trial) == f"{tmp_path}/train.py:Trial"


# The project


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *identity, *words], cwd=directory, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "model.py").write_text("x = 1")
    (tmp_path / "sub").mkdir()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_commit_is_that_of_the_directory_and_runs_beside_the_code_leave_it_clean(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    (repository / "runs").mkdir()
    (repository / "runs" / "run.json").write_text("{}")
    assert provenance.git(repository / "sub") == {"commit": commit, "clean": True}
    (repository / "model.py").write_text("x = 2")
    assert provenance.git(repository) == {"commit": commit, "clean": False}
    git(repository, "add", "model.py")
    assert provenance.git(repository) == {"commit": commit, "clean": False}


def test_no_repository_no_commit_and_no_git_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert provenance.git(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git(tmp_path) is None


def test_git_that_takes_too_long_is_not_waited_for(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = repository / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncase "$3" in status) sleep 30;; *) exec {shutil.which("git")} "$@";; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(provenance, "_GIT_TIMEOUT_S", 0.2)
    found = provenance.git(repository)
    assert found is not None and found["clean"] is None


def test_directory_that_is_gone_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    found = provenance.of_this_process()
    assert found["working_directory"] is None and found["git"] is None


# Where it goes on from


def test_parent_is_the_run_that_a_checkpoint_lies_in_or_else_the_checkpoint(tmp_path: Path) -> None:
    inner = tmp_path / "run" / "checkpoints" / "a"
    inner.mkdir(parents=True)
    (inner / "lightning.ckpt").write_text("")
    (tmp_path / "mine.ckpt").write_text("")
    assert provenance.parent_of(None) is None
    assert provenance.parent_of(inner) == provenance.parent_of(inner / "lightning.ckpt") == str(tmp_path / "run")
    assert provenance.parent_of(tmp_path / "mine.ckpt") == str(tmp_path / "mine.ckpt")
    assert provenance.parent_of("s3://bucket/a.ckpt") == "s3://bucket/a.ckpt"


def test_head_is_one_line_for_each_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {
        **provenance.of_this_process(), "name": "a", "start": "now", "processes": 2, "target": None, "parent": "b\nc",
        "seed": 0, "hyperparameters": {},
    }  # fmt: skip
    lines = dict(line.split(": ", 1) for line in provenance.head(facts).splitlines())
    assert lines["from"] == "b\\nc" and lines["seed"] == "0" and ", 2 processes" in lines["run"]
    assert "target" not in lines and "hyperparameters" not in lines
