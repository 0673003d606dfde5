"""Does an adaptive search end the trials that it has stopped, and with them the training that it saves?"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from cluster.experiments import BATCHES, TORCHRUN, TWO_SLOTS, Cluster, Run, fit, until

TRIALS = 9  # as many as it takes for the searcher to look after the first and after the third epoch
EPOCHS = 9
#: A trial goes on if it is among the better third of those that have come so far.
SEARCH: dict[str, Any] = {
    "hyperparameters": {"lr": {"type": "log", "base": 10, "minval": -4, "maxval": -1}, "seconds_per_batch": 0.05},
    "searcher": {
        "name": "adaptive_asha",
        "mode": "aggressive",
        "max_trials": TRIALS,
        "time_metric": "epochs",
        "max_time": EPOCHS,
        "divisor": 3,
        "max_rungs": 3,
        "max_concurrent_trials": 2,
    },
}


class Search(NamedTuple):
    """A search that has ended, and after how many batches of each stopped trial the searcher's word was seen."""

    run: Run
    stopped_at: dict[int, int]

    def batches(self) -> dict[int, int]:
        """The batches that each trial has trained."""
        return {trial.id: self.run.table("validation", trial)[-1][0] for trial in self.run.trials}


def watched(run: Run) -> Search:
    """Look at the states of all trials until the search has ended."""
    stopped_at: dict[int, int] = {}

    def look() -> bool:
        for trial in run.trials:
            described = run.described(trial)
            if described.state.name == "STOPPING_COMPLETED" and described.totalBatchesProcessed < EPOCHS * BATCHES:
                stopped_at.setdefault(trial.id, described.totalBatchesProcessed)
        return run.has_ended()

    until(look, f"the end of search {run.id}", limit_s=900)
    return Search(run.wait(), stopped_at)


@pytest.fixture(scope="module")
def search(real: Cluster) -> Search:
    return watched(real.start(fit(EPOCHS), SEARCH))


def test_a_stopped_trial_ends_with_the_epoch_after_which_it_was_stopped(search: Search) -> None:
    trained = search.batches()
    assert len(trained) == TRIALS
    assert {search.run.described(trial).state.name for trial in search.run.trials} == {"COMPLETED"}
    assert set(trained.values()) <= {BATCHES, 3 * BATCHES, EPOCHS * BATCHES}
    assert any(batches < EPOCHS * BATCHES for batches in trained.values())
    assert all(trained[trial] <= at + BATCHES for trial, at in search.stopped_at.items())


def test_a_stopped_trial_says_so_once_and_has_a_checkpoint_of_its_end(search: Search) -> None:
    for trial in search.run.trials:
        batches = search.batches()[trial.id]
        said = [line for line in search.run.log(trial).splitlines() if "the searcher has stopped this trial" in line]
        assert len(said) == (batches < EPOCHS * BATCHES)
        assert batches in [checkpoint.metadata["steps_completed"] for checkpoint in trial.list_checkpoints()]


def test_two_slots_stop_together(real: Cluster) -> None:
    # one after the other, and the largest loss is the best: of what this seed draws, some are stopped
    few = {"max_trials": 3, "max_concurrent_trials": 1, "smaller_is_better": False}
    found = watched(real.start(fit(EPOCHS, launcher=TORCHRUN), SEARCH, {"searcher": few}, TWO_SLOTS))
    assert min(found.batches().values()) < EPOCHS * BATCHES
    assert {found.run.described(trial).state.name for trial in found.run.trials} == {"COMPLETED"}
