"""A test at the end of a job of two processes: made by the first one alone, as in a process of its own."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from lightning_adapter.runs import record

from .launching import ended, environment, started

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

#: Lightning's own test, in a process without a launcher.
LIGHTNING = "import json, pathlib, sys, testing; print(json.dumps(testing.by_lightning(pathlib.Path(sys.argv[2]))))"


def test_values_are_those_of_lightnings_trainer_in_a_single_process(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "job.log"
    with started("torch", log, "testing.py", tmp_path) as job:
        printed = ended(job, log, 90)
    assert job.returncode == 0, printed[-4000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second and first["size"] == 2.0
    written = record.read(tmp_path / "run")
    assert written is not None and written["test"] == first["metrics"]
    assert (written["status"], written["processes"], written["last"]["epoch"]) == ("finished", 2, 1)
    command = [sys.executable, "-c", LIGHTNING, str(tmp_path), first["checkpoint"]]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    assert first["metrics"] == pytest.approx(json.loads(done.stdout.splitlines()[-1]), rel=1e-6)
    assert len(first["metrics"]) == 6
    assert first["metrics"]["accuracy/dataloader_idx_0"] == first["metrics"]["accuracy/dataloader_idx_1"]
