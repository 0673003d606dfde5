"""Does a trial that its searcher has stopped end soon, on one word, and as Lightning ends a run that is to stop?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import determined
import pytest
import pytorch_lightning as pl
import torch
from determined import pytorch
from determined.common.api import bindings

from fake_master import STOPPED, FakeMaster
from lightning_adapter import LightningAdapter, fit
from lightning_adapter.platform import searcher
from lightning_adapter.platform.searcher import TrialState
from parity.models import flavour
from two_ways import by_lightning, weights

models = flavour("pytorch_lightning", ours=True)
plain = flavour("pytorch_lightning", ours=False)
EPOCH = 6  # batches of models.Data
ADAPTIVE = {"name": "adaptive_asha", "metric": "val_loss", "time_metric": "epochs", "max_time": 3}
LINE = "the searcher has stopped this trial"


class Calls(pl.Callback):
    """Writes down the hooks that say how far a run is."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.names.append("validation_end")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.names.append(f"train_epoch_end {trainer.current_epoch}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.names.append(f"train_end {trainer.global_step}")

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self.names.append("fit_end")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.names.append("teardown")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.names.append(f"exception {exception!r}")


class StopsInValidation(pl.Callback):
    """Asks Lightning's Trainer to stop when its n-th validation ends, as the searcher does here."""

    def __init__(self, validations: int) -> None:
        self.left = validations

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.left -= 1
        trainer.should_stop = self.left <= 0


def trial_of(calls: Calls, module: Callable[[], Any] = models.Net, **arguments: Any) -> type[LightningAdapter]:
    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            given = {"max_epochs": 3, "enable_model_summary": False, "log_every_n_steps": 2, **arguments}
            super().__init__(context, module(), models.Data(), callbacks=[calls], **given)

    return Trial


def questions(master: FakeMaster) -> int:
    """How often the trial was asked for; once Determined does by itself."""
    return sum(request.method == "GET" and request.path == "/api/v1/trials/1" for request in master.requests) - 1


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if LINE in record.message]


def stopped_by_lightning(
    tmp_path: Path, seed: int, validations: int, **arguments: Any
) -> tuple[torch.nn.Module, Calls]:
    calls = Calls()
    pl.seed_everything(seed)
    module = plain.Net()
    given = {"max_epochs": 3, "log_every_n_steps": 2, **arguments}
    by_lightning(tmp_path)(module, plain.Data(), callbacks=[StopsInValidation(validations), calls], **given)
    return module, calls


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lightning_adapter")


@pytest.mark.parametrize(
    ("validations", "arguments", "ends_at"),
    [(1, {}, 6), (2, {}, 12), (1, {"val_check_interval": 2}, 2), (4, {"val_check_interval": 2}, 8)],
)
def test_stopped_trial_ends_as_lightnings_run_that_is_to_stop(
    cluster: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, validations: int, arguments: Any, ends_at: int
) -> None:
    calls = Calls()
    with cluster(trial_seed=4, config={"searcher": ADAPTIVE}) as master:
        master.stop_after(validations=validations)
        trial = fit(trial_of(calls, **arguments))
    module, expected = stopped_by_lightning(tmp_path, 4, validations, **arguments)
    assert torch.equal(weights(trial.lightning_module), weights(module))
    assert calls.names == expected.names
    assert trial.lightning_module.trainer.state.finished
    assert master.checkpoints[-1].steps_completed == ends_at == master.validation[-1][0]
    assert len(master.validation) == validations == questions(master)
    assert master.preemption_acks == 0 and master.early_exits == []
    assert told(caplog) == [f"training has ended at epoch {(ends_at - 1) // EPOCH + 1}/3, {ends_at} batches: {LINE}"]
    assert trial.latest_checkpoint_uuid == master.checkpoints[-1].uuid


def test_minima_of_the_trial_do_not_hold_it(cluster: Any) -> None:
    with cluster(config={"searcher": ADAPTIVE}) as master:
        master.stop_after(validations=1)
        fit(trial_of(Calls(), min_epochs=2, min_steps=15))
    assert [done for done, _ in master.validation] == [6]


def test_stopped_within_accumulation_it_ends_with_the_optimizer_step(cluster: Any) -> None:
    with cluster(config={"searcher": ADAPTIVE}) as master:
        master.stop_after(validations=1)
        fit(trial_of(Calls(), accumulate_grad_batches=3, val_check_interval=2, log_every_n_steps=1))
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [3]
    assert [done for done, _ in master.validation] == [2]


