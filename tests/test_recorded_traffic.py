"""Does the fake master answer as a real one, and does a trial ask it what it would ask that one?

`recorded_traffic.jsonl` is what passed between the container of a trial of one slot and a master of Determined 0.38.1, in its
order, each kind of request once: names of tasks, allocations and containers are placeholders, and contents of logs and of the
context directory are left out.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from determined import pytorch

from fake_master import FakeMaster
from lightning_adapter import LightningAdapter, fit
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)

TRIAL, EXPERIMENT = 35, 11
HPARAMS = {"dropout": 0.1, "global_batch_size": 64, "learning_rate": 0.005, "width": 16}
#: Keys whose values are named by users, files or storage backends.
OPEN = ("avgMetrics", "resources", "checkpointStorage", "training")
#: What a checkpoint's metadata name since the record was made; a master keeps any JSON there.
SINCE = {"epoch", "global_step", "epochs_completed", "metrics"}
#: What the container asks before and beside the trial's own process.
OF_THE_CONTAINER = ("/api/v1/me", "/context_directory", "/acceleratorData", "/task/logs", "/rendezvous")


class Exchange(NamedTuple):
    method: str
    path: str
    request: Any
    status: int
    answer: Any


def record(allocation: str, task: str) -> list[Exchange]:
    """The record, with the names of a fake cluster in it."""
    text = (Path(__file__).parent / "recorded_traffic.jsonl").read_text()
    names = {"allocation": allocation, "task": task, "container": "node-1", "trial": TRIAL, "experiment": EXPERIMENT}
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", str(value))
    return [Exchange(**json.loads(line)) for line in text.splitlines()]


def shape(value: Any) -> Any:
    """Names of fields and kinds of values."""
    if isinstance(value, dict):
        return {name: "anything" if name in OPEN else shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    if isinstance(value, bool) or value is None:
        return value if value is None else "a flag"
    return "a number" if isinstance(value, (int, float)) else "text"


def send(master: FakeMaster, exchange: Exchange) -> tuple[int, Any]:
    data = None if exchange.method == "GET" else json.dumps(exchange.request).encode()
    request = urllib.request.Request(master.url + exchange.path, data, method=exchange.method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.fixture
def master(cluster: Any) -> Iterator[FakeMaster]:
    config = {"searcher": {"metric": "val_loss", "smaller_is_better": True}}
    with cluster(trial_id=TRIAL, experiment_id=EXPERIMENT, hparams=HPARAMS, config=config) as master:
        yield master


def test_fake_master_gives_the_recorded_answers(cluster: Any) -> None:
    at_the_end: list[tuple[int, Any]] = []
    with cluster(trial_id=TRIAL, experiment_id=EXPERIMENT, hparams=HPARAMS) as master:
        *recorded, last = record(master.allocation_id, master.task_id)
        for exchange in recorded:
            status, answer = send(master, exchange)
            assert (status, shape(answer)) == (exchange.status, shape(exchange.answer)), exchange
            if exchange.path.endswith("/best_searcher_validation_metric"):
                assert answer == exchange.answer
        # a long poll, which was answered when the process had ended
        assert "timeout_seconds=60" in last.path
        waiting = threading.Thread(target=lambda: at_the_end.append(send(master, last)))
        waiting.start()
        while not master.requests[-1].path.endswith("/preemption"):
            waiting.join(0.01)
    waiting.join()
    assert at_the_end == [(last.status, last.answer)]
    assert master.unexpected == []


def test_fake_master_describes_the_trial_as_the_real_one(master: FakeMaster) -> None:
    (recorded,) = [one for one in record(master.allocation_id, master.task_id) if one.path.endswith(f"/trials/{TRIAL}")]
    _, answer = send(master, recorded)
    times = {"startTime", "wallClockTime", "taskId", "taskIds"}
    known = {name: value for name, value in recorded.answer["trial"].items() if name not in times}
    assert {name: answer["trial"][name] for name in known} == known


@pytest.mark.parametrize("field", ["trialId", "group", "state", "progress", "taskId", "allocationId", "uuid"])
def test_fake_master_refuses_a_report_that_lacks_or_mistakes_a_field(master: FakeMaster, field: str) -> None:
    def without(value: Any) -> Any:
        return {k: without(v) for k, v in value.items() if k != field} if isinstance(value, dict) else value

    checked = 0
    for exchange in record(master.allocation_id, master.task_id):
        damaged = without(exchange.request)
        if exchange.method == "POST" and damaged != exchange.request and "acceleratorData" not in exchange.path:
            assert send(master, exchange._replace(request=damaged))[0] == 400, exchange
            checked += 1
    assert checked == len(master.unexpected) > 0
    master.unexpected.clear()


class Trial(LightningAdapter):
    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        super().__init__(
            context, models.Net(), models.Data(), max_epochs=2, log_every_n_steps=2, enable_model_summary=False
        )


def test_trial_sends_the_recorded_requests_and_no_others(cluster: Any) -> None:
    with cluster(trial_id=TRIAL, experiment_id=EXPERIMENT) as master:
        fit(Trial)
    expected = [
        (one.method, urllib.parse.urlsplit(one.path).path, shape(one.request) or None)
        for one in record(master.allocation_id, master.task_id)
        if not one.path.endswith(OF_THE_CONTAINER)
    ]
    # the query stands for the body where there is none
    sent = [(one.method, one.path, None if one.method == "GET" else shape(one.body) or None) for one in master.requests]
    for metadata in [body["metadata"] for _, path, body in sent if path == "/api/v1/checkpoints" and body is not None]:
        assert metadata.keys() > SINCE
        for name in SINCE:
            del metadata[name]
    assert [one for one in sent if one not in expected] == []
    assert [one for one in expected if one not in sent] == []
