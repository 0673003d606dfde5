"""Does what goes on beside training come to its end, and is its failure heard, once, where training looks?"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from lightning_adapter.errors import CheckpointError, ConfigurationError
from lightning_adapter.platform.beside import VARIABLE, Beside, training_waits
from lightning_adapter.runs.run_log import attach_log


def fail() -> None:
    raise CheckpointError("full")


@pytest.fixture
def beside() -> Iterator[Beside]:
    made = Beside()
    with made.done_by_the_end():
        yield made


def test_work_is_done_when_the_next_begins(beside: Beside) -> None:
    go, done = threading.Event(), []
    beside.start(lambda: go.wait(10) and done.append(1))
    assert not done
    threading.Timer(0.05, go.set).start()
    beside.start(lambda: done.append(len(done) + 1))
    beside.settle()
    assert done == [1, 2]


def test_failure_is_raised_once_where_training_looks(beside: Beside) -> None:
    def look_until_it_has_failed() -> None:
        for _ in range(1000):
            beside.look()
            time.sleep(0.01)

    beside.look()
    beside.start(fail)
    with pytest.raises(CheckpointError, match="full"):
        look_until_it_has_failed()
    beside.look()
    beside.settle()


@pytest.mark.parametrize("ask", [Beside.settle, lambda beside: beside.start(fail)])
def test_failure_is_raised_where_training_waits(ask: object, beside: Beside) -> None:
    beside.start(fail)
    with pytest.raises(CheckpointError, match="full"):
        ask(beside)  # type: ignore[operator]
    beside.settle()


def test_end_waits_and_raises_the_failure() -> None:
    beside, done = Beside(), []
    with beside.done_by_the_end():
        beside.start(lambda: done.append(1))
    assert done == [1]
    with pytest.raises(CheckpointError, match="full"), beside.done_by_the_end():
        beside.start(fail)


def test_signal_that_ends_the_wait_hides_no_failure(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    go, usual, asked = threading.Event(), Future.result, []

    def interrupted_once(self: Future[object], timeout: float | None = None) -> object:
        asked.append(self.done())
        if len(asked) == 1:
            raise KeyboardInterrupt
        return usual(self, timeout)

    def fail_later() -> None:
        go.wait(10)
        fail()

    monkeypatch.setattr(Future, "result", interrupted_once)
    beside.start(fail_later)
    with pytest.raises(KeyboardInterrupt):
        beside.settle()
    go.set()
    with pytest.raises(CheckpointError, match="full"):
        beside.settle()
    assert asked[0] is False


def test_failure_is_said_where_another_error_ends_the_run(caplog: pytest.LogCaptureFixture) -> None:
    beside = Beside()
    with pytest.raises(KeyboardInterrupt), beside.done_by_the_end():
        beside.start(fail)
        raise KeyboardInterrupt
    assert "CheckpointError: full" in caplog.text


def test_without_another_thread_the_work_is_done_at_once(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    done: list[int] = []
    beside.start(lambda: done.append(1))
    assert done == [1]
    beside.settle()
    assert done == [1]


def test_what_it_says_is_in_the_file_of_its_own_run(beside: Beside, tmp_path: Path) -> None:
    begun, over = threading.Event(), threading.Event()

    def other_run() -> None:
        with attach_log(tmp_path / "other.log"):
            begun.set()
            over.wait(10)

    other = threading.Thread(target=other_run)
    other.start()
    begun.wait(10)
    with attach_log(tmp_path / "train.log"):
        beside.start(lambda: logging.getLogger("lightning_adapter").warning("stuck"))
        beside.settle()
    over.set()
    other.join()
    assert "stuck" in (tmp_path / "train.log").read_text()
    assert "stuck" not in (tmp_path / "other.log").read_text()


def test_variable_says_whether_training_waits() -> None:
    assert not training_waits({})
    assert not training_waits({VARIABLE: " "})
    assert not training_waits({VARIABLE: "beside"})
    assert training_waits({VARIABLE: "wait"})
    with pytest.raises(ConfigurationError, match=r'CHECKPOINTS=.?no.? in the environment .*Set it to "wait"'):
        training_waits({VARIABLE: "no"})
