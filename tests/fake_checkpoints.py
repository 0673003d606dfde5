"""What does a master answer to who fetches from it: experiments, trials, checkpoints, metrics, logs?  A loopback one.

Trials are trained in the fake cluster of `fake_master.py`; this master hands out what that one was told. Answers have the
fields of a real 0.38.1::

    with cluster() as trained:
        fit(Trial)
    with CheckpointsMaster(tmp_path) as master:
        master.add_trial(23, trained)
        monkeypatch.setenv("DET_MASTER", master.url)
        ...                                             # run a command
"""

from __future__ import annotations

import io
import json
import tarfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from determined.common.api import authentication

MOMENT = "2026-11-25T21:26:40.589561Z"


class CheckpointsMaster:
    """A master with one user and one experiment, of number 7.

    Attributes:
        password: of the user "determined".
        config: the experiment's; its storage is in no other machine's reach until a test names a directory.
        state: the experiment's.
        checkpoints: as a master describes them, from the oldest to the newest.
        cut: of each checkpoint's archive, the bytes that come before the connection breaks; None where it holds.
        fails: what a path that begins so is answered with: status.
        log: lines of each trial.
    """

    def __init__(self, store: Path) -> None:
        self.password = ""
        self.config: dict[str, Any] = {
            "name": "digits",
            "entrypoint": "python3 -m lightning_adapter fit model_def:MNISTTrial --max-epochs 2",
            "hyperparameters": {"lr": {"type": "double", "minval": 0, "maxval": 1}},
            "searcher": {"name": "random", "metric": "val_loss", "smaller_is_better": True, "max_trials": 2},
            "checkpoint_storage": {"type": "shared_fs", "host_path": "/of/another/machine"},
            "reproducibility": {"experiment_seed": 1},
        }
        self.state = "STATE_COMPLETED"
        self.checkpoints: list[dict[str, Any]] = []
        self.cut: int | None = None
        self.fails: dict[str, int] = {}
        self.log = ["[moment] || first\n", "[moment] || last\n"]
        self._store = store
        self._trials: dict[int, dict[str, Any]] = {}
        self._metrics: dict[tuple[int, str], list[dict[str, Any]]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.master = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> CheckpointsMaster:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_trial(self, number: int, trained: Any, hparams: dict[str, Any] | None = None) -> None:
        """Know what the fake cluster's master was told by a trial."""
        merged: dict[tuple[str, int], dict[str, Any]] = {}
        for group, steps, values in trained.metrics:
            merged.setdefault((group, steps), {}).update(values)  # as a master does with reports of one step
        for (group, steps), values in merged.items():
            key = "validation_metrics" if group == "validation" else "avg_metrics"
            row = {"trialId": number, "endTime": MOMENT, "metrics": {key: values}, "totalBatches": steps}
            self._metrics.setdefault((number, group), []).append(
                {**row, "archived": False, "id": steps, "trialRunId": 1, "group": group}
            )
        self._trials[number] = {
            "id": number, "experimentId": 7, "startTime": MOMENT, "endTime": MOMENT, "state": "STATE_COMPLETED",
            "restarts": 0, "hparams": hparams or {}, "totalBatchesProcessed": max(steps for _, steps in merged),
            "summaryMetrics": {"avg_metrics": {}, "validation_metrics": {}},
        }  # fmt: skip
        for report in trained.checkpoints:
            self._add_checkpoint(
                number, report.uuid, report.metadata, merged.get(("validation", report.steps_completed))
            )

    def trial(self, number: int) -> dict[str, Any]:
        """A trial as this master describes it; it may be changed."""
        return self._trials[number]

    def _add_checkpoint(
        self, trial: int, uuid: str, metadata: dict[str, Any], validation: dict[str, Any] | None
    ) -> None:
        directory = self._store / uuid
        sizes = {
            str(path.relative_to(directory)) + ("/" if path.is_dir() else ""): str(path.stat().st_size)
            for path in directory.rglob("*")
        }
        self.checkpoints.append({
            "taskId": "7.x", "allocationId": "7.x.1", "uuid": uuid, "reportTime": MOMENT, "resources": sizes,
            "metadata": metadata, "state": "STATE_COMPLETED", "storageId": 1,
            "training": {
                "trialId": trial, "experimentId": 7, "experimentConfig": self.config,
                "hparams": self._trials[trial]["hparams"],
                "trainingMetrics": {"avgMetrics": None, "batchMetrics": []},
                "validationMetrics": {"avgMetrics": validation, "batchMetrics": []},
                "searcherMetric": None,
            },
        })  # fmt: skip

    def answer(self, path: str, query: dict[str, list[str]], sent: Any, token: str) -> tuple[int, Any]:
        """Return status and body: JSON, a list of it as a stream, or bytes."""
        if path == "/info":
            return 200, {"version": "0.38.1", "clusterId": "c", "masterId": "m", "clusterName": ""}
        if path == "/api/v1/auth/login":
            right = authentication.salt_and_hash(self.password)
            if (sent["username"], sent["password"]) == ("determined", right):
                return 200, {"token": "a-token", "user": _USER}
            return 403, {"error": {"code": 7, "reason": "PermissionDenied", "error": "invalid credentials"}}
        if token != "Bearer a-token":
            return 401, {"error": {"code": 16, "reason": "Unauthenticated", "error": "invalid credentials"}}
        for begin, status in self.fails.items():
            if path.startswith(begin):
                return status, {"error": {"code": 14, "reason": "Unavailable", "error": "out of order"}}
        found = self._known(path.strip("/").split("/"), query)
        return found if found is not None else (404, {"error": {"code": 5, "reason": "NotFound", "error": "not found"}})

    def _known(self, parts: list[str], query: dict[str, list[str]]) -> tuple[int, Any] | None:
        match parts:
            case ["api", "v1", "me"]:
                return 200, {"user": _USER}
            case ["api", "v1", "master"]:
                return 200, _MASTER
            case ["api", "v1", "experiments", "7"]:
                return 200, {"experiment": {**_EXPERIMENT, "state": self.state, "config": self.config}, "config": {}}
            case ["api", "v1", "experiments", "7", "checkpoints"]:
                states = query.get("states", [])
                return self._page([each for each in self.checkpoints if each["state"] in states], query)
            case ["api", "v1", "trials", "metrics", "trial_metrics"]:
                rows = self._metrics.get((int(query["trialIds"][0]), query["group"][0]), [])
                return 200, [{"result": {"metrics": rows}}]
            case ["api", "v1", "trials", number, *rest] if number.isdigit() and int(number) in self._trials:
                return self._of_trial(int(number), rest, query)
            case ["api", "v1", "checkpoints", uuid]:
                found = [each for each in self.checkpoints if each["uuid"] == uuid]
                return (200, {"checkpoint": found[0]}) if found else None
            case ["checkpoints", uuid]:
                return 200, self._archive(uuid)
        return None

    def _of_trial(self, number: int, rest: list[str], query: dict[str, list[str]]) -> tuple[int, Any] | None:
        if rest == ["checkpoints"]:  # of every state, and so deleted ones too
            return self._page([each for each in self.checkpoints if each["training"]["trialId"] == number], query)
        if rest == ["logs"]:
            one = {"id": "1", "timestamp": MOMENT, "level": "LOG_LEVEL_INFO", "trialId": number}
            return 200, [{"result": {**one, "message": line}} for line in self.log]
        return (200, {"trial": self._trials[number]}) if not rest else None

    def _page(self, found: list[dict[str, Any]], query: dict[str, list[str]]) -> tuple[int, Any]:
        assert (query["sortByAttr"], query["orderBy"]) == (["SORT_BY_END_TIME"], ["ORDER_BY_DESC"])
        begin = int(query.get("offset", ["0"])[0])
        page = found[::-1][begin : begin + 2]  # as a master does with many
        pagination = {
            "offset": begin,
            "limit": 2,
            "startIndex": begin,
            "endIndex": begin + len(page),
            "total": len(found),
        }
        return 200, {"checkpoints": page, "pagination": pagination}

    def _archive(self, uuid: str) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for path in sorted((self._store / uuid).rglob("*")):
                archive.add(path, str(path.relative_to(self._store / uuid)), recursive=False)
        return file.getvalue()[: self.cut]


_USER = {"id": 2, "username": "determined", "admin": False, "active": True, "agentUserGroup": None, "displayName": ""}
_MASTER = {
    "version": "0.38.1", "masterId": "m", "clusterId": "the-cluster", "clusterName": "", "telemetryEnabled": False,
    "ssoProviders": [], "externalLoginUri": "", "externalLogoutUri": "", "branding": "determined", "rbacEnabled": False,
    "product": "PRODUCT_UNSPECIFIED", "featureSwitches": [], "userManagementEnabled": True,
    "strictJobQueueControl": False, "hasCustomLogo": False,
}  # fmt: skip
_EXPERIMENT = {
    "id": 7, "name": "digits", "description": "", "notes": "", "labels": [], "startTime": MOMENT, "endTime": MOMENT,
    "archived": False, "numTrials": 2, "trialIds": [], "displayName": "", "userId": 2, "username": "determined",
    "resourcePool": "default", "searcherType": "random", "jobId": "j", "progress": 1, "projectId": 1,
    "projectName": "", "workspaceId": 1, "workspaceName": "", "parentArchived": False, "originalConfig": "",
    "projectOwnerId": 1,
}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    timeout = 10

    def _handle(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self.server.master.answer(  # type: ignore[attr-defined]
            url.path,
            urllib.parse.parse_qs(url.query),
            json.loads(raw) if raw else None,
            self.headers.get("Authorization", ""),
        )
        if isinstance(body, bytes):
            content = body
        elif isinstance(body, list):
            content = b"".join(json.dumps(each).encode() + b"\n" for each in body)
        else:
            content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
