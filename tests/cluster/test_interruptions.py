"""Does a run that something interrupts end as one that nothing interrupts, to the last bit?"""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

import pytest
from determined.common import util
from determined.common.api import bindings

from cluster.conftest import EPOCHS
from cluster.experiments import BATCHES, SLOW, TORCHRUN, TWO_SLOTS, Cluster, Run, fit, until


def run_command(variable: str) -> None:
    subprocess.run(os.environ[variable], shell=True, check=True)


def needs(*variables: str) -> Any:
    missing = [name for name in variables if name not in os.environ]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} say no command")


def test_paused_and_activated(real: Cluster, undisturbed: Run) -> None:
    run = real.start(fit(EPOCHS), SLOW).wait_for_batches(BATCHES + 5)
    run.experiment.pause()
    until(lambda: not run.experiment.reload() and run.state == "PAUSED", "the pause")
    until(lambda: run.described(run.trial).state.name == "PAUSED", "the trial's pause")
    run.experiment.activate()
    assert run.wait().outcome() == undisturbed.outcome()
    assert run.restarts == 0


def test_paused_and_activated_on_two_slots(real: Cluster, two_slots: Run) -> None:
    run = real.start(fit(EPOCHS, launcher=TORCHRUN), SLOW, TWO_SLOTS)
    run.wait_for_batches(BATCHES + 5).experiment.pause()
    until(lambda: run.described(run.trial).state.name == "PAUSED", "the trial's pause")
    run.experiment.activate()
    assert run.wait().outcome() == two_slots.outcome()


def test_killed_and_restarted(real: Cluster, undisturbed: Run) -> None:
    dies = {"hyperparameters": {"dies_at": 2 * BATCHES + 7}}
    run = real.start(fit(EPOCHS, "--checkpoint-period", "5"), dies, max_restarts=1).wait()
    assert run.restarts == 1
    assert run.outcome() == undisturbed.outcome()


def test_preempted_by_a_higher_priority(real: Cluster, undisturbed: Run) -> None:
    pool = real.resource_pool()
    if pool.schedulerType.name != "PRIORITY":
        pytest.skip("the pool's scheduler knows no priorities")
    if not 1 <= pool.slotsAvailable <= 4:
        pytest.skip("the pool has too many slots to fill them all")
    run = real.start(fit(EPOCHS), SLOW, {"resources": {"priority": 50}}).wait_for_batches(BATCHES + 5)
    urgent = {"priority": 1, "slots_per_trial": pool.slotsAvailable}
    other = real.start("sleep 1", resources={**real.config.get("resources", {}), **urgent}).wait()
    assert other.experiment.id != run.id
    assert run.wait().outcome() == undisturbed.outcome()
    assert run.restarts == 0
    assert run.described(run.trial).runnerState is not None


def test_cancelled_with_a_checkpoint(real: Cluster) -> None:
    run = real.start(fit(200), SLOW).wait_for_batches(5)
    began = time.monotonic()
    run.experiment.cancel()
    run.wait("CANCELED")
    assert time.monotonic() - began < 30
    assert run.checkpoints()["COMPLETED"]


def test_continued_to_more_epochs(real: Cluster, undisturbed: Run) -> None:
    run = real.start(fit(EPOCHS - 2)).wait()
    overrides = util.yaml_safe_dump({"entrypoint": fit(EPOCHS)})
    bindings.post_ContinueExperiment(
        run.session, body=bindings.v1ContinueExperimentRequest(id=run.id, overrideConfig=overrides)
    )
    until(lambda: run.state not in ("COMPLETED",), "the second run")
    run.wait()
    assert run.table("validation") == undisturbed.table("validation")
    assert run.table("training") == undisturbed.table("training")
    assert run.log().splitlines()[-1] != ""
    assert undisturbed.weights() in run.log()


def test_started_from_the_weights_of_another_trial(real: Cluster, undisturbed: Run) -> None:
    run = real.start(fit(1), {"searcher": {"source_trial_id": undisturbed.trial.id}}).wait()
    assert [step for step, _ in run.table("validation")] == [BATCHES]
    first = undisturbed.table("validation")[0][1]["val_loss"]
    assert run.table("validation")[0][1]["val_loss"] < first


@needs("CLUSTER_TEST_KILL_MASTER", "CLUSTER_TEST_START_MASTER")
def test_master_killed_and_back(real: Cluster, undisturbed: Run) -> None:
    run = real.start(fit(EPOCHS), SLOW).wait_for_batches(BATCHES + 5)
    run_command("CLUSTER_TEST_KILL_MASTER")
    time.sleep(20)
    run_command("CLUSTER_TEST_START_MASTER")
    assert run.wait().outcome() == undisturbed.outcome()
    assert run.restarts == 0


@needs("CLUSTER_TEST_KILL_AGENT", "CLUSTER_TEST_START_AGENT")
def test_agent_killed_and_back(real: Cluster, undisturbed: Run) -> None:
    run = real.start(fit(EPOCHS, "--checkpoint-period", "5"), SLOW, max_restarts=2).wait_for_batches(BATCHES + 5)
    run_command("CLUSTER_TEST_KILL_AGENT")
    time.sleep(5)
    run_command("CLUSTER_TEST_START_AGENT")
    assert run.wait().outcome() == undisturbed.outcome()
