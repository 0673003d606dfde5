"""What is printed reaches the run's file line by line, and its stream as if nobody listened."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from lightning_adapter.runs.printed import copied, real_stderr
from lightning_adapter.runs.run_log import attach_log


class Kept:
    """A run's file that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.thread = threading.get_ident()

    def is_of_this_thread(self) -> bool:
        return threading.get_ident() == self.thread

    def has(self, record: logging.LogRecord, log: logging.Logger) -> bool:
        return record.name == "heard"

    def printed(self, stream: str, line: str) -> None:
        self.lines.append((stream, line))

    @property
    def texts(self) -> list[str]:
        return [line for _, line in self.lines]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def listening() -> Iterator[Kept]:
    """Within a test: pytest puts its own streams back before it."""
    kept = Kept()
    with copied(kept):
        yield kept


def test_whole_lines_are_copied_with_the_streams_name(capsys: pytest.CaptureFixture[str]) -> None:
    with listening() as kept:
        print("one")
        print("two", end="")
        assert kept.texts == ["one"]
        print(" more")
        sys.stderr.writelines(["three\n", "four\n"])
        assert kept.lines == [("stdout", "one"), ("stdout", "two more"), ("stderr", "three"), ("stderr", "four")]
        captured = capsys.readouterr()
        assert captured.out == "one\ntwo more\n" and captured.err == "three\nfour\n"


def test_line_without_an_end_is_copied_when_the_run_ends(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Kept()
    with copied(kept):
        print("no end", end="")
        assert kept.texts == []
    assert kept.texts == ["no end"]
    print(" of ours")
    assert kept.texts == ["no end"] and capsys.readouterr().out == "no end of ours\n"


def test_streams_stay_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr, dict(vars(sys.stdout))
    with copied(Kept()), copied(Kept()):
        assert (sys.stdout, sys.stderr) == before[:2]
        assert isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding
        assert print("seen", file=sys.stdout, flush=True) is None
        assert sys.stdout.write("five!") == 5
        with pytest.raises(TypeError):
            sys.stdout.write(5)  # type: ignore[arg-type]
    assert (sys.stdout, sys.stderr, dict(vars(sys.stdout))) == before
    assert capsys.readouterr().out == "seen\nfive!"


def test_handler_that_keeps_a_stream_is_copied_and_prints_when_the_run_is_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept, before = Kept(), logging.StreamHandler(sys.stderr)
    with copied(kept):
        meanwhile = logging.StreamHandler(sys.stderr)
        for handler in (before, meanwhile):
            handler.emit(logging.makeLogRecord({"msg": "within"}))
    for handler in (before, meanwhile):
        handler.emit(logging.makeLogRecord({"msg": "after"}))
    assert kept.texts == ["within"] * 2
    assert capsys.readouterr().err == "within\nwithin\nafter\nafter\n"


@pytest.mark.parametrize(("name", "copies"), [("heard", []), ("unheard", ["said"])])
def test_record_that_a_handler_prints_is_a_print_only_where_the_file_does_not_have_it(
    name: str, copies: list[str]
) -> None:
    with listening() as kept:
        log = logging.Logger(name)
        log.addHandler(logging.StreamHandler(sys.stdout))
        log.warning("said")
        assert kept.texts == copies


def test_tee_of_the_users_is_copied_once_also_where_it_outlives_its_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tee:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def write(self, text: str) -> int:
            return int(self.stream.write(text))

        def flush(self) -> None:
            self.stream.flush()

    first, second = Kept(), Kept()
    with copied(first):
        monkeypatch.setattr(sys, "stdout", Tee(sys.stdout))
        print("first")
    with copied(second):
        print("second")
    print("after")
    assert first.texts == ["first"] and second.texts == ["second"]
    assert capsys.readouterr().out == "first\nsecond\nafter\n"


def test_other_listener_of_the_same_kind_stays_and_is_copied_once(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []
    first, second = Kept(), Kept()
    with copied(first):
        ours = sys.stdout.write

        def theirs(text: str) -> int:
            heard.append(text)
            return ours(text)

        vars(sys.stdout)["write"] = theirs
        print("first")
    print("between")
    with copied(second):
        print("second")
    del vars(sys.stdout)["write"]
    assert "".join(heard) == "first\nbetween\nsecond\n"
    assert first.texts == ["first"] and second.texts == ["second"]
    assert capsys.readouterr().out == "first\nbetween\nsecond\n"


def test_print_of_another_runs_thread_is_not_this_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with listening() as kept:
        other = threading.Thread(target=print, args=("of the other",))
        other.start()
        other.join()
        assert kept.lines == [] and capsys.readouterr().out == "of the other\n"


def test_redirected_output_is_no_print() -> None:
    with listening() as kept:
        with contextlib.redirect_stdout(io.StringIO()) as found:
            print("kept by the user")
        assert found.getvalue() == "kept by the user\n" and kept.lines == []


def test_process_without_streams_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with copied(Kept()):
        print("nobody reads it")


def test_forked_worker_writes_its_own_lines_and_not_what_its_parent_holds_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with attach_log(tmp_path / "train.log"):
        print("begun by the parent", end="")
        child = os.fork()
        if child == 0:
            print("by the worker")
            os._exit(0)
        os.waitpid(child, 0)
        print(", and ended")
    log = (tmp_path / "train.log").read_text()
    assert [line.partition("stdout: ")[2] for line in log.splitlines()] == [
        "by the worker",
        "begun by the parent, and ended",
    ]


# --- above bars -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def bar_on_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[tqdm, Kept, Terminal]]:
    terminal = Terminal()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", terminal)
        patched.setattr(sys, "stderr", terminal)
        with listening() as kept:
            bar = tqdm(total=10, file=real_stderr(), desc="ours", ncols=40, mininterval=0)
            try:
                yield bar, kept, terminal
            finally:
                bar.close()


def test_bar_is_no_line_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with bar_on_terminal(monkeypatch) as (bar, kept, terminal):
        bar.update(5)
        assert "50%" in terminal.getvalue()
    assert kept.lines == []


def test_whole_line_stands_above_the_bar_which_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with bar_on_terminal(monkeypatch) as (_, kept, terminal):
        before = len(terminal.getvalue())
        print("half", end="")
        assert terminal.getvalue()[before:] == ""
        print(" and whole")
        shown = terminal.getvalue()[before:]
    assert re.fullmatch(r"\r +\rhalf and whole\n\rours: .*", shown), shown
    assert kept.texts == ["half and whole"]


def test_question_is_seen_at_once_beside_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    with bar_on_terminal(monkeypatch) as (_, _, terminal):
        print("go on? ", end="", flush=True)
        assert terminal.getvalue().endswith("go on? ")


def test_users_bar_beside_ours_goes_to_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with bar_on_terminal(monkeypatch) as (_, kept, terminal):
        with tqdm(total=3, desc="theirs", mininterval=0, ncols=40, file=sys.stderr) as theirs:
            theirs.update(3)
            assert "\n\rtheirs: 100%" in terminal.getvalue()
            assert terminal.getvalue().count("ours:") == 1  # nothing has made room for it
        print("printed")
        assert kept.texts[-1] == "printed" and "theirs: 100%" in kept.texts[0]


def test_line_of_a_forked_worker_takes_the_place_of_the_bar_that_its_parent_draws_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with bar_on_terminal(monkeypatch) as (_, kept, terminal):
        before = len(terminal.getvalue())
        monkeypatch.setattr(os, "getpid", lambda: -1)
        print("by", "worker")
        assert terminal.getvalue()[before:] == "\r\x1b[Kby worker\n"
    assert kept.texts == ["by worker"]
