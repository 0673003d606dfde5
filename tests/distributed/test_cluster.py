"""A trial of two slots, started by Determined's own launchers: it trains, is preempted, and goes on."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from fake_master import FakeMaster, fake_cluster

from .launching import HERE, need_horovod

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

MODEL_DEF = """
import sys
sys.path.insert(0, {here!r})
import cases
import lightning_adapter

class Data(cases.Data):
    def __init__(self, batch):
        super().__init__(count=32, val=(10,), batch=batch)

class TellsItsEnd(cases.pl.Callback):
    def on_train_end(self, trainer, pl_module):
        print("rank", trainer.global_rank, "has trained", trainer.global_step, "steps", flush=True)

class Trial(lightning_adapter.LightningAdapter):
    def __init__(self, context):
        data = Data(context.get_per_slot_batch_size())
        super().__init__(context, cases.Net(), data, logger=False, log_every_n_steps=2, enable_progress_bar=False,
                         callbacks=[TellsItsEnd()])
"""


def launch(folder: pathlib.Path, launcher: str, master: FakeMaster) -> str:
    (folder / "model_def.py").write_text(textwrap.dedent(MODEL_DEF).format(here=str(HERE)))
    entrypoint = [sys.executable, "-m", "lightning_adapter", "fit", "model_def:Trial", "--max-epochs", "3"]
    command = [sys.executable, "-m", f"determined.launch.{launcher}", "--", *entrypoint]
    environment = master.child_env(OMP_NUM_THREADS="1", DET_RESOURCES_ID="fake-resources")
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def given(**more: Any) -> dict[str, Any]:
    hparams = {"global_batch_size": 8}
    # what a master fills in, and the launcher for Horovod reads
    optimizations = {"auto_tune_tensor_fusion": False, "tensor_fusion_cycle_time": 1, "tensor_fusion_threshold": 64}
    config = {"hyperparameters": hparams, "optimizations": optimizations}
    return {"slots": 2, "hparams": hparams, "config": config, "trial_seed": 3, **more}


def values(master: FakeMaster) -> list[tuple[Any, float]]:
    return [(steps, metrics["val_loss"]) for steps, metrics in master.validation]


def test_preempted_trial_ends_as_an_undisturbed_one(tmp_path: pathlib.Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    with fake_cluster(whole, **given()) as undisturbed:
        launch(whole, "torch_distributed", undisturbed)
    with fake_cluster(parts, **given()) as first:
        first.preempt_after(reports=3)
        launch(parts, "torch_distributed", first)
    last = first.checkpoints[-1]
    with fake_cluster(parts, **given(latest_checkpoint=last.uuid, steps_completed=last.steps_completed)) as second:
        launch(parts, "torch_distributed", second)
    assert 0 < last.steps_completed < 12
    assert values(undisturbed) == values(first) + values(second)
    assert [steps for steps, _ in values(undisturbed)] == [4, 8, 12]
    assert sorted({steps for steps, _ in undisturbed.training}) == [2, 4, 6, 8, 10, 12]
    assert undisturbed.unexpected == first.unexpected == second.unexpected == []


def test_all_ranks_of_a_trial_that_the_searcher_stops_end_at_one_step(tmp_path: pathlib.Path) -> None:
    options = given()
    options["config"]["searcher"] = {"name": "adaptive_asha"}
    with fake_cluster(tmp_path, **options) as master:
        master.stop_after(validations=1)
        said = launch(tmp_path, "torch_distributed", master)
    assert all(f"rank {rank} has trained 4 steps" in said for rank in (0, 1))
    assert [steps for steps, _ in values(master)] == [4]
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [4]
    assert master.preemption_acks == 0 and master.unexpected == []


@pytest.mark.horovod
def test_trial_trains_under_determineds_horovod_launcher(tmp_path: pathlib.Path) -> None:
    need_horovod()
    with fake_cluster(tmp_path, **given()) as master:
        launch(tmp_path, "horovod", master)
    assert [steps for steps, _ in values(master)] == [4, 8, 12]
    assert master.unexpected == []
