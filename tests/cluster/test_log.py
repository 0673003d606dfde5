"""Does the task log say what a person needs, once?"""

from __future__ import annotations

import pytest

from cluster.conftest import EPOCHS
from cluster.experiments import BATCHES, TORCHRUN, TWO_SLOTS, Cluster, Run, fit


def lines_with(run: Run, *words: str) -> list[str]:
    return [line for line in run.log().splitlines() if all(word in line for word in words)]


def best_of(run: Run) -> str:
    return min(run.trial.list_checkpoints(), key=lambda found: found.training.validation_metrics["val_loss"]).uuid


def test_values_stand_there_for_each_validation(undisturbed: Run, two_slots: Run) -> None:
    for run in (undisturbed, two_slots):
        assert len(lines_with(run, "val_loss", f"{BATCHES * EPOCHS}")) >= 1
        for epoch in range(EPOCHS):
            value = run.table("validation")[epoch][1]["val_loss"]
            assert lines_with(run, "val_loss", f"{value:.4g}"[:4])


def test_the_end_names_the_reason_and_the_best_checkpoint(undisturbed: Run) -> None:
    assert lines_with(undisturbed, f"max_epochs={EPOCHS}")
    assert lines_with(undisturbed, "lightning-adapter fetch")


def test_early_stopping_says_that_it_has_stopped(real: Cluster) -> None:
    run = real.start(fit(30), {"hyperparameters": {"patience": 2}}).wait()
    assert run.table("validation")[-1][0] == 3 * BATCHES
    assert lines_with(run, "EarlyStopping")


def test_a_resumed_run_says_from_what(real: Cluster) -> None:
    dies = {"hyperparameters": {"dies_at": 2 * BATCHES + 7}}
    run = real.start(fit(3, "--checkpoint-period", "5"), dies, max_restarts=1).wait()
    uuids = [checkpoint.uuid for checkpoint in run.trial.list_checkpoints()]
    assert any(lines_with(run, "resum", uuid) for uuid in uuids)


def test_weights_of_another_trial_are_told(real: Cluster, undisturbed: Run) -> None:
    run = real.start(fit(1), {"searcher": {"source_trial_id": undisturbed.trial.id}}).wait()
    assert any(lines_with(run, "weights", checkpoint.uuid) for checkpoint in undisturbed.trial.list_checkpoints())


def test_the_last_batch_is_validated_whatever_the_period(real: Cluster) -> None:
    run = real.start(fit(2), min_validation_period={"batches": 12}).wait()
    assert [step for step, _ in run.table("validation")] == [12, 24, 2 * BATCHES]
    assert run.progress == 1.0


# --- errors -----------------------------------------------------------------------------------------------------------


def failed(real: Cluster, entrypoint: str, *configs: dict, **keys: object) -> Run:
    """A run that has ended with one line of this package's; a traceback can be a launcher's alone, after it."""
    run = real.start(entrypoint, *configs, **keys).wait("ERROR")
    assert len(lines_with(run, "lightning-adapter: error:")) == 1
    assert "Traceback" not in run.log().partition("lightning-adapter: error:")[0]
    assert TORCHRUN in entrypoint or not lines_with(run, "Traceback")
    return run


def test_several_slots_without_a_launcher(real: Cluster) -> None:
    run = failed(real, fit(1), TWO_SLOTS)
    assert lines_with(run, "determined.launch.torch_distributed")


@pytest.mark.parametrize("launcher", ["", TORCHRUN])
def test_a_missing_hyperparameter_is_told_once(real: Cluster, launcher: str) -> None:
    slots = {"resources": {"slots_per_trial": 2 if launcher else 1}}
    missing = {"lrr": 0.1, "width": 4, "global_batch_size": 10}
    run = failed(real, fit(1, launcher=launcher), slots, hyperparameters=missing)
    assert lines_with(run, "lightning-adapter: error:", "'lr'", "did you mean 'lrr'?")


def test_a_missing_batch_size(real: Cluster) -> None:
    run = failed(real, fit(1), hyperparameters={"lr": 0.1, "width": 4})
    assert lines_with(run, "global_batch_size")


def test_a_metric_that_nobody_logs_is_told_before_an_epoch_is_trained(real: Cluster) -> None:
    run = failed(real, fit(2), {"searcher": {"metric": "val_los"}, "hyperparameters": {"seconds_per_batch": 0.2}})
    assert lines_with(run, "val_los", "val_loss")
    assert run.described(run.trial).totalBatchesProcessed < BATCHES
