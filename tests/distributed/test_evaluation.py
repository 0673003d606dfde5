"""Two processes of torchrun measure and predict what Lightning's Trainer does under the same launcher."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from .launching import HERE, ended, environment, started

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

#: A run, trained in a process of its own.
FIT = "import pathlib, sys, evaluating; evaluating.lightning_adapter.fit(evaluating.Trial, run_dir=sys.argv[1], seed=1)"


def measured(folder: pathlib.Path, *words: object) -> list[dict[str, object]]:
    folder.mkdir()
    log = folder / "job.log"
    with started("torch", log, "evaluating.py", *words) as job:
        printed = ended(job, log, 120)
    assert job.returncode == 0, printed[-4000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("job") / "run"
    command = [sys.executable, "-c", FIT, str(directory), str(directory)]
    subprocess.run(command, env=environment(), check=True, timeout=120, capture_output=True)
    return directory


def test_values_and_predictions_are_lightnings(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    ours = measured(tmp_path / "ours", run, tmp_path / "ours")
    theirs = measured(tmp_path / "theirs", run, tmp_path / "theirs", "lightning")
    assert ours == theirs
    assert ours[0]["predict"] != ours[1]["predict"]


def test_command_prints_and_writes_once(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    log = tmp_path / "job.log"
    (tmp_path / "entry.py").write_text("import runpy\nrunpy.run_module('lightning_adapter', run_name='__main__')\n")
    target = f"{HERE / 'evaluating.py'}:Trial"
    with started("torch", log, os.fspath(tmp_path / "entry.py"), "test", run, target) as job:
        printed = ended(job, log, 120)
    assert job.returncode == 0, printed[-4000:]
    assert printed.count("loader 1") == 1 and printed.count("test.json") == 1
    values = json.loads(next((run / "checkpoints").glob("*/test.json")).read_text())
    assert len(values) == 6
