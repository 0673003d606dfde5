"""A run's record is read and changed whole, by anybody, and says of a run whose process is gone that it was killed."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.errors import ConfigurationError, RunRecordError
from lightning_adapter.runs import record
from lightning_adapter.runs.occupancy import Occupancy

RUNNING: dict[str, Any] = {"status": "running", "host": socket.gethostname(), "pid": os.getpid()}


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# Reading and changing


def test_what_is_written_is_read_and_other_keys_stay_at_a_change(tmp_path: Path) -> None:
    record.write(tmp_path, {**RUNNING, "name": "NaN", "metrics": {"loss": math.inf}, "theirs": [1]})
    record.update(tmp_path, status="finished", test={"test_loss": 0.5})
    assert record.read(tmp_path) == {
        **RUNNING,
        "format": 1,
        "name": "NaN",
        "metrics": {"loss": math.inf},
        "theirs": [1],
        "status": "finished",
        "test": {"test_loss": 0.5},
    }


def test_run_without_a_record_has_none_and_gets_none(tmp_path: Path) -> None:
    record.update(tmp_path, test={"a": 1.0})
    assert record.read(tmp_path) is None and list(tmp_path.iterdir()) == []
    assert record.read(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ('{"format": 1, "na', "Unterminated"),
        ("[1]", "no number of its format"),
        ('{"a": 1}', "no number of its format"),
        ('{"format": 1, "metrics": 3, "seed": "x"}', "another type than it is written with: seed, metrics"),
        ("\xff", "decode"),
    ],
)
def test_damaged_record_is_named_and_left_as_it_is(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / record.RUN
    path.write_bytes(text.encode("latin-1"))
    for use in (lambda: record.read(tmp_path), lambda: record.update(tmp_path, test={})):
        with pytest.raises(RunRecordError, match=rf"run\.json cannot be read as the record of a run: .*{reason}"):
            use()
    assert path.read_bytes() == text.encode("latin-1")
    assert issubclass(RunRecordError, ConfigurationError)


def test_record_of_a_newer_version_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / record.RUN).write_text(json.dumps({"format": 2}))
    with pytest.raises(RunRecordError, match=r"is of format 2, .* Update lightning_adapter here"):
        record.read(tmp_path)


def _count(directory: Path, name: str) -> None:
    for number in range(40):
        record.update(directory, **{name: number})


@pytest.mark.multiprocess
def test_processes_that_change_a_record_at_once_lose_nothing(tmp_path: Path) -> None:
    record.write(tmp_path, RUNNING)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_count, args=(tmp_path, name)) for name in ("a", "b", "c")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    read = record.read(tmp_path)
    assert read is not None and [read[name] for name in ("a", "b", "c")] == [39, 39, 39]


# Who is gone


def test_run_whose_directory_is_in_use_is_running(tmp_path: Path) -> None:
    occupancy = Occupancy(tmp_path)
    assert record.shown_status({**RUNNING, "pid": gone(), "host": "elsewhere"}, tmp_path) == "running"
    occupancy.end()
    assert record.shown_status(RUNNING, tmp_path) == "killed"  # the number is that of another process by now


def test_run_of_a_process_that_is_gone_was_killed(tmp_path: Path) -> None:
    assert record.shown_status({**RUNNING, "pid": gone()}, tmp_path) == "killed"


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted"])
def test_run_that_has_said_how_it_ended_is_not_asked(tmp_path: Path, status: str) -> None:
    assert record.shown_status({**RUNNING, "pid": gone(), "status": status}, tmp_path) == status


def test_run_that_has_ended_since_its_record_was_read_was_not_killed(tmp_path: Path) -> None:
    record.write(tmp_path, {**RUNNING, "status": "finished"})
    assert record.shown_status({**RUNNING, "pid": gone()}, tmp_path) == "finished"


def test_run_of_another_machine_is_running_until_it_is_silent_for_a_day(tmp_path: Path) -> None:
    elsewhere = {**RUNNING, "host": "elsewhere"}
    record.write(tmp_path, elsewhere)
    assert record.shown_status(elsewhere, tmp_path) == "running"
    long_ago = time.time() - 25 * 3600
    os.utime(tmp_path / record.RUN, (long_ago, long_ago))
    assert record.shown_status(elsewhere, tmp_path) == "killed"
    (tmp_path / "metrics.csv").write_text("")
    assert record.shown_status(elsewhere, tmp_path) == "running"


def test_looking_whether_a_run_is_running_does_not_hinder_it(tmp_path: Path) -> None:
    Occupancy(tmp_path).end()
    before = sorted(path.name for path in tmp_path.iterdir())
    for _ in range(5):
        record.shown_status(RUNNING, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    Occupancy(tmp_path).end()


def test_thousand_records_are_read_in_well_under_a_second(tmp_path: Path) -> None:
    content = {**RUNNING, "status": "finished", "hyperparameters": {f"h{n}": n / 3 for n in range(30)}}
    for number in range(100):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / record.RUN).write_text(json.dumps({"format": 1, **content}))
    begin = time.process_time()
    assert all(record.read(tmp_path / str(number)) for number in range(100))
    assert time.process_time() - begin < 0.05
