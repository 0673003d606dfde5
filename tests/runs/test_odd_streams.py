"""Printing goes on as without a run, whatever stdout and stderr are, and whoever prints."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tqdm import tqdm

from lightning_adapter.runs import printed
from lightning_adapter.runs.console import Console, Place, place
from lightning_adapter.runs.run_log import attach_log
from lightning_adapter.runs.screen_text import LONGEST_LINE, ScreenText
from lightning_adapter.runs.summary import say


class Bare:
    """What user code puts in the place of a stream: `print` asks for no more than this."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def write(self, text: str) -> None:
        self._write(text)


def test_stream_that_can_do_no_more_than_write_is_listened_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(sys, "stdout", Bare(shown.append))
    monkeypatch.setattr(sys, "stderr", Bare(lambda text: print(text, end="")))  # through the other one
    assert place() is Place.LINES
    Console()
    with attach_log(tmp_path / "train.log"):
        print("one")
        print("two", file=sys.stderr)
    assert "".join(shown) == "one\ntwo\n"
    assert [line.partition("PRINT ")[2] for line in (tmp_path / "train.log").read_text().splitlines()] == [
        "stdout: one",
        "stderr: two",
    ]
    assert "write" not in vars(sys.stdout)


def test_class_in_the_place_of_a_stream_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(sys, "stdout", type("Out", (), {"write": staticmethod(shown.append)}))
    with attach_log(tmp_path / "train.log"):
        print("one")
    assert "".join(shown) == "one\n"


def test_streams_that_are_closed_end_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with attach_log(tmp_path / "train.log") as log:
        log.addHandler(Console())
        out.close()
        err.close()
        log.info("goes on")
        say("the end")
        assert place() is Place.LINES
    said = (tmp_path / "train.log").read_text()
    assert "goes on" in said and "the end (said here since it could not be printed: " in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize("stderr", [None, "closed"])
def test_log_on_a_full_disk_ends_no_run_where_nobody_can_be_told(
    monkeypatch: pytest.MonkeyPatch, stderr: str | None
) -> None:
    closed = io.StringIO()
    closed.close()
    with attach_log(Path("/dev/full")) as log, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None if stderr is None else closed)
        log.info("lost")


def test_threads_print_at_the_same_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(300):
                print("\rone\ntwo")
                print("\x1b[A three\n", end="")
        except BaseException as error:
            failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with attach_log(tmp_path / "train.log"):
            threads = [threading.Thread(target=write) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failed == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
def test_forked_process_draws_no_bar_and_writes_nothing_that_is_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with attach_log(tmp_path / "train.log"):
        bar = tqdm(total=3, file=printed.real_stderr())
        begun = screen.getvalue()
        sys.stderr.write("begun, ")
        child = os.fork()
        if not child:
            sys.stderr.write("of the child\n")
            os._exit(0 if screen.getvalue() == f"{begun}\r\x1b[Kof the child\n" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert screen.getvalue() == begun
        bar.close()
        closed = screen.getvalue()
    assert screen.getvalue() == f"{closed}begun, "


# --- text that goes back over itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["999999999", "9" * 5000])
@pytest.mark.parametrize("way", "AB")
def test_steps_over_more_rows_than_any_screen_has_cost_no_more(way: str, number: str) -> None:
    screen = ScreenText()
    assert [line for line in [*screen.write(f"\x1b[{number}{way}here\n"), *screen.rest()] if line] == ["here"]


def test_line_that_nobody_ends_is_given_out_in_parts() -> None:
    screen = ScreenText()
    begun = time.process_time()
    lines = [line for _ in range(300_000) for line in screen.write(".")]
    assert time.process_time() - begun < 20
    assert len(lines) == 300_000 // (LONGEST_LINE + 1)
    assert len("".join([*lines, *screen.rest()])) == 300_000
    assert ScreenText().write("x" * 50_000 + "\n") == ["x" * 50_000]
