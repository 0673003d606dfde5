"""Does determined itself, training a hand-written PyTorchTrial, find everything it needs in the fake cluster?"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import determined
import numpy as np
import pytest
import torch
from determined import pytorch
from torch import nn

from fake_master import LONG_POLL_S, STORAGE_ID, CheckpointReport, FakeMaster, fake_cluster

# What a checkpoint of determined contains beside tensors: the state of numpy's random number generator.
CHECKPOINT_TYPES = [np.zeros(0).__reduce__()[0], np.ndarray, np.dtype, type(np.dtype(np.uint32))]


class PlainTrial(pytorch.PyTorchTrial):
    """A linear model on 10 batches of 4, without any Lightning."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        self.on_batch: Callable[[int], None] = lambda batch_idx: None
        self.validation_losses: list[float] = []
        self.batches: list[int] = []
        self.model = context.wrap_model(nn.Linear(4, 1))
        learning_rate = context.get_hparams().get("learning_rate", 0.1)
        self.optimizer = context.wrap_optimizer(torch.optim.SGD(self.model.parameters(), learning_rate))

    def build_training_data_loader(self) -> pytorch.DataLoader:
        x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
        return pytorch.DataLoader(torch.utils.data.TensorDataset(x), batch_size=4)

    build_validation_data_loader = build_training_data_loader

    def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, torch.Tensor]:
        self.on_batch(batch_idx)
        self.batches.append(batch_idx)
        loss = self.model(batch[0]).pow(2).mean()
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer)
        return {"loss": loss}

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return {"val_loss": self.validation_losses.pop(0) if self.validation_losses else self.model(batch[0]).mean()}


def train(batches: int = 20, prepare: Callable[[PlainTrial], None] | None = None, **fit: Any) -> PlainTrial:
    """Train as a script on a cluster does, reporting every 5 batches."""
    info = determined.get_cluster_info()
    assert info is not None
    with torch.serialization.safe_globals(CHECKPOINT_TYPES), pytorch.init(hparams=info.trial.hparams) as context:
        trial = PlainTrial(context)
        if prepare:
            prepare(trial)
        pytorch.Trainer(trial, context).fit(
            max_length=pytorch.Batch(batches),
            latest_checkpoint=info.latest_checkpoint,
            **{"reporting_period": pytorch.Batch(5), "checkpoint_policy": "none", **fit},
        )
    return trial


def ask(master: FakeMaster, path: str, body: Any = None) -> Any:
    """Send one request as JSON text; a body makes it a POST."""
    data = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
    with urllib.request.urlopen(urllib.request.Request(master.url + path, data), timeout=10) as answer:
        return json.loads(answer.read())


def test_training_posts_metrics_under_their_names(cluster: Any) -> None:
    with cluster() as master:
        train(validation_period=pytorch.Batch(10))
    assert [steps for steps, _ in master.training] == [5, 10, 15, 20]
    assert all(set(metrics) == {"loss", "batches", "epochs"} for _, metrics in master.training)
    assert [steps for steps, _ in master.validation] == [10, 20]
    assert all(set(metrics) == {"val_loss", "batches", "epochs"} for _, metrics in master.validation)
    assert master.metrics[0] == ("training", 5, master.training[0][1])
    assert master.progress == [0.25, 0.5, 0.75, 1.0]
    assert set(master.statuses) == {"training", "validating", "checkpointing"}
    assert master.unexpected == [] and master.early_exits == [] and master.preemption_acks == 0


def test_hparams_seed_and_configuration_reach_the_trial(cluster: Any) -> None:
    with cluster(hparams={"learning_rate": 0.5}, config={"data": {"a": 1}, "searcher": {"metric": "x"}}, trial_seed=7):
        trial = train(batches=1)
        searcher = trial.context.get_experiment_config()["searcher"]
        assert determined.get_cluster_info().user_data == {"a": 1}
    assert trial.optimizer.param_groups[0]["lr"] == 0.5
    assert trial.context.get_trial_seed() == 7
    assert searcher == {"name": "single", "metric": "x", "smaller_is_better": True}


def test_checkpoint_is_reported_and_stored_with_the_users_code(cluster: Any, tmp_path: Path) -> None:
    with cluster() as master:
        train(checkpoint_period=pytorch.Batch(10))
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [10, 20]
    directory = tmp_path / "store" / master.checkpoints[-1].uuid
    assert json.loads((directory / "metadata.json").read_text())["steps_completed"] == 20
    assert (directory / "state_dict.pth").exists() and (directory / "code" / "model_def.py").exists()
    assert master.store == tmp_path / "store"