@pytest.mark.parametrize(("policy", "expected"), [("none", [12]), ("best", [6, 12]), ("all", [6, 12])])
def test_last_checkpoint_is_there_whatever_the_policy(cluster: Any, policy: str, expected: list[int]) -> None:
    with cluster(trial_seed=4, config={"searcher": ADAPTIVE, "checkpoint_policy": policy}) as master:
        master.stop_after(validations=2)
        fit(trial_of(Calls()))
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == expected


def test_preemption_that_comes_as_well_is_answered_once(cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls()
    with cluster(config={"searcher": ADAPTIVE}) as master:
        master.stop_after(validations=1)

        class Preempts(models.Net):
            def on_validation_end(self) -> None:
                master.preempt()

        fit(trial_of(calls, Preempts))
    assert master.preemption_acks == 1
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [6]
    assert calls.names.count("teardown") == 1 and len(told(caplog)) <= 1


@pytest.mark.parametrize("name", ["adaptive_asha", "single", "random", "grid", "async_halving"])
def test_question_is_asked_once_for_each_validation_but_the_last(
    cluster: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()
    with cluster(config={"searcher": {**ADAPTIVE, "name": name}}) as master:
        master.stop_after(validations=3)  # a searcher closes each trial that has come to its end
        fit(trial_of(calls))
    assert questions(master) == 2
    assert calls.names[-3:] == ["train_end 18", "fit_end", "teardown"] and told(caplog) == []


def test_stop_by_a_searcher_that_nobody_waits_for_is_found_at_a_later_look(cluster: Any) -> None:
    with cluster(config={"searcher": {**ADAPTIVE, "name": "random"}}) as master:
        master.stop_after(validations=1)
        fit(trial_of(Calls(), log_every_n_steps=1))
    assert [done for done, _ in master.validation] == [6]
    assert 6 <= master.checkpoints[-1].steps_completed < 12


def test_slow_answer_is_waited_for_so_that_no_batch_more_is_trained(cluster: Any) -> None:
    with cluster(config={"searcher": ADAPTIVE}) as master:
        master.slow(0.2)
        master.stop_after(validations=1)
        fit(trial_of(Calls(), log_every_n_steps=6))
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [6]


def test_answer_that_is_later_than_the_patience_is_found_at_a_later_look(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "ANSWER_S", 0.1)

    class Slow(models.Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.current_epoch:
                time.sleep(0.2)

    with cluster(config={"searcher": ADAPTIVE}) as master:
        master.slow(0.5, path="/api/v1/trials/1")
        master.stop_after(validations=1)
        fit(trial_of(Calls(), Slow, log_every_n_steps=6))
    assert 6 < master.checkpoints[-1].steps_completed <= 12


def test_trial_that_was_stopped_before_a_restart_ends_at_its_first_look(cluster: Any) -> None:
    with cluster(config={"searcher": ADAPTIVE}) as first:
        fit(trial_of(Calls()), max_epochs=1)
    last, calls = first.checkpoints[-1], Calls()
    again = {"latest_checkpoint": last.uuid, "steps_completed": last.steps_completed, "trial_run_id": 2}
    with cluster(config={"searcher": ADAPTIVE}, **again) as second:
        second.state = STOPPED
        fit(trial_of(calls))
    assert second.checkpoints[-1].steps_completed == EPOCH + 1
    assert calls.names[-3:] == ["train_end 7", "fit_end", "teardown"]


@pytest.mark.parametrize("arguments", [{}, {"val_check_interval": 2}])
def test_who_goes_on_from_its_checkpoint_trains_as_if_it_had_not_been_stopped(cluster: Any, arguments: Any) -> None:
    with cluster(trial_seed=4, config={"searcher": ADAPTIVE}):
        whole = fit(trial_of(Calls(), **arguments))
    with cluster(trial_seed=4, config={"searcher": ADAPTIVE}) as first:
        first.stop_after(validations=1)
        fit(trial_of(Calls(), **arguments))
    last, reports = first.checkpoints[-1], first.validation
    again = {"latest_checkpoint": last.uuid, "steps_completed": last.steps_completed, "trial_run_id": 2}
    with cluster(trial_seed=4, latest_validation=reports[-1][0], **again) as second:
        resumed = fit(trial_of(Calls(), **arguments))
    assert torch.equal(weights(resumed.lightning_module), weights(whole.lightning_module))
    assert {done for done, _ in reports}.isdisjoint(done for done, _ in second.validation)


STATES = {state.value for state in bindings.trialv1State}
STOPPED_STATES = {"STATE_STOPPING_COMPLETED", "STATE_COMPLETED"}
ENDED_STATES = {
    f"STATE_{name}" for name in ("STOPPING_CANCELED", "CANCELED", "STOPPING_KILLED", "STOPPING_ERROR", "ERROR")
}


@pytest.mark.parametrize("state", sorted(STATES))
def test_every_state_that_a_master_knows_is_understood(cluster: Any, state: str) -> None:
    calls = Calls()
    with cluster(config={"searcher": ADAPTIVE}) as master:
        master.state = state
        fit(trial_of(calls), max_epochs=2)
    ended = state in STOPPED_STATES | ENDED_STATES
    assert [done for done, _ in master.validation] == ([6] if ended else [6, 12])
    assert master.checkpoints[-1].steps_completed == (6 if ended else 12)
    # a trial that was cancelled was not trained to its end, as where the signal tells it
    assert ("fit_end" in calls.names) == (state not in ENDED_STATES)
    assert master.preemption_acks == 0


def test_off_a_cluster_nobody_is_asked(tmp_path: Path) -> None:
    trial = fit(trial_of(Calls(), max_epochs=1), seed=1, run_dir=tmp_path / "run")
    assert not isinstance(trial.driver, type(None))
    assert "lightning_adapter_searcher" not in trial.build_callbacks()


# --- Determined's own Trainer ---------------------------------------------------------------------------------------


def train(trial_class: type[LightningAdapter], **arguments: Any) -> LightningAdapter:
    info = determined.get_cluster_info()
    assert info is not None
    given = {"max_length": pytorch.Epoch(3), "validation_period": pytorch.Epoch(1), **arguments}
    with pytorch.init(hparams=info.trial.hparams) as context:
        trial = trial_class(context)
        preempt = trial.context._core.preempt
        pytorch.Trainer(trial, context).fit(**given)
        assert trial.context._core.preempt is preempt  # what was listened with is gone
    return trial


@pytest.mark.parametrize("policy", ["none", "best"])
def test_stopped_trial_ends_under_determineds_own_trainer(
    cluster: Any, tmp_path: Path, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()
    with cluster(trial_seed=4, config={"searcher": ADAPTIVE}) as master:
        master.stop_after(validations=1)
        train(trial_of(calls), checkpoint_policy=policy)
    _, expected = stopped_by_lightning(tmp_path, 4, 1)
    assert calls.names == expected.names
    assert [done for done, _ in master.validation] == [6]
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [6]
    assert master.preemption_acks == 0 and questions(master) == 1 and len(told(caplog)) == 1


def test_trial_that_a_searcher_closes_at_its_full_length_is_not_said_to_be_stopped(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()
    with cluster(config={"searcher": ADAPTIVE}) as master:
        master.stop_after(validations=3)
        train(trial_of(calls, max_epochs=None), max_length=pytorch.Epoch(3))
    assert calls.names[-3:] == ["train_end 18", "fit_end", "teardown"]
    assert told(caplog) == [] and "full length of 3 epochs" in caplog.text


def test_preemption_under_determineds_own_trainer_is_answered_as_before(cluster: Any) -> None:
    calls = Calls()
    with cluster(config={"searcher": ADAPTIVE}) as master:
        master.preempt_after(steps=4)
        train(trial_of(calls), reporting_period=pytorch.Batch(2))
    assert master.preemption_acks == 1 and "train_end" not in " ".join(calls.names)


# --- when to ask, and how long to wait ----------------------------------------------------------------------------------


def test_validation_that_was_not_announced_is_not_asked_about() -> None:
    asked: list[int] = []
    state = TrialState(lambda: asked.append(1) or STOPPED, 0.0)
    state.reported()
    assert asked == [] and state.ended(may_wait=True) is None


def test_master_that_does_not_answer_is_waited_for_once() -> None:
    state = TrialState(lambda: STOPPED, 0.2)
    waits = []
    for _ in range(3):
        state.validated()
        begun = time.monotonic()
        assert state.ended(may_wait=True) is None
        waits.append(time.monotonic() - begun)
    assert waits[0] >= 0.2 and max(waits[1:]) < 0.1
    for _ in range(3):
        state.reported()
    assert state.ended(may_wait=True) == STOPPED
