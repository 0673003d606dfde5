"""Does a managed trial survive a master that is away, slow or faulty, with each report delivered once?"""

from __future__ import annotations

import io
import logging
import random
import re
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import torch
from determined import pytorch
from determined.common.api import errors

from fake_master import FakeMaster, fake_cluster
from lightning_adapter import cli, fit
from lightning_adapter.errors import ConfigurationError, MasterAwayError
from lightning_adapter.platform.master.outage import Outage, Repetition, Unanswered
from lightning_adapter.platform.master.receipt import is_refusal
from parity.models import flavour
from test_cluster import Refuses, preempting, trial_of, weights
from test_determined_trainer import train

models = flavour("pytorch_lightning", ours=True)

METRICS, PROGRESS, STATUS, CHECKPOINTS = ".*/metrics", ".*/progress", ".*/runner/metadata", ".*/checkpoints"
TRIAL, BEST, START, POLL = (
    ".*/trials/[0-9]+",
    ".*/best_searcher_validation_metric",
    ".*/runs/start",
    ".*/signals/preemption",
)
BEST_PATH = "/api/v1/experiments/1/searcher/best_searcher_validation_metric"
KINDS = {
    "start": (START, "POST"),
    "last validation": (TRIAL, "GET"),
    "preemption": (POLL, "GET"),
    "status": (STATUS, "POST"),
    "training metrics": (METRICS, "POST"),
    "progress": (PROGRESS, "POST"),
    "best validation": (BEST, "GET"),
    "checkpoint": (CHECKPOINTS, "POST"),
}


class Left(NamedTuple):
    """What a run leaves on the master and in the module."""

    metrics: list[Any]
    progress: list[float]
    checkpoints: list[int]
    weights: torch.Tensor

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Left)
        return self[:3] == other[:3] and torch.equal(self.weights, other.weights)