def test_model_dir_is_what_checkpoints_hold_as_code(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.py").write_text("print()")
    with cluster(model_dir=tmp_path / "mine") as master:
        train(batches=1)
    assert os.listdir(master.store / master.checkpoints[0].uuid / "code") == ["train.py"]


@pytest.mark.parametrize("after", [{"reports": 3}, {"steps": 15}, {"steps": 11}], ids=str)
def test_preemption_after_a_report_leads_to_a_checkpoint_there_and_a_clean_end(
    cluster: Any, after: dict[str, int]
) -> None:
    with cluster() as master:
        master.preempt_after(**after)
        trial = train(batches=1000)
    assert trial.batches[-1] == 14
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [15]
    assert master.preemption_acks == 1 and master.validation == []


def test_preempt_in_a_batch_stops_at_the_next_boundary(cluster: Any) -> None:
    def prepare(trial: PlainTrial) -> None:
        trial.on_batch = lambda batch_idx: master.preempt() if batch_idx == 7 else None

    with cluster() as master:
        trial = train(batches=1000, prepare=prepare)
    assert trial.batches[-1] == 9 and [checkpoint.steps_completed for checkpoint in master.checkpoints] == [10]


def test_preempt_before_training_stops_at_the_first_boundary(cluster: Any) -> None:
    with cluster() as master:
        master.preempt()
        trial = train(batches=1000)
    assert trial.batches[-1] == 4 and master.preemption_acks == 1


def test_preempted_trial_resumes_to_the_weights_of_an_uninterrupted_one(cluster: Any) -> None:
    with cluster(trial_seed=3, trial_id=2):
        whole = train(batches=30)
    with cluster(trial_seed=3) as first:
        first.preempt_after(steps=15)
        train(batches=30)
    checkpoint = first.checkpoints[-1]
    again = {"latest_checkpoint": checkpoint.uuid, "steps_completed": checkpoint.steps_completed, "trial_run_id": 2}
    with cluster(trial_seed=3, **again) as second:
        resumed = train(batches=30)
    assert resumed.batches == list(range(15, 30))
    assert [steps for steps, _ in second.training] == [20, 25, 30]
    assert second.progress[-1] == 1.0 and second.checkpoints[-1].steps_completed == 30
    assert torch.equal(resumed.model.weight, whole.model.weight)


def test_checkpoint_of_another_trial_restarts_determineds_counters(cluster: Any) -> None:
    with cluster(trial_id=1) as first:
        parent = train(batches=10)
    with cluster(trial_id=2, latest_checkpoint=first.checkpoints[-1].uuid) as second:
        child = train(batches=5, prepare=lambda trial: setattr(trial, "validation_losses", [0.0] * 10))
    assert child.batches == list(range(5)) and second.progress == [1.0]
    assert not torch.equal(child.model.weight, parent.model.weight)


def test_validation_of_an_earlier_run_is_not_repeated(cluster: Any) -> None:
    with cluster() as first:
        train(batches=10)
    again = {"latest_checkpoint": first.checkpoints[-1].uuid, "steps_completed": 10}
    with cluster(**again, latest_validation=10) as second:
        train(batches=10)
    assert second.validation == [] and second.training == []


@pytest.mark.parametrize(
    ("others", "smaller", "kept"),
    [(None, True, [5, 20]), (0.3, True, [20]), (None, False, [5, 10]), (0.9, False, [])],
)
def test_best_checkpoints_follow_the_best_validation_of_the_experiment(
    cluster: Any, others: float | None, smaller: bool, kept: list[int]
) -> None:
    losses = [0.5] * 10 + [0.7] * 10 + [0.6] * 10 + [0.1] * 10
    with cluster(config={"searcher": {"smaller_is_better": smaller}}) as master:
        master.best_validation = others
        train(
            batches=20,
            prepare=lambda trial: setattr(trial, "validation_losses", losses),
            validation_period=pytorch.Batch(5),
            checkpoint_policy="best",
        )
    last = [20] if 20 not in kept else []  # the end of training is always kept
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == kept + last


def test_searcher_metric_that_was_not_validated_is_determineds_error(cluster: Any) -> None:
    with cluster(config={"searcher": {"metric": "accuracy"}}), pytest.raises(RuntimeError, match="metric 'accuracy'"):
        train(batches=5, checkpoint_policy="best")


def test_invalid_hparam_is_posted_as_early_exit(cluster: Any) -> None:
    def prepare(trial: PlainTrial) -> None:
        raise determined.InvalidHP("too large")

    with cluster() as master, pytest.raises(SystemExit):
        train(prepare=prepare)
    assert master.early_exits == ["EXITED_REASON_INVALID_HP"]


def test_profiler_metrics_are_no_training_metrics(cluster: Any) -> None:
    with cluster() as master, determined.core.init() as core:
        core.train.report_metrics("cpu", 5, {"load": 1.0})
    assert master.metrics == [("cpu", 5, {"load": 1.0})] and master.training == [] and master.validation == []


def test_core_context_reads_back_what_it_wrote(cluster: Any) -> None:
    with cluster() as master, determined.core.init() as core:
        core.train.set_metadata({"note": 1})
        assert core.train.get_metadata() == {"note": 1}
        with core.checkpoint.store_path({"steps_completed": 4, "note": 2}) as (path, uuid):
            (path / "file").write_text("x")
        assert core.checkpoint.get_metadata(uuid)["note"] == 2
        core.checkpoint.delete(uuid)
    assert [checkpoint[:2] for checkpoint in master.checkpoints] == [(uuid, 4)]
    assert isinstance(master.checkpoints[0], CheckpointReport) and master.deleted_checkpoints == [uuid]


def test_several_slots_without_a_launcher_are_determineds_error(cluster: Any) -> None:
    with cluster(slots=2), pytest.raises(ValueError, match="distributed launch layer"):
        train()


def test_everything_is_as_before_when_the_cluster_is_gone(tmp_path: Path) -> None:
    assert determined.get_cluster_info() is None
    variables, threads = dict(os.environ), set(threading.enumerate())
    constants = dict(vars(determined.constants))
    with fake_cluster(tmp_path, hparams={"a": 1}) as master:
        train(batches=5)
        assert os.environ["DET_MASTER"] == master.url == determined.get_cluster_info().master_url
    assert determined.get_cluster_info() is None
    assert dict(os.environ) == variables and dict(vars(determined.constants)) == constants
    assert not [t for t in threading.enumerate() if t not in threads and not t.daemon]
    assert not list(Path("/tmp").glob(f"*{master.allocation_id}*"))
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask(master, "/")


def test_error_in_the_block_leaves_no_cluster_behind(tmp_path: Path) -> None:
    before = os.environ.get("DET_MASTER")
    with pytest.raises(RuntimeError, match="the test's own"), fake_cluster(tmp_path):
        raise RuntimeError("the test's own")
    assert determined.get_cluster_info() is None and os.environ.get("DET_MASTER") == before


def test_requests_that_a_master_would_refuse_are_listed(tmp_path: Path) -> None:
    report = {
        "group": "training",
        "metrics": {"trialId": 1, "stepsCompleted": 5, "metrics": {"avgMetrics": {"loss": 1.0}}},
    }
    with fake_cluster(tmp_path) as master:
        for path, body in [
            ("/api/v1/nothing", None),
            ("/api/v1/trials/99/metrics", report),
            ("/api/v1/trials/1/progress", {}),
            ("/api/v1/trials/1/metrics", b'{"group": "training", "metrics": NaN}'),
        ]:
            with pytest.raises(urllib.error.HTTPError, match="400"):
                ask(master, path, body)
        ask(master, "/api/v1/trials/1/metrics", report)
        ask(master, "/api/v1/trials/1/metrics", report)
    assert [line.split(":")[0] for line in master.unexpected] == [
        "GET /api/v1/nothing",
        "POST /api/v1/trials/99/metrics",
        "POST /api/v1/trials/1/progress",
        "POST /api/v1/trials/1/metrics",
        "training metrics ['loss'] reported twice for steps_completed=5",
    ]
    assert len(master.requests) == 6


# --- faults -----------------------------------------------------------------------------------------------------------

REPORT = {
    "group": "training",
    "metrics": {"trialId": 1, "trialRunId": 1, "stepsCompleted": 5, "metrics": {"avgMetrics": {"loss": 1.0}}},
}


def test_fault_answers_with_its_status_a_number_of_times_and_stores_nothing(tmp_path: Path) -> None:
    with fake_cluster(tmp_path) as master:
        master.fail(".*/metrics", "POST", status=502, times=2, retry_after=3)
        assert ask(master, "/api/v1/trials/1")["trial"] is not None  # another path
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="502") as failed:
                ask(master, "/api/v1/trials/1/metrics", REPORT)
            assert failed.value.headers["Retry-After"] == "3"
        assert master.metrics == []
        ask(master, "/api/v1/trials/1/metrics", REPORT)
    assert len(master.metrics) == 1 and master.unexpected == []


