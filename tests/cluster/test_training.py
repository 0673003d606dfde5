"""Does a trial train on the cluster, in all the ways in which one can be launched, and is the master told of it?"""

from __future__ import annotations

import pytest

from cluster.conftest import EPOCHS
from cluster.experiments import (
    BATCHES,
    HOROVODRUN,
    HYPERPARAMETERS,
    TORCHRUN,
    TWO_SLOTS,
    Cluster,
    Run,
    extra,
    fit,
    until,
)


def test_the_master_has_values_under_their_logged_names_and_the_progress(undisturbed: Run) -> None:
    ends = [BATCHES * (epoch + 1) for epoch in range(EPOCHS)]
    assert [steps for steps, _ in undisturbed.table("validation")] == ends
    assert {name for _, values in undisturbed.table("validation") for name in values} >= {"val_loss"}
    steps = [steps for steps, values in undisturbed.table("training") if "train_loss_step" in values]
    assert steps == [step for step in range(5, EPOCHS * BATCHES + 1, 5)]
    assert [step for step, values in undisturbed.table("training") if "train_loss_epoch" in values] == ends
    assert undisturbed.progress == 1.0
    assert undisturbed.trial.hparams == HYPERPARAMETERS


def test_two_slots_train_the_same_batches(undisturbed: Run, two_slots: Run) -> None:
    def steps(run: Run) -> list[int]:
        return [step for step, _ in run.table("validation")]

    assert steps(two_slots) == steps(undisturbed)
    last, alone = two_slots.table("validation")[-1][1], undisturbed.table("validation")[-1][1]
    assert last["val_loss"] == pytest.approx(alone["val_loss"], rel=0.5)  # normalized over half a batch each


def test_two_agents_are_two_slots(real: Cluster, two_slots: Run) -> None:
    where = extra("CLUSTER_TEST_TWO_AGENTS")
    if where is None:
        pytest.skip("CLUSTER_TEST_TWO_AGENTS names no pool of agents with one slot each")
    apart = real.start(fit(EPOCHS, launcher=TORCHRUN), TWO_SLOTS, where).wait()
    assert apart.outcome() == two_slots.outcome()


def test_horovod_is_two_slots(real: Cluster, two_slots: Run) -> None:
    probe = "python3 -c 'import horovod.torch' || { echo no-horovod; exit 0; }; "
    run = real.start(probe + fit(EPOCHS, launcher=HOROVODRUN), TWO_SLOTS).wait()
    if "no-horovod" in run.log().splitlines():  # the launcher repeats the command
        pytest.skip("the image has no Horovod")
    for (steps, values), (expected_steps, expected) in zip(
        run.table("validation"), two_slots.table("validation"), strict=True
    ):
        assert steps == expected_steps
        assert values["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-4)


@pytest.mark.parametrize("slots", [1, 2])
def test_the_classical_entrypoint_trains(real: Cluster, slots: int) -> None:
    searcher = {"name": "single", "metric": "val_loss", "max_length": {"epochs": 2}}
    run = real.start("model_def:Trial", {"resources": {"slots_per_trial": slots}}, searcher=searcher).wait()
    assert [step for step, _ in run.table("validation")][-1] == 2 * BATCHES
    assert run.progress == 1.0


def test_a_random_search_draws_values(real: Cluster) -> None:
    search = {
        "hyperparameters": {"lr": {"type": "log", "base": 10, "minval": -3, "maxval": -1}},
        "searcher": {"name": "random", "max_trials": 2},
    }
    run = real.start(fit(2), search).wait()
    rates = [trial.hparams["lr"] for trial in run.trials]
    assert len(set(rates)) == 2
    assert all(1e-3 <= rate <= 1e-1 for rate in rates)
    assert all(run.table("validation", trial)[-1][0] == 2 * BATCHES for trial in run.trials)


def test_checkpoints_are_made_and_deleted_as_their_policy_says(real: Cluster) -> None:
    storage = {"checkpoint_policy": "all", "checkpoint_storage": {"save_trial_best": 0, "save_trial_latest": 1}}
    run = real.start(fit(3), storage).wait()
    ends = [BATCHES, 2 * BATCHES, 3 * BATCHES]
    assert sorted(step for steps in run.checkpoints().values() for step in steps) == ends
    until(lambda: "DELETED" in run.checkpoints(), "the deletion of checkpoints")
    until(lambda: run.checkpoints() == {"COMPLETED": ends[2:], "DELETED": ends[:2]}, "the deletion of two checkpoints")


def test_files_of_tensorboard_reach_the_storage(real: Cluster, undisturbed: Run) -> None:
    storage = real.storage(undisturbed)
    if storage is None:
        pytest.skip("the cluster's storage is no directory of this machine")
    pattern = f"*/tensorboard/experiment/{undisturbed.id}/trial/{undisturbed.trial.id}/**/*tfevents*"
    assert list(storage.glob(pattern))
