"""Is it found out where a person looks: at a terminal, a notebook, a file?"""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from lightning_adapter.runs import console
from lightning_adapter.runs.console import Place, place


class Process:
    """What `sys` tells of one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.modules: dict[str, object] = {}
        self.prints_to(terminal=True)
        monkeypatch.setattr(console, "sys", self)  # pytest puts its own stderr back

    def prints_to(self, terminal: bool) -> None:
        self.stderr: object = SimpleNamespace(isatty=lambda: terminal)

    def has_shell(self, shell: object) -> None:
        self.modules["IPython"] = SimpleNamespace(get_ipython=lambda: shell)


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    """At a terminal, in which nobody has imported IPython."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("GIT_PAGER", raising=False)
    return Process(monkeypatch)


def kernel(pid: int) -> object:
    return SimpleNamespace(kernel=SimpleNamespace(session=SimpleNamespace(pid=pid)))


def test_terminal_is_one_and_a_file_is_not(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place() is Place.TERMINAL
    monkeypatch.setenv("TERM", "dumb")
    assert place() is Place.LINES
    monkeypatch.setenv("TERM", "xterm")
    process.prints_to(terminal=False)
    assert place() is Place.LINES
    process.stderr = None
    assert place() is Place.LINES


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_ipython_in_a_terminal_and_one_that_a_library_has_imported_are_no_notebook(
    process: Process, shell: object
) -> None:
    process.has_shell(shell)
    assert place() is Place.TERMINAL


def test_kernel_is_a_notebook_and_what_it_forks_is_not(process: Process) -> None:
    process.prints_to(terminal=False)
    process.has_shell(kernel(os.getpid()))
    assert place() is Place.NOTEBOOK
    process.has_shell(kernel(os.getpid() + 1))
    assert place() is Place.LINES
    process.has_shell(SimpleNamespace(kernel=SimpleNamespace()))  # a kernel that is not ipykernel's
    assert place() is Place.NOTEBOOK


def test_command_of_a_cell_gets_lines_though_its_kernel_gives_it_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-color")
    assert place() is Place.TERMINAL
    monkeypatch.setenv("GIT_PAGER", "cat")
    assert place() is Place.LINES