def test_fault_after_the_request_was_stored_loses_the_answer_only(tmp_path: Path) -> None:
    with fake_cluster(tmp_path) as master:
        master.fail(".*/metrics", "POST", stored=True)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            ask(master, "/api/v1/trials/1/metrics", REPORT)
        stream = "/api/v1/trials/metrics/trial_metrics?group=training&trialIds=1"
        (row,) = ask(master, stream)["result"]["metrics"]
        assert (row["totalBatches"], row["trialRunId"], row["metrics"]) == (5, 1, {"avg_metrics": {"loss": 1.0}})
        assert ask(master, stream.replace("training", "validation"))["result"]["metrics"] == []
    assert len(master.metrics) == 1


def test_fault_may_drop_the_connection(tmp_path: Path) -> None:
    with fake_cluster(tmp_path) as master:
        master.fail(status=0)
        with pytest.raises(http.client.RemoteDisconnected):
            ask(master, "/api/v1/trials/1")
        ask(master, "/api/v1/trials/1")


def test_fault_may_last_for_a_while(tmp_path: Path) -> None:
    with fake_cluster(tmp_path) as master:
        master.fail_for(0.3, method="GET", status=500)
        began = time.monotonic()
        while time.monotonic() - began < 5:
            try:
                ask(master, "/api/v1/trials/1")
                break
            except urllib.error.HTTPError as error:
                assert error.code == 500
                time.sleep(0.02)
        assert 0.25 < time.monotonic() - began < 3