def left(master: FakeMaster, trial: Any) -> Left:
    assert master.unexpected == []
    steps = [checkpoint.steps_completed for checkpoint in master.checkpoints]
    # a master keeps the last progress alone, so that the same one may be told twice
    progress = [one for one, before in zip(master.progress, [None, *master.progress]) if one != before]  # noqa: B905
    return Left(master.metrics, progress, steps, weights(trial))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Left:
    with fake_cluster(tmp_path_factory.mktemp("undisturbed"), trial_seed=3) as master:
        return left(master, fit(trial_of()))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about outages, each by its first words."""
    lines = [record.getMessage() for record in caplog.records if record.name == "lightning_adapter"]
    found = [re.match(r"the master (does not answer|answers again)", line) for line in lines]
    return [match.group(1) for match in found if match]


# --- one fault --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [False, True], ids=["lost", "answer lost"])
@pytest.mark.parametrize("status", [503, 500, 0], ids=["503", "500", "connection dropped"])
def test_a_fault_at_each_kind_of_request_loses_and_doubles_nothing(
    cluster: Any, undisturbed: Left, status: int, stored: bool
) -> None:
    with cluster(trial_seed=3) as master:
        for path, method in KINDS.values():
            master.fail(path, method, status=status, stored=stored)
        trial = fit(trial_of())
    assert left(master, trial) == undisturbed


@pytest.mark.parametrize("kind", KINDS)
def test_two_faults_of_one_kind_in_a_row(cluster: Any, undisturbed: Left, kind: str) -> None:
    with cluster(trial_seed=3) as master:
        master.fail(*KINDS[kind], times=2, stored=True)
        trial = fit(trial_of())
    assert left(master, trial) == undisturbed


def test_a_question_after_a_lost_answer_may_fail_too(cluster: Any, undisturbed: Left) -> None:
    with cluster(trial_seed=3) as master:
        for path, question in ((METRICS, ".*/trial_metrics"), (CHECKPOINTS, ".*/checkpoints/.*")):
            master.fail(path, "POST", stored=True)
            master.fail(question, "GET", times=2)
        trial = fit(trial_of())
        asked = [request for request in master.requests if request.path.endswith("/trial_metrics")]
    assert left(master, trial) == undisturbed
    assert len(asked) == 3


def test_too_many_requests_are_repeated_when_the_master_says(cluster: Any, undisturbed: Left) -> None:
    with cluster(trial_seed=3) as master:
        master.fail(METRICS, "POST", status=429, retry_after=1)
        began = time.monotonic()
        trial = fit(trial_of())
        took = time.monotonic() - began
        asked = [request for request in master.requests if request.path.endswith("/trial_metrics")]
    assert left(master, trial) == undisturbed
    assert took >= 1 and asked == []  # refused before anything was stored


@pytest.mark.parametrize("seconds", ["0", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_master_that_asks_for_no_pause_is_not_asked_without_one(seconds: str) -> None:
    response = requests.Response()
    response.headers["Retry-After"] = seconds
    repetition = Repetition(Outage("http://master", 0.8), "POST /metrics", listens=False)
    tries = 0
    with pytest.raises(MasterAwayError):
        while True:
            tries += 1
            repetition.failed(Unanswered("503", response, may_have_arrived=False))
    assert 2 <= tries <= 4  # at once, then after half a second or less


def test_preemption_is_acknowledged_though_the_first_answer_is_lost(cluster: Any) -> None:
    with cluster(trial_seed=3) as master:
        master.fail(".*/ack_preemption", "POST", times=2)
        fit(trial_of(preempting(3, master)))
    assert master.preemption_acks == 1
    assert master.checkpoints[-1].steps_completed == 4


def test_early_exit_is_reported_though_the_master_fails_once(cluster: Any) -> None:
    with cluster() as master:
        master.fail(".*/early_exit", "POST")
        with pytest.raises(SystemExit) as ended:
            fit(trial_of(Refuses))
    assert ended.value.code == 0
    assert master.early_exits == ["EXITED_REASON_INVALID_HP"]


def test_an_outage_is_told_once_and_so_is_its_end(cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lightning_adapter")
    with cluster() as master:
        master.fail_for(1.5, PROGRESS + "|" + METRICS + "|" + STATUS + "|" + BEST)
        fit(trial_of())
    assert told(caplog) == ["does not answer", "answers again"]


def test_waiting_draws_no_random_number(cluster: Any) -> None:
    with cluster(trial_seed=3) as master:
        fit(trial_of())
        expected = random.getstate(), torch.random.get_rng_state()
    with cluster(trial_seed=3) as master:
        master.fail(METRICS, times=3)
        fit(trial_of())
        assert random.getstate() == expected[0]
        assert torch.equal(torch.random.get_rng_state(), expected[1])


# --- a master that is away --------------------------------------------------------------------------------------------


class Disturbs(models.Net):
    """Does something to the master in the middle of the third batch, and notes when its last one was trained."""

    disturb: Any = None
    ended_at = 0.0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.trainer.fit_loop.epoch_loop.total_batch_idx == 2:
            self.disturb()

    def on_train_batch_end(self, *args: Any) -> None:
        self.ended_at = time.monotonic()


def disturbing(disturb: Any) -> Disturbs:
    module = Disturbs()
    module.disturb = disturb
    return module


@pytest.mark.parametrize("how", ["fail_for", "leave_for"])
def test_a_master_that_is_away_changes_nothing(cluster: Any, undisturbed: Left, how: str) -> None:
    with cluster(trial_seed=3) as master:
        trial = fit(trial_of(lambda: disturbing(lambda: getattr(master, how)(2.0))))
    assert left(master, trial)[:1] == undisturbed[:1] and left(master, trial).checkpoints == undisturbed.checkpoints
    assert master.progress[-1] == 1.0 and torch.equal(weights(trial), undisturbed.weights)


def test_training_goes_on_while_the_master_is_away(cluster: Any) -> None:
    """No validation asks the master for anything, so that nothing waits; the last report is delivered before the end."""
    module = disturbing(lambda: master.fail_for(2.0))
    with cluster(config={"checkpoint_policy": "none", "min_checkpoint_period": {"batches": 8}}) as master:
        fit(trial_of(lambda: module, limit_val_batches=0, num_sanity_val_steps=0))
        ended = time.monotonic()
    assert ended - module.ended_at >= 1.5
    assert [done for done, _ in master.training][-1] == 12 and master.progress[-1] == 1.0
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [8, 12]


def test_the_thread_that_trains_sends_no_report(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A master may take as long as it likes: what costs time is the request, and it is another thread's."""
    sent: list[str] = []
    send = requests.adapters.HTTPAdapter.send

    def noting(self: Any, request: Any, *rest: Any, **more: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            sent.append(f"{request.method} {request.path_url}")
        return send(self, request, *rest, **more)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", noting)
    with cluster() as master:
        fit(trial_of())
    assert sent == ["POST /api/v1/runs/start", "GET /api/v1/trials/1", *["GET " + BEST_PATH] * len(master.validation)]


def test_a_checkpoint_is_reported_before_the_next_one_is_made(cluster: Any) -> None:
    config = {"checkpoint_policy": "none", "min_checkpoint_period": {"batches": 4}}
    made: list[int] = []

    class Notes(models.Net):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            made.append(len(master.checkpoints))

    with cluster(config=config) as master:
        master.fail(CHECKPOINTS, "POST", times=2)
        fit(trial_of(Notes, limit_val_batches=0))
    # the content is made by all ranks, then the chief waits with the file
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [4, 8, 12]
    assert made[0] == 0 and made[2] >= 1


def test_a_checkpoint_that_is_deleted_at_once_is_reported_before_that(cluster: Any) -> None:
    class Deletes(pytorch.PyTorchCallback):
        def on_checkpoint_upload_end(self, uuid: str) -> None:
            self.trial.context._core.checkpoint.delete(uuid)

    class Trial(trial_of(max_epochs=1)):  # type: ignore[misc]
        def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
            deletes = Deletes()
            deletes.trial = self
            return {**super().build_callbacks(), "deletes": deletes}

    with cluster() as master:
        master.fail(CHECKPOINTS, "POST", times=2)
        fit(Trial)
        sent = [request.method for request in master.requests if re.fullmatch(CHECKPOINTS, request.path)]
    assert sent == ["POST", "POST", "POST", "PATCH"]
    assert len(master.deleted_checkpoints) == 1


def test_a_run_whose_reports_cannot_be_delivered_fails_in_time(cluster: Any) -> None:
    with cluster() as master:
        began = time.monotonic()
        with pytest.raises(MasterAwayError, match=r"master_timeout|LIGHTNING_ADAPTER_MASTER_TIMEOUT"):
            fit(trial_of(lambda: disturbing(lambda: master.fail_for(60.0))), master_timeout=1.0)
        assert time.monotonic() - began < 20


def test_the_last_report_that_cannot_be_delivered_fails_the_run(cluster: Any) -> None:
    with cluster(config={"checkpoint_policy": "none"}) as master:
        master.fail_for(60.0, CHECKPOINTS, "POST")
        with pytest.raises(MasterAwayError, match="503"):
            fit(trial_of(), master_timeout=0.5)
    assert [done for done, _ in master.validation] == [6, 12]


class BreaksWithoutMaster(models.Net):
    master: Any = None

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 4:
            self.master.fail_for(60.0)
            self.log("last", 1.0, on_step=True)
        if batch_idx == 5:
            raise RuntimeError("broken step")
        return super().training_step(batch, batch_idx)


def test_an_error_of_the_module_is_what_is_seen_though_the_master_is_away(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with cluster() as master:
        module = BreaksWithoutMaster()
        module.master = master
        with pytest.raises(RuntimeError, match="broken step"):
            fit(trial_of(lambda: module, log_every_n_steps=1), master_timeout=0.5)
    assert "have not reached the master" in caplog.text


def test_the_command_ends_with_one_line_and_status_one(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outage_model_def.py").write_text(
        "from test_cluster import trial_of\n\nTrial = trial_of(max_epochs=1)\n"
    )
    monkeypatch.chdir(tmp_path)
    with cluster() as master:
        master.fail_for(60.0, METRICS, "POST")
        assert cli.main(["fit", "outage_model_def:Trial", "--master-timeout", "0.5"]) == 1
    error = capsys.readouterr().err
    assert "has not answered for" in error and "Traceback" not in error


def test_a_master_that_is_away_when_the_trial_begins_is_waited_for(cluster: Any) -> None:
    with cluster() as master:
        master.leave_for(1.5)
        fit(trial_of(max_epochs=1))
    assert [done for done, _ in master.validation] == [6]


def test_a_master_that_stays_away_when_the_trial_begins_fails_it(cluster: Any) -> None:
    with cluster() as master:
        master.fail_for(60.0)
        with pytest.raises(MasterAwayError, match="not answered"):
            fit(trial_of(max_epochs=1), master_timeout=1.0)


def test_nobody_is_told_that_signals_are_not_listened_for_any_more(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(threading.enumerate())
    with cluster() as master:
        with pytest.raises(MasterAwayError):
            fit(trial_of(lambda: disturbing(lambda: master.fail_for(60.0))), master_timeout=1.0)
        watchers = [each for each in set(threading.enumerate()) - before if type(each).__name__ == "_PreemptionWatcher"]
        for watcher in watchers:
            watcher.join(3.0)
    assert not any(watcher.is_alive() for watcher in watchers)
    assert "preemption API" not in caplog.text


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["training metrics", "progress", "status", "checkpoint"])
def test_a_refusal_is_an_error_at_once_in_the_masters_words(cluster: Any, kind: str) -> None:
    path, method = KINDS[kind]
    with cluster() as master:
        master.fail(path, method, status=400, times=100)
        with pytest.raises(errors.APIException, match="fault of the test"):
            fit(trial_of())
        sent = [request for request in master.requests if request.method == method and re.fullmatch(path, request.path)]
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, errors.UnauthenticatedException), (403, errors.ForbiddenException), (400, errors.APIException)],
)
def test_a_refusal_when_the_trial_begins_is_not_taken_for_a_master_that_is_away(
    cluster: Any, status: int, kind: type[Exception]
) -> None:
    with cluster() as master:
        master.fail(START, "POST", status=status, times=100)
        with pytest.raises(kind):
            fit(trial_of())
        assert len([request for request in master.requests if re.fullmatch(START, request.path)]) == 1


