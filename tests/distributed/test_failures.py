"""One process fails or is killed, or the launcher is told to stop: all end soon, and somebody says which rank."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import time

import pytest

from lightning_adapter.runs import store

from .launching import ended, need_horovod, started

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

LIMIT_S = 30
START_S = 60

BACKENDS = ["torch", pytest.param("horovod", marks=pytest.mark.horovod)]


def _fail(folder: pathlib.Path, backend: str, *how: object) -> tuple[str, float]:
    """Run a job that fails; what it printed, and how long it lived on after the failure."""
    if backend == "horovod":
        need_horovod()
    log = folder / "job.log"
    with started(backend, log, "failing.py", folder, *how) as job:
        printed = ended(job, log, START_S + LIMIT_S)
    assert job.returncode != 0, printed
    mark = folder / "failing"
    return printed, time.time() - mark.stat().st_mtime if mark.exists() else 0.0


def whole_checkpoints(folder: pathlib.Path) -> list[int]:
    """Batches of the checkpoints in a run; a directory that is no whole checkpoint fails the test."""
    directory = folder / "run" / "checkpoints"
    stored = store.stored_checkpoints(directory)
    assert {each.path for each in stored} == set(directory.iterdir())
    return [each.steps_completed for each in stored]


@pytest.mark.parametrize(
    ("backend", "where", "how", "rank"),
    [
        ("torch", "training", "raise", 1),
        ("torch", "validation", "kill", 1),
        ("torch", "checkpoint", "raise", 0),
        pytest.param("horovod", "training", "kill", 1, marks=pytest.mark.horovod),
        pytest.param("horovod", "validation", "raise", 1, marks=pytest.mark.horovod),
        pytest.param("horovod", "checkpoint", "kill", 0, marks=pytest.mark.horovod),
    ],
)
def test_one_failing_rank_ends_all(tmp_path: pathlib.Path, backend: str, where: str, how: str, rank: int) -> None:
    printed, survived = _fail(tmp_path, backend, where, how, rank)
    assert survived < LIMIT_S
    if how == "raise":
        assert f"rank {rank} of 2 failed:\n" in printed
        # its traceback, and torchrun's last lines, which name the error of the first to fail
        assert printed.count("ValueError: this rank has had enough\n") == (2 if backend == "torch" else 1)
        assert printed.count('raise ValueError("this rank has had enough")') == 1
        assert f"rank {1 - rank} of 2 failed" not in printed
    elif backend == "torch":
        assert re.search(rf"\(exitcode: -9\) local_rank: {rank}", printed)
    else:
        assert re.search(rf"Process name: {rank}\nExit code: 137", printed)
    assert whole_checkpoints(tmp_path) == [3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_sigterm_to_the_launcher_ends_all_with_a_whole_checkpoint(tmp_path: pathlib.Path, backend: str) -> None:
    if backend == "horovod":
        need_horovod()
    log = tmp_path / "job.log"
    with started(backend, log, "failing.py", tmp_path, "training", "sleep", 1) as job:
        begun = time.monotonic()
        while not (tmp_path / "failing").exists():
            assert time.monotonic() - begun < START_S, log.read_text()
            assert job.poll() is None, log.read_text()
            time.sleep(0.1)
        os.kill(job.pid, signal.SIGTERM)
        told = time.monotonic()
        ended(job, log, LIMIT_S)
    assert time.monotonic() - told < LIMIT_S
    assert whole_checkpoints(tmp_path)