def test_master_may_be_away_for_a_while_and_come_back_at_its_address(tmp_path: Path) -> None:
    with fake_cluster(tmp_path) as master:
        began = time.monotonic()
        master.leave_for(0.3)
        with pytest.raises(urllib.error.URLError, match="refused"):
            ask(master, "/api/v1/trials/1")
        while time.monotonic() - began < 5:
            try:
                ask(master, "/api/v1/trials/1")
                break
            except urllib.error.URLError:
                time.sleep(0.02)
        assert 0.25 < time.monotonic() - began < 3


def test_cluster_may_end_while_its_master_is_away(tmp_path: Path) -> None:
    began = time.monotonic()
    with fake_cluster(tmp_path) as master:
        master.leave_for(30)
    assert time.monotonic() - began < 5


def test_checkpoint_that_is_reported_twice_is_refused(tmp_path: Path) -> None:
    with fake_cluster(tmp_path) as master:
        ids = {"taskId": master.task_id, "allocationId": master.allocation_id, "storageId": STORAGE_ID}
        report = {"uuid": "u", "metadata": {"steps_completed": 1}, "state": "STATE_COMPLETED", **ids}
        ask(master, "/api/v1/checkpoints", report)
        with pytest.raises(urllib.error.HTTPError, match="500"):
            ask(master, "/api/v1/checkpoints", report)
    assert master.unexpected == ["checkpoint u was reported twice"] and len(master.checkpoints) == 1


# --- signals ----------------------------------------------------------------------------------------------------------


def test_preemption_poll_is_bounded_and_wakes_up_on_preempt(tmp_path: Path) -> None:
    with fake_cluster(tmp_path) as master:
        poll = f"/api/v1/allocations/{master.allocation_id}/signals/preemption?timeout_seconds="
        start = time.monotonic()
        assert ask(master, poll + "0") == {"preempt": False}
        assert time.monotonic() - start < LONG_POLL_S / 2
        assert ask(master, poll + "60") == {"preempt": False}
        assert LONG_POLL_S <= time.monotonic() - start < LONG_POLL_S + 1
        start = time.monotonic()
        waker = threading.Timer(0.2, master.preempt)
        waker.start()
        assert ask(master, poll + "60") == {"preempt": True}
        assert time.monotonic() - start < LONG_POLL_S
        waker.join()


def test_waiting_poll_is_told_to_stop_when_the_allocation_ends(tmp_path: Path) -> None:
    answers: list[Any] = []
    with fake_cluster(tmp_path) as master:
        poll = f"/api/v1/allocations/{master.allocation_id}/signals/preemption?timeout_seconds=60"
        client = threading.Thread(target=lambda: answers.append(ask(master, poll)))
        client.start()
        while not master.requests:
            time.sleep(0.01)
        start = time.monotonic()
    assert time.monotonic() - start < LONG_POLL_S / 2
    assert not [thread for thread in threading.enumerate() if "process_request" in thread.name]
    client.join()
    assert answers == [{"preempt": True}]


