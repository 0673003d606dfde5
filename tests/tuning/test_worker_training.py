"""A trial that trains in a process of its own ends with a checkpoint when it is stopped, and when its search is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_adapter.checkpoints.file import read
from lightning_adapter.runs import record
from lightning_adapter.runs.store import stored_checkpoints
from lightning_adapter.tuning.job import Ended, Job, Validated
from lightning_adapter.tuning.workers import Workers
from tuning.test_workers import is_alive, until

pytestmark = pytest.mark.multiprocess
MODEL = """
import os, time, torch
from torch.utils.data import DataLoader, TensorDataset
from lightning_adapter import DETLM, LightningAdapter

class Net(DETLM):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
    def training_step(self, batch, batch_idx):
        time.sleep(0.02)
        return self.layer(batch[0]).pow(2).mean()
    def validation_step(self, batch, batch_idx):
        self.log("loss", self.layer(batch[0]).pow(2).mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)
    def train_dataloader(self):
        x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(x), batch_size=4, num_workers=2, worker_init_fn=self.say)
    def val_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(4, 3)), batch_size=4)
    @staticmethod
    def say(number):
        print("loader", os.getpid(), flush=True)

class Trial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, Net(), val_check_interval=5, max_epochs=1)
"""
SEARCH = """
import pathlib, time
from lightning_adapter.tuning.job import Job
from lightning_adapter.tuning.workers import Workers
crew = Workers(1, "model.py:Trial", {}, pathlib.Path())
crew.start(Job(0, {"searcher": {"name": "single", "metric": "loss"}}, "trial-000", None, {}))
crew.wait(lambda validated: print(flush=True), 600)
"""


def loaders(log: Path) -> list[int]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith("loader ")]


def batches_of_checkpoint(run_dir: Path) -> int:
    newest = stored_checkpoints(run_dir / "checkpoints")[-1]
    return int(read(newest.path / "lightning.ckpt")["global_step"])


def test_a_trial_that_is_stopped_leaves_a_checkpoint(project: Path) -> None:
    (project / "model.py").write_text(MODEL)
    crew = Workers(1, "model.py:Trial", {"OMP_NUM_THREADS": "1"}, project)
    try:
        crew.start(Job(0, {"searcher": {"name": "single", "metric": "loss"}}, "trial-000", None, {}))
        heard: list[Validated] = []

        def judge(validated: Validated) -> None:
            heard.append(validated)
            if len(heard) == 2:
                crew.stop()

        found: list[Ended] = []
        until(lambda: bool(found.extend(crew.wait(judge, 1)) or found), 60)
    finally:
        crew.close()
    assert found == [Ended(0, "interrupted")]
    assert [each.batches for each in heard[:2]] == [5, 10]
    assert set(heard[0].metrics) == {"loss"}
    assert batches_of_checkpoint(project / "trial-000") >= 10
    assert not any(map(is_alive, loaders(project / "worker-0.log")))


def test_a_trial_whose_search_is_killed_leaves_a_checkpoint(project: Path) -> None:
    (project / "model.py").write_text(MODEL)
    package = str(Path(__file__).resolve().parents[2])
    search = subprocess.Popen(
        [sys.executable, "-c", SEARCH],
        env={**os.environ, "PYTHONPATH": package, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
    )
    assert search.stdout is not None
    with search.stdout as output:
        # validated twice: whether the word on the second one reaches the trial or not, the first one has its checkpoint
        assert output.readline() and output.readline()
        search.send_signal(signal.SIGKILL)
        search.wait()
    described = record.read(project / "trial-000")
    assert described is not None
    pids = [described["pid"], *loaders(project / "worker-0.log")]
    assert len(pids) == 3
    until(lambda: not any(map(is_alive, pids)), 30)
    assert batches_of_checkpoint(project / "trial-000") >= 5
    assert (record.read(project / "trial-000") or {})["status"] == "interrupted"