@pytest.mark.parametrize(
    ("status", "words", "refused"),
    [
        (500, "overwriting existing metric keys is not supported, conflicting key: loss", True),
        (500, "inserting metrics: connection refused", False),
        (503, "overwriting existing metric keys", False),
    ],
)
def test_a_conflict_that_the_master_calls_a_fault_of_its_own_is_a_refusal(
    status: int, words: str, refused: bool
) -> None:
    response = requests.Response()
    response.status_code, response.raw = status, io.BytesIO(words.encode())
    assert is_refusal(response) is refused


# --- Determined's own Trainer -----------------------------------------------------------------------------------------


def test_determineds_own_trainer_survives_too(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_determined() -> Any:
        periods = {"reporting_period": pytorch.Batch(2), "validation_period": pytorch.Batch(6)}
        return train(trial_of(), seed=None, max_length=pytorch.Batch(12), **periods)

    with cluster(trial_seed=3) as whole:
        expected = by_determined()
    with cluster(trial_seed=3) as master:
        for kind, (path, method) in KINDS.items():
            if kind != "start":  # sent before there is a trial
                master.fail(path, method, stored=True)
        trial = by_determined()
    assert left(master, trial) == left(whole, expected)
    monkeypatch.setenv("LIGHTNING_ADAPTER_MASTER_TIMEOUT", "0.5")
    with cluster(trial_seed=3) as master:
        master.fail_for(60.0, METRICS)
        with pytest.raises(MasterAwayError):
            by_determined()


# --- how long ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [-1, float("nan"), float("inf"), "60", True])
def test_a_timeout_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"master_timeout={given!r} has to be a number of seconds"):
        fit(trial_of(), master_timeout=given)


def test_a_timeout_in_the_environment_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_ADAPTER_MASTER_TIMEOUT", "10 minutes")
    with pytest.raises(ConfigurationError, match="LIGHTNING_ADAPTER_MASTER_TIMEOUT='10 minutes'"):
        fit(trial_of())


def test_a_timeout_that_is_given_wins_over_one_in_the_environment_that_is_none(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTNING_ADAPTER_MASTER_TIMEOUT", "10 minutes")
    with cluster():
        assert fit(trial_of(), master_timeout=60).latest_checkpoint_uuid is not None
