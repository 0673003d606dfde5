"""What would a Determined cluster have answered?  A loopback master, so that the managed branch runs without a cluster.

`fake_cluster()` makes this process a trial's container: `determined.get_cluster_info()` returns a TRIAL, the `DET_*`
variables are set, and a small HTTP server answers what determined asks a master and keeps what it is told::

    with fake_cluster(tmp_path, hparams={"lr": 0.1}, trial_seed=7) as master:
        ...                                   # train as on a cluster
    master.training, master.checkpoints, master.progress
    assert master.unexpected == []

Processes started with `env=master.child_env()` are in the same container without a line of code of their own; a child
that cannot have its environment set calls `fake_master.join(directory)`.  Children import this module, so pytest and
determined are imported where they are needed.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import socket
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

NOW = "2026-01-01T00:00:00Z"
STORAGE_ID = 1
RUNNING = "STATE_RUNNING"
STOPPED = "STATE_STOPPING_COMPLETED"

LONG_POLL_S = 1.0  # longest wait of a preemption poll; determined asks for 60 s, which would outlive a test
DELIVERY_S = 2.0  # longest time that a request of the training thread is held for a preemption signal that is due
GRACE_S = 0.05  # from "the signal was sent" to "the trial's watcher thread has stored it"

INFO_DIRECTORY = "FAKE_CLUSTER_INFO"
CONTAINER_RANK = "FAKE_CLUSTER_CONTAINER_RANK"
RETRY_AFTER = "retryAfter"  # in the body of an answer, for the header

USER = {
    "id": 1,
    "username": "determined",
    "admin": True,
    "active": True,
    "agentUserGroup": None,
    "displayName": "",
    "modifiedAt": NOW,
    "remote": False,
    "lastAuthAt": NOW,
}

_SITECUSTOMIZE = '''"""Put every interpreter that starts with this directory on its path into the fake cluster."""
import fake_master

try:
    fake_master.join()
except Exception as err:  # site.py would print it and go on outside of the cluster
    raise SystemExit(f"cannot join the fake cluster: {err!r}") from err
'''


class MetricReport(NamedTuple):
    """One posted metric report; compares equal to the plain tuple."""

    group: str
    steps_completed: int | None
    metrics: dict[str, Any]


class CheckpointReport(NamedTuple):
    """One posted checkpoint; `metadata` holds what determined and the trial wrote into metadata.json."""

    uuid: str
    steps_completed: int
    metadata: dict[str, Any]


class Request(NamedTuple):
    """One request as it arrived; the query stands for an absent body, raw text for one that is no JSON."""

    method: str
    path: str
    body: Any


class Fault(NamedTuple):
    """What a master, or what stands before it, does in place of the answer to a request.

    Attributes:
        method: of the requests that it happens to, a pattern.
        path: likewise.
        status: of the answer; 0 drops the connection without one.
        stored: whether the master has done what it was asked, so that only the answer is lost.
        retry_after: seconds that the answer asks to wait for.
        until: end of it, by `time.monotonic()`; None for a number of times.
    """

    method: str
    path: str
    status: int
    stored: bool
    retry_after: float | None
    until: float | None

    def happens_to(self, method: str, path: str) -> bool:
        return bool(re.fullmatch(self.method, method) and re.fullmatch(self.path, path))

    def answer(self) -> tuple[int, dict[str, Any]]:
        body: dict[str, Any] = {"error": {"code": 14, "reason": "Unavailable", "error": "fault of the test"}}
        return self.status, body if self.retry_after is None else {**body, RETRY_AFTER: self.retry_after}


class FakeMaster:
    """The state of one trial, as its master sees it; every attribute may be read and set while the trial runs.

    Attributes:
        metrics: every metric report, in the order of arrival.
        progress: the posted fractions of the training length.
        checkpoints: the reported checkpoints; their files are in `store / uuid`.
        deleted_checkpoints: ids that were reported as deleted.
        statuses: what the trial said it is doing ("training", "validating", "checkpointing").
        early_exits: the posted early exit reasons.
        preemption_acks: how often the trial acknowledged the preemption signal.
        best_validation: the best searcher metric of the experiment's *other* trials; None until one has reported.
        latest_validation: steps completed at this trial's last validation in an earlier run, or None.
        state: of the trial; a searcher that stops it changes nothing else.
        run_metadata: what `core_context.train.set_metadata()` stored.
        requests: all requests, for debugging.
        unexpected: a line for each request that a master would refuse, or that nobody taught this one to answer.
        store: the directory that is this cluster's checkpoint storage.
        directory: where the cluster information for child processes lies.
    """

    def __init__(
        self,
        directory: Path,
        store: Path,
        trial_id: int,
        experiment_id: int,
        searcher: dict[str, Any],
        hparams: dict[str, Any],
    ) -> None:
        self.metrics: list[MetricReport] = []
        self.progress: list[float] = []
        self.checkpoints: list[CheckpointReport] = []
        self.deleted_checkpoints: list[str] = []
        self.statuses: list[str] = []
        self.early_exits: list[str] = []
        self.preemption_acks = 0
        self.best_validation: float | None = None
        self.latest_validation: int | None = None
        self.state = RUNNING
        self.run_metadata: dict[str, Any] = {}
        self.requests: list[Request] = []
        self.unexpected: list[str] = []
        self.directory = directory
        self.store = store
        self.allocation_id = f"fake-{uuid.uuid4().hex}"  # names files below /tmp, so no two runs may share it
        self.task_id = f"fake-task-{trial_id}"
        self._trial_id, self._experiment_id, self._hparams = trial_id, experiment_id, hparams
        self._searcher = searcher
        self._raw_checkpoints: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._preempting = False
        self._preempt_when: Callable[[], bool] | None = None
        self._polled = False
        self._told_at: float | None = None
        self._closing = False
        self._stop_after: int | None = None
        self._slow: list[tuple[str, float]] = []
        self._faults: list[Fault] = []
        self._rows: list[dict[str, Any]] = []
        self._away: threading.Thread | None = None
        # Determined's ports are fixed numbers: two test runs on one machine would talk to each other.
        ports = ("INTER_TRAIN_PROCESS_COMM_PORT_1", "INTER_TRAIN_PROCESS_COMM_PORT_2", "C10D_PORT")
        self._ports = dict(zip(ports, _free_ports(len(ports)), strict=True))
        trial, run = f"/api/v1/trials/{trial_id}", f"/api/v1/runs/{trial_id}"
        allocation = f"/api/v1/allocations/{self.allocation_id}"
        signals = f"{allocation}/signals"
        experiment = f"/api/v1/experiments/{experiment_id}"
        self._routes: list[tuple[str, str, Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]]] = [
            ("GET", f"{signals}/preemption", self._poll_preemption),
            ("POST", f"{signals}/ack_preemption", self._acknowledge_preemption),
            # what is asked and told before a trial's own process starts, and beside it
            ("GET", "/api/v1/me", lambda sent: (200, {"user": USER})),
            ("GET", f"/api/v1/tasks/{self.task_id}/context_directory", lambda sent: (200, {"b64Tgz": ""})),
            ("POST", f"{allocation}/acceleratorData", lambda sent: (200, {})),
            ("GET", f"{allocation}/resources/[^/]+/rendezvous", self._rendezvous),
            ("POST", "/api/v1/task/logs", lambda sent: (200, {})),
            ("POST", "/api/v1/runs/start", self._start_run),
            ("GET", trial, self._describe_trial),
            ("GET", "/api/v1/trials/metrics/trial_metrics", self._stream_metrics),
            ("POST", f"{trial}/runner/metadata", self._set_status),
            ("POST", f"{trial}/metrics", self._report_metrics),
            ("POST", f"{trial}/progress", self._report_progress),
            ("POST", f"{trial}/early_exit", self._report_early_exit),
            ("GET", f"{experiment}/searcher/best_searcher_validation_metric", self._best_validation),
            ("POST", "/api/v1/checkpoints", self._report_checkpoint),
            ("PATCH", "/api/v1/checkpoints", self._patch_checkpoints),
            ("GET", "/api/v1/checkpoints/(?P<uuid>[^/]+)", self._get_checkpoint),
            ("GET", f"{run}/metadata", lambda sent: (200, {"metadata": self.run_metadata})),
            ("POST", f"{run}/metadata", self._set_run_metadata),
        ]
        self._server, self._thread = self._listen(0)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def training(self) -> list[tuple[int | None, dict[str, Any]]]:
        """Steps completed and metrics of each training report."""
        return [(r.steps_completed, r.metrics) for r in self.metrics if r.group == "training"]

    @property
    def validation(self) -> list[tuple[int | None, dict[str, Any]]]:
        """Steps completed and metrics of each validation report."""
        return [(r.steps_completed, r.metrics) for r in self.metrics if r.group == "validation"]

    def preempt(self) -> None:
        """Send the preemption signal; returns when a running trial has it, so its next boundary is its last.

        Called before the trial starts, it is what the trial finds at its first look.
        """
        with self._changed:
            self._preempting = True
            self._changed.notify_all()
        self._deliver_preemption()

    def preempt_after(self, reports: int | None = None, *, steps: int | None = None) -> None:
        """Send the preemption signal after a number of training reports, or when one has this many steps completed.

        The trial stops at the boundary that made this report: it waits for the answer to its progress post, which is
        held until the signal has arrived.
        """
        if (reports is None) == (steps is None):
            raise ValueError(f"give either reports or steps, not reports={reports} and steps={steps}")

        def due() -> bool:
            if steps is None:
                return len(self.training) >= (reports or 0)
            return any(done is not None and done >= steps for done, _ in self.training)

        with self._changed:
            self._preempt_when = due

    def stop_after(self, validations: int) -> None:
        """Let the searcher stop the trial when this many validations are reported: its state says so, and nothing else."""
        with self._changed:
            self._stop_after = validations

    def slow(self, seconds: float, path: str = ".*") -> None:
        """Hold the answer to each request whose whole path matches, for this long; its effect comes before that."""
        with self._changed:
            self._slow.append((path, seconds))

    def fail(
        self,
        path: str = ".*",
        method: str = ".*",
        *,
        status: int = 503,
        times: int = 1,
        stored: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """Answer the next requests that match with a status, a number of times; 0 drops the connection.

        With `stored` the request has its effect, and only its answer is lost.
        """
        with self._changed:
            self._faults += [Fault(method, path, status, stored, retry_after, None)] * times

    def fail_for(self, seconds: float, path: str = ".*", method: str = ".*", *, status: int = 503) -> None:
        """Answer each request that matches with a status, for a while from now on."""
        with self._changed:
            self._faults.append(Fault(method, path, status, False, None, time.monotonic() + seconds))

    def leave_for(self, seconds: float) -> None:
        """Refuse connections for a while, as a master that was killed does; returns when it is away.

        Not to be called in a thread that answers a request.
        """
        self._stop_listening()

        def come_back() -> None:
            with self._changed:
                self._changed.wait_for(lambda: self._closing, seconds)
                if self._closing:
                    return
                self._server, self._thread = self._listen(int(self.url.rpartition(":")[2]))
                self._thread.start()

        self._away = threading.Thread(target=come_back, daemon=True)
        self._away.start()

    def _listen(self, port: int) -> tuple[_Server, threading.Thread]:
        server = _Server(("127.0.0.1", port), _Handler)
        server.master = self
        return server, threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)

    def _stop_listening(self) -> None:
        if self._away is not None:
            self._away.join()
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()  # joins the threads of the requests
        if self._thread.is_alive():
            self._thread.join()

    def _fault_of(self, method: str, path: str) -> Fault | None:
        with self._changed:
            now = time.monotonic()
            self._faults = [fault for fault in self._faults if fault.until is None or fault.until > now]
            for fault in self._faults:
                if fault.happens_to(method, path):
                    if fault.until is None:
                        self._faults.remove(fault)
                    return fault
        return None

    def child_env(self, container_rank: int = 0, **extra: str) -> dict[str, str]:
        """Return the environment of a child process on this cluster.

        Args:
            container_rank: which of the cluster's nodes the child is on.
            extra: variables to add, for instance USE_TORCH_DISTRIBUTED="True" under a plain torchrun.
        """
        tests = Path(__file__).resolve().parent
        # The repository's root is on this process's path when pytest puts it there; a child has to be told.
        path = [str(self.directory / "site"), str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")]
        return {
            **os.environ,
            **{name: str(port) for name, port in self._ports.items()},
            "PYTHONPATH": os.pathsep.join(entry for entry in path if entry),
            # Determined's launchers call "python3".
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "OMP_NUM_THREADS": "1",
            INFO_DIRECTORY: str(self.directory),
            CONTAINER_RANK: str(container_rank),
            **extra,
        }

    def answer(self, method: str, path: str, query: dict[str, str], raw: bytes) -> tuple[int, dict[str, Any]]:
        """Return status and JSON body for one request."""
        try:
            body, fault = json.loads(raw, parse_constant=_refuse_constant) if raw else {}, None
        except ValueError as err:
            body, fault = raw.decode(errors="replace"), str(err)
        request = Request(method, path, body or query)
        with self._changed:
            self.requests.append(request)
        trouble = self._fault_of(method, path)
        if trouble is not None and not trouble.stored:
            return trouble.answer()
        answer = self._answer(request, query, fault)
        return answer if trouble is None else trouble.answer()

    def _answer(self, request: Request, query: dict[str, str], fault: str | None) -> tuple[int, dict[str, Any]]:
        method, path, body = request
        if fault is not None:
            return self._refuse(request, fault)
        for route_method, pattern, handle in self._routes:
            match = re.fullmatch(pattern, path)
            if match and route_method == method:
                try:
                    answer = handle({**query, **body, **match.groupdict()})
                except (KeyError, TypeError, ValueError) as err:  # the body lacks what a master needs
                    return self._refuse(request, repr(err))
                self._hold(path)
                return answer
        return self._refuse(request, "no answer to this is known; if a master has one, add it to the routes")

    def _refuse(self, request: Request, why: str) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.unexpected.append(f"{request.method} {request.path}: {why}")
        return 400, {"message": why}

    def _hold(self, path: str) -> None:
        with self._changed:
            seconds = sum(held for pattern, held in self._slow if re.fullmatch(pattern, path))
            self._changed.wait_for(lambda: self._closing, seconds)

    def answered(self, path: str, body: dict[str, Any]) -> None:
        """Note that the answer to a request is on its way."""
        if path.endswith("/signals/preemption") and body.get("preempt"):
            with self._changed:
                self._told_at = self._told_at or time.monotonic()
                self._changed.notify_all()

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def close(self) -> None:
        """Answer what is still waiting, then stop; no thread is left."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._stop_listening()

    def _deliver_preemption(self) -> None:
        """Wait until a signal that was sent has reached the trial, if the trial has asked for signals at all.

        Whoever calls this delays the trial's own thread, so the trial stops at a batch that a test can name.
        """
        with self._changed:
            if not (self._preempting and self._polled):
                return
            self._changed.wait_for(lambda: self._told_at is not None or self._closing, DELIVERY_S)
            told_at = self._told_at
        if told_at is not None:
            time.sleep(max(0.0, told_at + GRACE_S - time.monotonic()))

    def _poll_preemption(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        seconds = min(float(sent.get("timeout_seconds", 0)), LONG_POLL_S)
        with self._changed:
            self._polled = True
            self._changed.wait_for(lambda: self._preempting or self._closing, seconds)
            # When an allocation ends, whoever still waits is told to stop.
            return 200, {"preempt": self._preempting or self._closing}

    def _acknowledge_preemption(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.preemption_acks += 1
        return 200, {}

    def _rendezvous(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"rendezvousInfo": {"addresses": ["127.0.0.1"], "rank": 0, "slots": [1]}}

    def _start_run(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self._check("runId", sent["runId"], self._trial_id)
        return 200, {"storageId": STORAGE_ID}

    def _describe_trial(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            validations = [_workload(steps, values) for steps, values in self.validation]
            if not validations and self.latest_validation is not None:
                validations = [_workload(self.latest_validation, {})]
            batches = max((r.steps_completed or 0 for r in self.metrics), default=0)
            trial = {
                "id": self._trial_id,
                "experimentId": self._experiment_id,
                "startTime": NOW,
                "endTime": None,
                "state": self.state,
                "restarts": 0,
                "hparams": self._hparams,
                "totalBatchesProcessed": batches,
                "bestValidation": validations[-1] if validations else None,
                "latestValidation": validations[-1] if validations else None,
                "bestCheckpoint": None,
                "runnerState": self.statuses[-1] if self.statuses else "",
                "wallClockTime": 0.0,
                "warmStartCheckpointUuid": "",
                "taskId": self.task_id,
                "totalCheckpointSize": "0",
                "checkpointCount": len(self.checkpoints),
                "summaryMetrics": {},
                "taskIds": [self.task_id],
                "searcherMetricValue": 0,
            }
        return 200, {"trial": trial}

    def _check(self, what: str, sent: object, expected: object) -> None:
        if sent != expected:
            raise ValueError(f"{what} is {sent!r}, and this trial's is {expected!r}")

    def _set_status(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.statuses.append(sent["state"])
        self._deliver_preemption()
        return 200, {}

    def _report_metrics(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        group, report = sent["group"], sent["metrics"]
        steps, values = report.get("stepsCompleted"), report["metrics"]["avgMetrics"]
        self._check("trialId", report["trialId"], self._trial_id)
        with self._changed:
            for earlier in self.metrics:
                same = sorted(earlier.metrics.keys() & values.keys())
                if steps is not None and (earlier.group, earlier.steps_completed) == (group, steps) and same:
                    # A master merges reports of one step, and refuses to overwrite a value.
                    self.unexpected.append(f"{group} metrics {same} reported twice for steps_completed={steps}")
            self.metrics.append(MetricReport(group, steps, values))
            # A master asks the searcher before it answers, so whoever asks after the answer knows.
            if self._stop_after is not None and len(self.validation) >= self._stop_after:
                self.state = STOPPED
            self._keep_row(group, report, values)
            if self._preempt_when is not None and self._preempt_when():
                self._preempting = True
            self._changed.notify_all()
        return 200, {}

    def _keep_row(self, group: str, report: dict[str, Any], values: dict[str, Any]) -> None:
        column = "validation_metrics" if group == "validation" else "avg_metrics"
        key = {
            "trialId": report.get("trialId"),
            "trialRunId": report.get("trialRunId"),
            "totalBatches": report.get("stepsCompleted"),
            "group": group,
        }
        for row in self._rows:
            if key.items() <= row.items():
                row["metrics"][column].update(values)
                return
        self._rows.append({**key, "metrics": {column: dict(values)}, "archived": False, "id": len(self._rows) + 1})

    def _stream_metrics(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:  # one line of a stream: a master sends one for each thousand rows
            rows = [
                row for row in self._rows if row["group"] == sent["group"] and row["trialId"] == int(sent["trialIds"])
            ]
            return 200, {"result": {"metrics": rows}}

    def _report_progress(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.progress.append(sent["progress"])
            if self._preempt_when is not None and not self._preempting:
                # Each progress post follows a training report that another thread of the trial ships.
                self._changed.wait_for(lambda: len(self.training) >= len(self.progress), DELIVERY_S)
        self._deliver_preemption()
        return 200, {}

    def _report_early_exit(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.early_exits.append(sent["reason"])
        return 200, {}

    def _best_validation(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        import numpy as np

        name = self._searcher["metric"]
        with self._changed:
            values = [metrics.get(name) for _, metrics in self.validation] + [self.best_validation]
        numbers = [value for value in values if isinstance(value, (int, float))]  # nan and inf are posted as text
        if not numbers:
            return 404, {"error": {"code": 5, "reason": "NotFound", "error": "no validations for experiment"}}
        best = min(numbers) if self._searcher["smaller_is_better"] else max(numbers)
        # A master keeps this one as a float of 32 bits, and writes as many digits as tell it from its neighbours.
        return 200, {"metric": float(np.format_float_positional(np.float32(best)))}

    def _report_checkpoint(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self._check("taskId", sent["taskId"], self.task_id)
            self._check("allocationId", sent["allocationId"], self.allocation_id)
            self._check("storageId", sent["storageId"], STORAGE_ID)
            self._check("state", sent["state"], "STATE_COMPLETED")
            report = CheckpointReport(sent["uuid"], sent["metadata"]["steps_completed"], sent["metadata"])
            if report.uuid in self._raw_checkpoints:
                self.unexpected.append(f"checkpoint {report.uuid} was reported twice")
                return 500, {"error": {"code": 2, "reason": "Unknown", "error": "duplicate key value"}}
            self.checkpoints.append(report)
            self._raw_checkpoints[report.uuid] = sent
        self._deliver_preemption()
        return 200, {}

    def _patch_checkpoints(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.deleted_checkpoints += [patch["uuid"] for patch in sent["checkpoints"]]
        return 200, {}

    def _get_checkpoint(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        checkpoint = self._raw_checkpoints.get(sent["uuid"])
        return (404, {"message": "no such checkpoint"}) if checkpoint is None else (200, {"checkpoint": checkpoint})

    def _set_run_metadata(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.run_metadata = sent["metadata"]
        return 200, {"metadata": self.run_metadata}


def _workload(steps: int | None, values: dict[str, Any]) -> dict[str, Any]:
    metrics = {"avgMetrics": values, "batchMetrics": []}
    return {"endTime": NOW, "metrics": metrics, "numInputs": 0, "totalBatches": steps or 0}


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close() joins them
    master: FakeMaster


class _Handler(BaseHTTPRequestHandler):
    """Read one request, answer it, close the connection (HTTP/1.0: no thread waits on an idle client)."""

    timeout = 10
    server: _Server

    def _handle(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self.server.master.answer(self.command, url.path, dict(urllib.parse.parse_qsl(url.query)), raw)
        if not status:
            return  # the connection is dropped
        content = json.dumps(body).encode()
        # A trial that was killed does not read its answer; that is no fault of the master.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if RETRY_AFTER in body:
                self.send_header("Retry-After", str(body[RETRY_AFTER]))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()
            self.server.master.answered(url.path, body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing; `FakeMaster.requests` has it all."""


@contextlib.contextmanager
def fake_cluster(
    tmp_path: Path,
    *,
    hparams: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    trial_seed: int = 0,
    latest_checkpoint: str | None = None,
    steps_completed: int = 0,
    latest_validation: int | None = None,
    slots: int = 1,
    num_nodes: int = 1,
    trial_id: int = 1,
    experiment_id: int = 1,
    trial_run_id: int = 1,
    model_dir: Path | None = None,
) -> Iterator[FakeMaster]:
    """Make this process a trial's container on a cluster, for as long as the block lasts.

    A paused trial is resumed by a second block with the same `tmp_path` (the checkpoint store is there), and
    `latest_checkpoint` and `steps_completed` of the checkpoint.

    Args:
        tmp_path: where the checkpoint store (`store`), the model copy and the cluster information are written.
        hparams: the hyperparameters that the searcher chose.
        config: experiment configuration; mappings are merged into a small default, the checkpoint storage is ours.
        trial_seed: the seed that Determined sets in all processes.
        latest_checkpoint: id of the checkpoint to continue from.
        steps_completed: batches trained up to that checkpoint; 0 with a checkpoint is a warm start from another trial.
        latest_validation: steps completed at the last validation of an earlier run of this trial.
        slots: slots of the whole trial, spread evenly over the nodes.
        num_nodes: number of containers; all of them are 127.0.0.1, and this process is in the first.
        trial_id: id of the trial; a checkpoint of another id restarts Determined's counters.
        experiment_id: id of the experiment.
        trial_run_id: counts the runs of one trial, from 1.
        model_dir: the user's code, which is copied into each checkpoint; default: a directory with one file.
    """
    import determined
    import pytest
    from determined import _info, constants

    if slots % num_nodes:
        raise ValueError(f"{slots} slots cannot be spread evenly over {num_nodes} nodes")
    store, directory = tmp_path / "store", tmp_path / "cluster"
    store.mkdir(parents=True, exist_ok=True)
    (directory / "site").mkdir(parents=True, exist_ok=True)
    (directory / "site" / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    if model_dir is None:
        model_dir = directory / "model"
        model_dir.mkdir(exist_ok=True)
        (model_dir / "model_def.py").write_text("# the user's code\n")
    experiment = _merged(
        {
            "name": "fake",
            "entrypoint": "python3 model_def.py",
            "hyperparameters": {},
            "resources": {"slots_per_trial": slots},
            "searcher": {"name": "single", "metric": "val_loss", "smaller_is_better": True},
        },
        config or {},
    )
    experiment["checkpoint_storage"] = {"type": "directory", "container_path": str(store)}
    master = FakeMaster(directory, store, trial_id, experiment_id, experiment["searcher"], hparams or {})
    master.latest_validation = latest_validation
    rendezvous = determined.RendezvousInfo(["127.0.0.1"] * num_nodes, 0, [slots // num_nodes] * num_nodes)
    info = determined.ClusterInfo(
        master_url=master.url,
        cluster_id="fake-cluster",
        agent_id="fake-agent",
        slot_ids=list(range(slots // num_nodes)),
        task_id=master.task_id,
        allocation_id=master.allocation_id,
        session_token="fake-token",
        task_type="TRIAL",
        latest_checkpoint=latest_checkpoint,
        trial_info=determined.TrialInfo(
            trial_id=trial_id,
            experiment_id=experiment_id,
            trial_seed=trial_seed,
            hparams=hparams or {},
            config=experiment,
            steps_completed=steps_completed,
            trial_run_id=trial_run_id,
            debug=False,
            inter_node_network_interface=None,
        ),
        rendezvous_info=rendezvous,
        resources_info=determined.ResourcesInfo([]),
    )
    info._to_file(str(directory / "cluster.json"))
    info.trial._to_file(str(directory / "trial.json"))
    rendezvous._to_file(str(directory / "rendezvous.json"))
    (directory / "model_dir").write_text(str(model_dir))
    environment = {
        "DET_MASTER": master.url,
        "DET_USER": "determined",
        "DET_SESSION_TOKEN": info.session_token,
        "DET_CLUSTER_ID": info.cluster_id,
        "DET_AGENT_ID": info.agent_id,
        "DET_SLOT_IDS": json.dumps(info.slot_ids),
        "DET_TASK_ID": info.task_id,
        "DET_TASK_TYPE": info.task_type,
        "DET_ALLOCATION_ID": info.allocation_id,
        "DET_TRIAL_ID": str(trial_id),
        "DET_TRIAL_RUN_ID": str(trial_run_id),
        "DET_TRIAL_SEED": str(trial_seed),
        "DET_EXPERIMENT_ID": str(experiment_id),
        "DET_EXPERIMENT_CONFIG": json.dumps(experiment),
        "DET_HPARAMS": json.dumps(hparams or {}),
        "DET_STEPS_COMPLETED": str(steps_completed),
        # Not of a cluster: keep determined out of the home directory, proxies and minutes of retries.
        "DET_DEBUG_CONFIG_PATH": str(directory),
        "DET_RETRY_CONFIG": json.dumps({"total": 2, "backoff_factor": 0.1}),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    if latest_checkpoint is not None:
        environment["DET_LATEST_CHECKPOINT"] = latest_checkpoint
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        # get_cluster_info() reads its files once and keeps the result here, so whoever imported it by name sees it too.
        patch.setattr(_info, "_info", None)
        patch.setattr(constants, "MANAGED_TRAINING_MODEL_COPY", str(model_dir))
        join(directory)
        master.start()
        try:
            yield master
        finally:
            master.close()
            for left in glob.glob(f"/tmp/*-{master.allocation_id}*"):  # where determined puts event files and sockets
                shutil.rmtree(left) if os.path.isdir(left) else os.unlink(left)


def complete_config(entrypoint: str, epochs: int) -> dict[str, Any]:
    """What a master fills in for an entrypoint that names the class, and whose loop reads all of it."""
    return {
        "entrypoint": entrypoint,
        "min_validation_period": {"epochs": 1},
        "min_checkpoint_period": {"batches": 0},
        "searcher": {"max_length": {"epochs": epochs}},
        "scheduling_unit": 2,
        "checkpoint_policy": "best",
        "perform_initial_validation": False,
        "optimizations": {
            "aggregation_frequency": 1,
            "gradient_compression": False,
            "average_aggregated_gradients": True,
        },
        "profiling": {"enabled": False},
    }


def join(directory: str | os.PathLike[str] | None = None) -> None:
    """Put this process into the cluster whose information is in `directory` (default: what the environment says).

    On a cluster determined finds the same files in /run/determined/info, a path that it offers no way to change.
    """
    import determined
    from determined import _info, constants

    path = Path(directory or os.environ[INFO_DIRECTORY])
    rendezvous = json.loads((path / "rendezvous.json").read_text())
    rendezvous["container_rank"] = int(os.environ.get(CONTAINER_RANK, "0"))
    _info._info = determined.ClusterInfo(
        trial_info=determined.TrialInfo._from_file(str(path / "trial.json")),
        rendezvous_info=determined.RendezvousInfo(**rendezvous),
        resources_info=determined.ResourcesInfo([]),
        **json.loads((path / "cluster.json").read_text()),
    )
    constants.MANAGED_TRAINING_MODEL_COPY = (path / "model_dir").read_text()


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = base.keys() & over.keys()
    nested = {k: _merged(base[k], over[k]) for k in both if isinstance(base[k], dict) and isinstance(over[k], dict)}
    return {**base, **over, **nested}


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON: a master refuses the whole report")


def _free_ports(count: int) -> list[int]:
    """Return port numbers that were free a moment ago, all different because the sockets are open together."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
