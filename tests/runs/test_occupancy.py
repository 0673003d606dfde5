"""A run's directory belongs to one run, and to one process at a time; what others left there is not lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import occupancy
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.occupancy import RECORD, Occupancy, last_holder

#: Holds a directory, with a child that outlives it, as the workers of a loader do for some seconds.
HOLDER = """
import os, pathlib, sys, time
from lightning_adapter.runs.occupancy import Occupancy
held = Occupancy(pathlib.Path(sys.argv[1]))
if os.fork() == 0:
    time.sleep(float(sys.argv[2]))
    os._exit(0)
print("held", flush=True)
time.sleep(60)
"""


def checkpoint(run: Path, name: str, steps: int) -> Path:
    path = run / "checkpoints" / name
    path.mkdir(parents=True)
    (path / "metadata.json").write_text(json.dumps({"steps_completed": steps}))
    return path


def test_directory_of_a_living_process_is_refused_and_that_of_a_killed_one_is_free(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), "2"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigurationError, match=rf"in use by process {holder.pid} on .*, since "):
            RunDirectory.create("MyTrial", run_dir=tmp_path)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    begin = time.monotonic()
    RunDirectory.create("MyTrial", run_dir=tmp_path).close()
    assert time.monotonic() - begin < 5


def test_refused_directory_is_free_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ConfigurationError("no")

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "_make_room", fail)
        with pytest.raises(ConfigurationError, match="no"):
            RunDirectory.create("MyTrial", run_dir=tmp_path)
    Occupancy(tmp_path).end()


@pytest.mark.parametrize("record", ["", "[]", '{"pid": 1}', "[" * 100000])
def test_record_that_says_nothing_is_nobodys(tmp_path: Path, record: str) -> None:
    (tmp_path / RECORD).write_text(record)
    assert last_holder(tmp_path) is None


def test_file_system_without_locks_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Lacking:
        def __init__(self, path: Path) -> None: ...

        def acquire(self, timeout: float) -> None:
            raise NotImplementedError

        def release(self, *_: object) -> None: ...

    monkeypatch.setattr(occupancy.filelock, "FileLock", Lacking)
    RunDirectory.create("MyTrial", run_dir=tmp_path).close()
    assert "without locks" in caplog.text


@pytest.mark.parametrize("name", ["experiment.yaml", "metrics.csv", "curves.png"])
def test_file_of_somebody_else_that_a_run_would_write_over_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=rf"holds {name}, which a run writes itself"):
        RunDirectory.create("MyTrial", run_dir=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name, "notes.txt"}


def test_table_of_a_run_without_a_checkpoint_is_set_aside(tmp_path: Path) -> None:
    first = RunDirectory.create("MyTrial", run_dir=tmp_path)
    first.write_config({"name": "first"})
    first.record("train", 1, 0, {"loss": 1.0})
    first.close()
    table = first.metrics_file.read_text()
    second = RunDirectory.create("MyTrial", run_dir=tmp_path)
    (kept,) = second.superseded.iterdir()
    assert (kept / "metrics.csv").read_text() == table
    assert (kept / "experiment.yaml").exists()
    assert not second.metrics_file.exists()


def test_run_that_goes_on_from_a_checkpoint_of_the_directory_is_the_run_that_is_there(tmp_path: Path) -> None:
    source = checkpoint(tmp_path, "a", 3)
    lightnings = tmp_path / "logs" / "last.ckpt"
    lightnings.parent.mkdir()
    lightnings.write_text("")
    for place in (source, lightnings):
        RunDirectory.create("MyTrial", run_dir=tmp_path, source=place).close()
    elsewhere = checkpoint(tmp_path / "other", "b", 3)
    with pytest.raises(ConfigurationError, match="holds a run already, with a checkpoint of batch 3"):
        RunDirectory.create("MyTrial", run_dir=tmp_path, source=elsewhere)