def test_searcher_that_stops_a_trial_changes_its_state_alone(cluster: Any) -> None:
    with cluster() as master:
        master.stop_after(validations=1)
        train(validation_period=pytorch.Batch(10))
        trial = ask(master, "/api/v1/trials/1")["trial"]
    # Determined's own loop does not ask, and trains on
    assert [steps for steps, _ in master.validation] == [10, 20] and master.preemption_acks == 0
    assert trial["state"] == "STATE_STOPPING_COMPLETED" and trial["latestValidation"]["totalBatches"] == 20


def test_slow_answers_come_after_their_effect_and_the_others_at_once(tmp_path: Path) -> None:
    with fake_cluster(tmp_path) as master:
        master.slow(0.3, path="/api/v1/trials/1/progress")
        begun = time.monotonic()
        ask(master, "/api/v1/trials/1")
        at_once = time.monotonic()
        client = threading.Thread(target=lambda: ask(master, "/api/v1/trials/1/progress", {"progress": 0.5}))
        client.start()
        while not master.progress:
            time.sleep(0.01)
        assert client.is_alive()
        client.join()
        slow = time.monotonic()
    assert at_once - begun < 0.25 and slow - at_once >= 0.3


def test_best_validation_has_the_digits_of_32_bits(cluster: Any) -> None:
    with cluster() as master:
        master.best_validation = 0.1461009979248047
        assert ask(master, "/api/v1/experiments/1/searcher/best_searcher_validation_metric") == {"metric": 0.146101}


def test_preempt_after_needs_exactly_one_condition(tmp_path: Path) -> None:
    with fake_cluster(tmp_path) as master:
        for arguments in ({}, {"reports": 1, "steps": 2}):
            with pytest.raises(ValueError, match="either reports or steps"):
                master.preempt_after(**arguments)


def test_slots_that_the_nodes_do_not_share_evenly_raise(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 slots cannot be spread evenly over 2 nodes"):
        with fake_cluster(tmp_path, slots=3, num_nodes=2):
            pass


def test_child_process_is_in_the_cluster_without_code_of_its_own(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import json, determined
        from determined import constants
        info = determined.get_cluster_info()
        print(json.dumps([info.trial.hparams, info.latest_checkpoint, info.trial._steps_completed, info.slot_ids,
                          info.container_addrs, info.container_rank, constants.MANAGED_TRAINING_MODEL_COPY]))
    """)
    given: dict[str, Any] = {
        "hparams": {"a": [1, 2]},
        "latest_checkpoint": "uuid",
        "steps_completed": 5,
        "slots": 4,
        "num_nodes": 2,
    }
    with fake_cluster(tmp_path, **given) as master:
        model_copy = determined.constants.MANAGED_TRAINING_MODEL_COPY
        for rank in (0, 1):
            command = [sys.executable, "-c", program]
            out = subprocess.run(command, env=master.child_env(rank), cwd=tmp_path, check=True, capture_output=True)
            assert json.loads(out.stdout) == [
                {"a": [1, 2]}, "uuid", 5, [0, 1], ["127.0.0.1", "127.0.0.1"], rank, model_copy,
            ]  # fmt: skip


def test_child_process_that_finds_no_cluster_information_ends(tmp_path: Path) -> None:
    with fake_cluster(tmp_path) as master:
        env = master.child_env(FAKE_CLUSTER_INFO=str(tmp_path / "absent"))
        done = subprocess.run([sys.executable, "-c", "print(1)"], env=env, capture_output=True, text=True)
    assert done.returncode != 0 and done.stdout == "" and "cannot join the fake cluster" in done.stderr


@pytest.mark.multiprocess
def test_two_ranks_under_determineds_launcher_train_and_are_preempted_together(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from test_fake_master import train\nprint('batches', train(batches=1000).batches)\n")
    command = [sys.executable, "-m", "determined.launch.torch_distributed", "--", sys.executable, str(script)]
    with fake_cluster(tmp_path, slots=2) as master:
        master.preempt_after(reports=2)
        done = subprocess.run(
            command, env=master.child_env(), cwd=tmp_path, capture_output=True, text=True, timeout=180
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"batches {list(range(10))}") == 2, done.stdout
    assert [steps for steps, _ in master.training] == [5, 10]
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [10]
    assert master.unexpected == []
