"""Is it found out where a person looks: at a terminal, a notebook, a file?"""

from __future__ import annotations

import io
import logging
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_adapter.runs import console
from lightning_adapter.runs.console import ALWAYS, FILE_ONLY, Console, Place, place, prints


class Process:
    """What `sys` tells of one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.modules: dict[str, object] = {}
        self.stdout = self.__stdout__ = self.__stderr__ = io.StringIO()
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


# --- what is shown ----------------------------------------------------------------------------------------------------


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def shown(process: Process, terminal: bool, is_quiet: bool = False) -> list[str]:
    """What is seen of a line of each kind."""
    process.stderr = stream = Stream(terminal)
    handler = Console(is_quiet)
    kinds: dict[str, tuple[int, dict[str, Any]]] = {
        "line": (logging.INFO, {}),
        "warning": (logging.WARNING, {}),
        "always": (logging.INFO, ALWAYS),
        "file": (logging.WARNING, FILE_ONLY),
    }
    for name, (level, extra) in kinds.items():
        handler.handle(logging.makeLogRecord({"name": "of.test", "msg": name, "levelno": level, **extra}))
    return stream.getvalue().split()


def test_terminal_shows_warnings_and_what_is_to_be_seen_always_and_a_file_all_but_what_is_for_the_runs(
    process: Process,
) -> None:
    assert shown(process, terminal=True) == ["warning", "always"]
    assert shown(process, terminal=False) == ["line", "warning", "always"]
    assert shown(process, terminal=False, is_quiet=True) == ["warning", "always"]


def test_lines_have_the_time_in_a_file_alone(process: Process, tmp_path: Path) -> None:
    record = logging.makeLogRecord({"name": "of.test", "msg": "line", "levelno": logging.WARNING})
    with (tmp_path / "nohup.out").open("w") as file:
        process.stderr = file
        Console().handle(record)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d line\n", (tmp_path / "nohup.out").read_text())
    read, write = os.pipe()
    with os.fdopen(write, "w") as pipe:
        process.stderr = pipe
        Console().handle(logging.makeLogRecord({"name": "of.test", "msg": "line", "levelno": logging.WARNING}))
    with os.fdopen(read) as reader:
        assert reader.read() == "line\n"


def test_line_is_left_to_a_handler_of_the_users_that_prints_it(process: Process) -> None:
    log = logging.getLogger("of.test")
    for level, left in ((logging.INFO, []), (logging.ERROR, ["warning"])):
        handler = logging.StreamHandler(process.stdout)
        handler.setLevel(level)
        log.addHandler(handler)
        try:
            assert [word for word in shown(process, terminal=False) if word == "warning"] == left
        finally:
            log.removeHandler(handler)


def test_handlers_that_print_are_known_whoever_made_them(process: Process, tmp_path: Path) -> None:
    rich = SimpleNamespace(level=0, console=SimpleNamespace(file=process.stdout))
    absl = SimpleNamespace(level=0, python_handler=logging.StreamHandler(process.stdout))
    for each in (rich, absl, logging.StreamHandler(process.stdout)):
        assert prints(each)  # type: ignore[arg-type]
    to_file = logging.FileHandler(tmp_path / "own.log")
    for each in (to_file, logging.NullHandler(), logging.StreamHandler(io.StringIO()), Console()):
        assert not prints(each)
    to_file.close()


def test_closed_stderr_ends_no_run(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    process.stderr = stream = Stream(terminal=False)
    handler = Console()
    stream.close()
    handler.handle(logging.makeLogRecord({"name": "of.test", "msg": "line", "levelno": logging.WARNING}))
