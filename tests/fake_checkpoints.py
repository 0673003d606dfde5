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
import tarfile
from pathlib import Path
from typing import Any

from fake_commands_master import MOMENT, Answer, CommandsMaster, refusal


class CheckpointsMaster(CommandsMaster):
    """A master with one user and one experiment, of number 7.

    Attributes:
        config: the experiment's; its storage is in no other machine's reach until a test names a directory.
        state: the experiment's.
        checkpoints: as a master describes them, from the oldest to the newest.
        cut: of each checkpoint's archive, the bytes that come before the connection breaks; None where it holds.
        fails: what a path that begins so is answered with: status.
        log: lines of each trial.
    """

    wrong_login = refusal(403, 7, "PermissionDenied", "invalid credentials")

    def __init__(self, store: Path) -> None:
        super().__init__()
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

    def known(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Answer | None:
        for begin, status in self.fails.items():
            if path.startswith(begin):
                return refusal(status, 14, "Unavailable", "out of order")
        match path.strip("/").split("/"):
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

    def _of_trial(self, number: int, rest: list[str], query: dict[str, list[str]]) -> Answer | None:
        if rest == ["checkpoints"]:  # of every state, and so deleted ones too
            return self._page([each for each in self.checkpoints if each["training"]["trialId"] == number], query)
        if rest == ["logs"]:
            one = {"id": "1", "timestamp": MOMENT, "level": "LOG_LEVEL_INFO", "trialId": number}
            return 200, [{"result": {**one, "message": line}} for line in self.log]
        return (200, {"trial": self._trials[number]}) if not rest else None

    def _page(self, found: list[dict[str, Any]], query: dict[str, list[str]]) -> Answer:
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
