"""What the container lacks is installed, once, and the image's torch stays."""

from __future__ import annotations

import importlib.metadata
import os
import site
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.submission import in_container
from lightning_adapter.submission.in_container import PipFailed, Unmendable, main

#: `python -m pip`: notes its words and the files that they name, and says what it was told to.
PIP = """#!/bin/sh
{
  echo "$*"
  for word in "$@"; do case "$word" in *.txt) [ -f "$word" ] && sed 's/^/| /' "$word";; esac; done
} >> "$0.calls"
cat "$0.says" >&2
exit "$(cat "$0.status")"
"""


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The interpreter whose pip is called."""
    program = tmp_path / "python"
    program.write_text(PIP)
    program.chmod(0o755)
    fails(program, 0, "")
    monkeypatch.setattr(sys, "executable", str(program))
    return program


def fails(pip: Path, status: int, says: str) -> None:
    Path(f"{pip}.status").write_text(str(status))
    Path(f"{pip}.says").write_text(says)


def calls(pip: Path) -> str:
    path = Path(f"{pip}.calls")
    return path.read_text() if path.exists() else ""


def install(plan: dict[str, Any], project: Path) -> str:
    return in_container.install(plan, project, in_container.Pip(project / "aside"))


def version(name: str) -> str:
    return importlib.metadata.version(name)


def plan(
    package: str = "lightning-adapter", file: str = "", extras: Sequence[str] = ("pytorch-lightning",)
) -> dict[str, Any]:
    return {"package": package, "extras": extras, "file": file}


def test_image_that_holds_everything_asks_nothing_of_pip(pip: Path, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\ntorch\n--extra-index-url https://host/simple\n")
    assert (
        install(plan(file="requirements.txt"), tmp_path)
        == f"installed lightning-adapter {version('lightning-adapter')}"
    )
    assert calls(pip) == ""


def test_wheel_is_installed_over_the_same_version(pip: Path, tmp_path: Path) -> None:
    install(plan("lightning_adapter-0.1.0-py3-none-any.whl"), tmp_path)
    place = Path(in_container.__file__).parent / "lightning_adapter-0.1.0-py3-none-any.whl"
    assert f"--no-deps --no-index --force-reinstall {place}\n" in calls(pip)


def test_python_that_nobody_may_write_to_is_left_alone(
    pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    install(plan("lightning_adapter-0.1.0-py3-none-any.whl"), tmp_path)
    assert f"--prefix {tmp_path}/aside --no-deps --no-index --ignore-installed " in calls(pip)


def test_what_is_kept_is_a_constraint_of_each_installation(pip: Path, tmp_path: Path) -> None:
    install(plan("lightning-adapter==99"), tmp_path)
    assert calls(pip).splitlines()[1:] == [f"| torch=={version('torch')}", f"| determined=={version('determined')}"]


def test_only_what_is_missing_is_installed(pip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "requirements.txt").write_text(
        "# of the project\nnumpy>=1  # there\nnot-there-1==2 # why\nnumpy==0.0.1\ntorch==1.0\nlightning_adapter\n"
        "not-there-2; python_version < '3'\n--find-links ./wheels\n-r more/also.txt\n-e .\nnot-\\\nthere-3\n"
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more/also.txt").write_text("numpy\nnot-there-4[extra]\ntorch[opt]\n")
    done = install(plan(file="requirements.txt"), tmp_path)
    lines = [line.removeprefix("| ") for line in calls(pip).splitlines()]
    asked = lines[lines.index("--find-links ./wheels") :]
    assert asked == [
        "--find-links ./wheels", "not-there-1==2", "numpy==0.0.1", "not-there-4[extra]", "-e .", "not- there-3",
    ]  # fmt: skip
    assert done.endswith("not-there-1==2, numpy==0.0.1, not-there-4[extra], -e ., not- there-3")
    told = f"lightning-adapter: torch==1.0: left to the image, which has torch {version('torch')}\n"
    assert capsys.readouterr().out == told
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["requirements.txt"]


def test_image_without_torch_is_told(pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(Unmendable, match="holds no torch and no determined; set environment"):
        install(plan(), tmp_path)


def test_image_with_another_determined_is_told(pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["determined>=99"])
    with pytest.raises(Unmendable, match="runs with determined>=99, and the image has 0"):
        install(plan(), tmp_path)


def test_image_with_an_old_python_is_told(pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 0))
    with pytest.raises(Unmendable, match=r"has Python 3\.8, and lightning-adapter needs 3\.10"):
        install(plan(), tmp_path)


@pytest.mark.parametrize("extras", [("lightning",), ("lightning", "pytorch-lightning"), ()])
def test_each_lightning_that_the_code_imports_is_installed(
    extras: tuple[str, ...], pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"not-there-{name}>=1; extra == '{name}'" for name in ("pytorch-lightning", "lightning")]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    install(plan(extras=extras), tmp_path)
    asked = [word for word in calls(pip).split() if word.startswith("not-there-")]
    assert sorted(asked) == [f"not-there-{extra}>=1" for extra in extras]


def test_pips_own_words_are_told(pip: Path, tmp_path: Path) -> None:
    fails(pip, 1, "ERROR: No matching distribution found for lightning-adapter==99\n")
    with pytest.raises(PipFailed, match=r"beside the image's torch .*\nERROR: No matching distribution found"):
        install(plan("lightning-adapter==99"), tmp_path)


def test_requirement_that_cannot_be_installed_is_told_with_the_projects_file(
    pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.txt").write_text("not-there-1\n")
    fails(pip, 1, "ERROR: No matching distribution found for not-there-1\n")
    told = r"of what requirements\.txt asks for failed beside .*\. To fix, correct requirements\.txt, or.*\nERROR: No"
    with pytest.raises(PipFailed, match=told) as raised:
        install(plan(file="requirements.txt"), tmp_path)
    assert str(tmp_path) not in str(raised.value)
    monkeypatch.setattr(in_container, "_HERE", tmp_path)
    with pytest.raises(PipFailed, match=r"To fix, correct pyproject\.toml"):
        install(plan(file="requirements.txt"), tmp_path)


@pytest.mark.parametrize(
    ("says", "begins"),
    [
        ("ERROR: No matching distribution found for x", "lightning-adapter: error: pip install"),
        (
            "WARNING: Retrying: Connection broken\nERROR: No matching distribution found for x",
            "lightning-adapter: no network:",
        ),
    ],
)
def test_failure_that_a_restart_may_mend_is_told_in_other_words(
    says: str,
    begins: str,
    pip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # the plan lies beside the file
    monkeypatch.setattr(in_container, "PLAN", str(tmp_path / "plan.json"))
    (tmp_path / "plan.json").write_text('{"package": "x.whl"}')
    fails(pip, 1, says)
    assert main(["aside"]) == 1
    assert capsys.readouterr().err.startswith(begins)
    assert main(["aside", "--try"]) == 1
    printed = capsys.readouterr()
    assert printed.err == "" and "once more after the project's start-up hook" in printed.out
    assert "error:" not in printed.out.replace("ERROR:", "")
    fails(pip, 0, "")
    assert main(["aside"]) == 0
    assert capsys.readouterr().out.startswith("lightning-adapter: installed lightning-adapter ")
