"""A trial of two slots, started by Determined's own launchers: it trains, is preempted, and goes on."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import pytest

from fake_master import FakeMaster, complete_config, fake_cluster

from .launching import HERE, need_horovod

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

MODEL_DEF = """
import sys
sys.path.insert(0, {here!r})
import cases
import pytorch_lightning
import lightning_adapter

class Data(cases.Data):
    def __init__(self, batch):
        super().__init__(count=32, val=(10,), batch=batch)

class TellsItsEnd(cases.pl.Callback):
    def on_train_end(self, trainer, pl_module):
        print("rank", trainer.global_rank, "has trained", trainer.global_step, "steps", flush=True)

class Trial(lightning_adapter.LightningAdapter):
    def __init__(self, context):
        pytorch_lightning.seed_everything(context.get_trial_seed())  # `fit` does; Determined seeds torch alone
        data = Data(context.get_per_slot_batch_size())
        super().__init__(context, cases.Net(), data, logger=False, log_every_n_steps=2, enable_progress_bar=False,
                         callbacks=[TellsItsEnd()])
"""


FIT = (sys.executable, "-m", "lightning_adapter", "fit", "model_def:Trial", "--max-epochs", "3")


def launch(folder: pathlib.Path, launcher: str, master: FakeMaster, entrypoint: Sequence[str] = FIT) -> str:
    (folder / "model_def.py").write_text(textwrap.dedent(MODEL_DEF).format(here=str(HERE)))
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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FakeMaster:
    """What a master was told by a trial that nothing interrupts."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with fake_cluster(folder, **given()) as master:
        launch(folder, "torch_distributed", master)
    return master


def test_preempted_trial_ends_as_an_undisturbed_one(tmp_path: pathlib.Path, undisturbed: FakeMaster) -> None:
    with fake_cluster(tmp_path, **given()) as first:
        first.preempt_after(reports=3)
        launch(tmp_path, "torch_distributed", first)
    last = first.checkpoints[-1]
    with fake_cluster(tmp_path, **given(latest_checkpoint=last.uuid, steps_completed=last.steps_completed)) as second:
        launch(tmp_path, "torch_distributed", second)
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


def test_master_that_fails_for_a_while_changes_nothing_of_two_ranks(
    tmp_path: pathlib.Path, undisturbed: FakeMaster
) -> None:
    with fake_cluster(tmp_path, **given()) as master:
        master.fail(".*/runs/start", "POST", times=2)  # each rank begins with it
        for path in (".*/metrics", ".*/checkpoints"):
            master.fail(path, "POST", stored=True)
        master.fail(".*/best_searcher_validation_metric", "GET", times=3)
        said = launch(tmp_path, "torch_distributed", master)
    assert master.metrics == undisturbed.metrics
    assert [one.steps_completed for one in master.checkpoints] == [
        one.steps_completed for one in undisturbed.checkpoints
    ]
    assert undisturbed.unexpected == master.unexpected == []
    assert "the master answers again" in said


@pytest.mark.horovod
def test_trial_trains_under_determineds_horovod_launcher(tmp_path: pathlib.Path) -> None:
    need_horovod()
    with fake_cluster(tmp_path, **given()) as master:
        launch(tmp_path, "horovod", master)
    assert [steps for steps, _ in values(master)] == [4, 8, 12]
    assert master.unexpected == []


def test_entrypoint_that_names_the_class_trains_on_two_slots_as_fit_does(
    tmp_path: pathlib.Path, undisturbed: FakeMaster
) -> None:
    config = {**given()["config"], **complete_config("model_def:Trial", epochs=3)}
    with fake_cluster(tmp_path, **given(config=config)) as by_name:
        launch(tmp_path, "torch_distributed", by_name, ["--trial", "model_def:Trial"])
    assert values(by_name) == values(undisturbed)
    assert by_name.checkpoints[-1].steps_completed == 12
    # the steps' values from the adapter, and the two counts from Determined's loop, as with one slot
    logged = [
        (steps, {name: value for name, value in metrics.items() if name not in ("batches", "epochs")})
        for steps, metrics in undisturbed.training
    ]
    assert [report for report in by_name.training if "batches" not in report[1]] == logged
    counts = [(steps, metrics) for steps, metrics in by_name.training if "batches" in metrics]
    assert counts == [(steps, {"batches": steps, "epochs": steps // 4}) for steps in (2, 4, 6, 8, 10, 12)]
    assert by_name.unexpected == []
