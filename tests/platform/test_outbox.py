"""Are reports sent in their order, beside whoever posts them, and does nobody wait for ever?"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lightning_adapter.platform.master import outbox as module
from lightning_adapter.platform.master.outbox import Outbox


class Master:
    """Notes what it is told, as soon as it may answer."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.answers = threading.Event()
        self.answers.set()

    def hears(self, what: Any) -> Callable[[], None]:
        def send() -> None:
            assert self.answers.wait(10)
            if isinstance(what, Exception):
                raise what
            self.told.append(what)

        return send


@pytest.fixture
def master() -> Iterator[Master]:
    made = Master()
    yield made
    made.answers.set()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_reports_arrive_in_their_order_and_all_of_them(master: Master) -> None:
    outbox = Outbox()
    for number in range(200):
        outbox.post(master.hears(number))
    outbox.close()
    assert master.told == list(range(200))


def test_posting_does_not_wait_for_the_master(master: Master) -> None:
    outbox = Outbox()
    master.answers.clear()
    began = time.monotonic()
    for number in range(100):
        outbox.post(master.hears(number))
    outbox.wait_for_room()
    assert time.monotonic() - began < 1 and master.told == []
    master.answers.set()
    outbox.settle()
    assert master.told == list(range(100))
    outbox.close()


def test_settling_waits_for_one_report_or_for_all(master: Master) -> None:
    outbox = Outbox()
    first = outbox.post(master.hears("first"))
    outbox.settle(first)
    assert master.told == ["first"]
    master.answers.clear()
    outbox.post(master.hears("second"))
    outbox.settle(first)  # is delivered already
    threading.Timer(0.1, master.answers.set).start()
    outbox.settle()
    assert master.told == ["first", "second"]
    outbox.close()


def test_whoever_asks_on_in_the_sending_thread_does_not_wait_for_itself(master: Master) -> None:
    outbox = Outbox()
    outbox.post(outbox.settle)
    outbox.close()


def test_a_report_that_fails_is_an_error_of_the_next_one_and_of_the_end(master: Master) -> None:
    outbox = Outbox()
    outbox.post(master.hears(ValueError("refused")))
    with pytest.raises(ValueError, match="refused"):
        outbox.settle()
    for use in (lambda: outbox.post(master.hears("later")), outbox.wait_for_room, outbox.close):
        with pytest.raises(ValueError, match="refused"):
            use()
    assert master.told == []


def test_the_last_report_that_fails_is_an_error_of_the_end(master: Master) -> None:
    outbox = Outbox()
    outbox.post(master.hears(ValueError("refused")))
    with pytest.raises(ValueError, match="refused"):
        outbox.close()


def test_an_error_that_ends_the_run_is_not_replaced(master: Master, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox()
    outbox.post(master.hears(ValueError("refused")))
    try:
        raise KeyError("of the run")
    except KeyError:
        outbox.close()
    assert "1 reports of this run have not reached the master" in caplog.text and "refused" in caplog.text


def test_an_error_that_was_being_handled_when_the_run_began_is_not_the_runs(master: Master) -> None:
    try:
        raise KeyError("of an earlier run")
    except KeyError:
        outbox = Outbox()
        outbox.post(master.hears(ValueError("refused")))
        with pytest.raises(ValueError, match="refused"):
            outbox.close()


def test_a_full_outbox_holds_whoever_reports_until_there_is_room(
    master: Master, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LIMIT", 4)
    monkeypatch.setattr(module, "ROOM", 2)
    outbox = Outbox()
    master.answers.clear()
    for number in range(4):
        outbox.post(master.hears(number))
    for wait in (lambda: outbox.post(master.hears(4)), outbox.wait_for_room):
        master.answers.clear()
        waiter = threading.Thread(target=wait)
        waiter.start()
        waiter.join(0.1)
        assert waiter.is_alive()
        master.answers.set()
        waiter.join(5)
        assert not waiter.is_alive()
        for number in range(10, 13):
            outbox.post(master.hears(number))
    assert [record.levelno for record in caplog.records if "waits for room" in record.message] != []
    assert {record.levelno for record in caplog.records if "waits for room" in record.message} == {logging.WARNING}
    outbox.close()
    assert master.told[:5] == list(range(5))


def test_a_full_outbox_lets_go_when_the_master_is_given_up(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 1)
    outbox = Outbox()
    master.answers.clear()
    outbox.post(master.hears(ValueError("given up")))
    threading.Timer(0.1, master.answers.set).start()
    with pytest.raises(ValueError, match="given up"):
        outbox.post(master.hears("next"))


def test_a_state_that_is_known_is_not_posted_again(master: Master) -> None:
    outbox = Outbox()
    for status in ("training", "training", "validating", "training"):
        outbox.post(master.hears(status), "status", status)
        outbox.post(master.hears("metrics"))
    outbox.close()
    assert [one for one in master.told if one != "metrics"] == ["training", "validating", "training"]


def test_a_slow_master_is_spared_states_that_are_old(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_S", 0.01)
    monkeypatch.setattr(module, "STALE_S", 0.05)
    outbox = Outbox()

    def slowly(what: str) -> Callable[[], None]:
        def send() -> None:
            time.sleep(0.03)
            master.told.append(what)

        return send

    for number in range(20):
        outbox.post(slowly(f"metrics {number}"))
        outbox.post(slowly(f"progress {number}"), "progress", number)
    outbox.close()
    assert [one for one in master.told if one.startswith("metrics")] == [f"metrics {number}" for number in range(20)]
    progress = [int(one.split()[1]) for one in master.told if one.startswith("progress")]
    assert len(progress) < 10 and progress == sorted(progress) and progress[-1] == 19


def test_an_outage_spares_the_master_nothing(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE_S", 0.05)
    outbox = Outbox()
    master.answers.clear()
    for number in range(20):
        outbox.post(master.hears(number), "progress", number)
    time.sleep(0.2)
    master.answers.set()
    outbox.close()
    assert master.told == list(range(20))
    eventually(lambda: "reports" not in [thread.name for thread in threading.enumerate()])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_process_that_user_code_forks_waits_for_no_report_of_the_first_one(master: Master) -> None:
    outbox = Outbox()
    master.answers.clear()
    outbox.post(master.hears("metrics"))

    def leave() -> None:
        outbox.settle()
        outbox.close()

    child = multiprocessing.get_context("fork").Process(target=leave)
    child.start()
    child.join(10)
    status = child.exitcode
    child.kill()
    assert status == 0
    master.answers.set()
    outbox.close()
    assert master.told == ["metrics"]
