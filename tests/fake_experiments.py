"""What would a master answer to people: to a login, a submission, questions about an experiment?  A loopback one.

Answers have the fields of a real 0.38.1::

    with ExperimentsMaster() as master:
        monkeypatch.setenv("DET_MASTER", master.url)
        # what each look at an experiment finds, the last one for ever
        master.script = [Look("STATE_RUNNING", 0.5), Look("STATE_COMPLETED", 1.0)]
        ...                                     # run a command
    master.created                              # what was submitted
"""

from __future__ import annotations

import base64
import dataclasses
import threading
from typing import Any

from ruamel.yaml import YAML

from fake_commands_master import MOMENT, Answer, CommandsMaster, refusal


@dataclasses.dataclass
class Trial:
    """A trial at one moment; `validations` are (batches, epochs, metrics)."""

    id: int = 35
    state: str = "STATE_RUNNING"
    batches: int = 0
    restarts: int = 0
    hparams: dict[str, Any] = dataclasses.field(default_factory=dict)
    validations: list[tuple[int, int, dict[str, Any]]] = dataclasses.field(default_factory=list)
    log: list[str] = dataclasses.field(default_factory=list)

    def json(self, metric: str, smaller: bool) -> dict[str, Any]:
        def workload(validation: tuple[int, int, dict[str, Any]]) -> dict[str, Any]:
            batches, epochs, values = validation
            average = {"batches": batches, "epochs": epochs, **values}
            return {
                "endTime": MOMENT,
                "metrics": {"avgMetrics": average, "batchMetrics": []},
                "numInputs": 0,
                "totalBatches": batches,
            }

        ranked = sorted(
            (one for one in self.validations if metric in one[2]), key=lambda one: one[2][metric], reverse=not smaller
        )
        return {
            "id": self.id, "experimentId": 12, "startTime": MOMENT, "endTime": None, "state": self.state,
            "restarts": self.restarts, "hparams": self.hparams, "totalBatchesProcessed": self.batches,
            "bestValidation": workload(ranked[0]) if ranked else None,
            "latestValidation": workload(self.validations[-1]) if self.validations else None,
            "bestCheckpoint": None, "runnerState": "", "wallClockTime": 14.7, "warmStartCheckpointUuid": "",
            "taskId": "12.x", "totalCheckpointSize": "0", "checkpointCount": 0, "summaryMetrics": {},
            "taskIds": ["12.x"], "searcherMetricValue": 0,
        }  # fmt: skip


@dataclasses.dataclass
class Look:
    """What one look at the experiment finds; a status other than 200 is a master in trouble."""

    state: str = "STATE_RUNNING"
    progress: float = 0.0
    trials: list[Trial] = dataclasses.field(default_factory=list)
    status: int = 200


class ExperimentsMaster(CommandsMaster):
    """A master with one user and at most one experiment.

    Attributes:
        script: what looks at the experiment find, one after the other; the last one stays.
        created: the requests that created experiments.
        validated: configurations that were to be validated.
        refuses: what the master says against a configuration; None where it takes all.
        projects: workspace -> its projects.
        requests: method and path of each request.
        hangs_up_at: a path whose requests get no answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.script = [Look("STATE_COMPLETED", 1.0)]
        self.created: list[dict[str, Any]] = []
        self.validated: list[str] = []
        self.refuses: str | None = None
        self.projects = {"Uncategorized": ["Uncategorized"], "vision": ["digits", "faces"]}
        self.requests: list[str] = []
        self.hangs_up_at = ""
        self.config: dict[str, Any] = {"searcher": {"name": "single", "metric": "val_loss", "smaller_is_better": True}}
        self._lock = threading.Lock()

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the experiment that was created."""
        sent = self.created[-1]["modelDefinition"]
        return {file["path"]: base64.b64decode(file["content"]) for file in sent if chr(file["type"]) == "0"}

    def answer(self, method: str, path: str, query: dict[str, list[str]], sent: Any, token: str) -> Answer:
        if path == self.hangs_up_at:
            return 0, None
        with self._lock:
            self.requests.append(f"{method} {path}")
            return super().answer(method, path, query, sent, token)

    def known(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Answer | None:
        look = self.script[0]
        if path == "/api/v1/workspaces":
            return 200, {
                "workspaces": [_workspace(*each) for each in enumerate(self.projects, 1)],
                "pagination": _page(2),
            }
        if path.startswith("/api/v1/workspaces/"):
            names = list(self.projects.values())[int(path.split("/")[4]) - 1]
            return 200, {"projects": [_project(*each) for each in enumerate(names, 1)], "pagination": _page(len(names))}
        if (method, path) == ("POST", "/api/v1/experiments"):
            return self._create(sent)
        if path == "/api/v1/experiments/12":
            if len(self.script) > 1 and self.requests.count(f"GET {path}") > 1:
                self.script.pop(0)
                look = self.script[0]
            return (
                (200, {"experiment": self._experiment(look), "jobSummary": None})
                if look.status == 200
                else (look.status, {})
            )
        if path == "/api/v1/experiments/12/trials":
            ranking = self.config["searcher"]
            trials = [trial.json(ranking["metric"], ranking["smaller_is_better"]) for trial in look.trials]
            return 200, {"trials": trials, "pagination": _page(len(trials))}
        if path == "/api/v1/trials/metrics/trial_metrics":
            return 200, [{"result": {"metrics": self._metrics(look, int(query["trialIds"][0]))}}]
        if path.startswith("/api/v1/trials/") and path.endswith("/logs"):
            return 200, self._log(look, int(path.split("/")[4]), query)
        return None

    def _create(self, sent: Any) -> Answer:
        if self.refuses is not None:
            return refusal(400, 3, "InvalidArgument", self.refuses)
        if sent.get("validateOnly"):
            self.validated.append(sent["config"])
            return 200, {"experiment": {}, "config": None, "jobSummary": None, "warnings": []}
        self.created.append(sent)
        config = YAML(typ="safe", pure=True).load(sent["config"])
        config["searcher"] = {"smaller_is_better": True, **config["searcher"]}
        config["hyperparameters"] = {
            name: value if isinstance(value, dict) else {"type": "const", "val": value}
            for name, value in (config.get("hyperparameters") or {}).items()
        }
        self.config = config
        return 200, {"experiment": self._experiment(Look()), "config": config, "warnings": []}

    def _experiment(self, look: Look) -> dict[str, Any]:
        return {
            "archived": False, "config": self.config, "id": 12, "jobId": "j", "name": "n", "numTrials": len(look.trials),
            "originalConfig": "", "projectId": 1, "projectOwnerId": 1, "searcherType": self.config["searcher"]["name"],
            "startTime": MOMENT, "state": look.state, "username": "determined", "progress": look.progress,
        }  # fmt: skip

    def _metrics(self, look: Look, number: int) -> list[dict[str, Any]]:
        (trial,) = [trial for trial in look.trials if trial.id == number]
        return [
            {
                "archived": False, "endTime": MOMENT, "group": "validation", "id": index, "totalBatches": batches,
                "metrics": {"validation_metrics": {"batches": batches, "epochs": epochs, **values}}, "trialId": number,
                "trialRunId": 1,
            }
            for index, (batches, epochs, values) in enumerate(trial.validations)
        ]  # fmt: skip

    def _log(self, look: Look, number: int, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        (trial,) = [trial for trial in look.trials if trial.id == number]
        lines = [
            {
                "id": str(index), "level": "LOG_LEVEL_INFO", "log": f"{text}\n", "timestamp": f"2026-11-25T21:26:{index:02}Z",
                "message": f"[2026-11-25T21:26:{index:02}Z] x || INFO: {text}\n", "trialId": number,
            }
            for index, text in enumerate(trial.log)
        ]  # fmt: skip
        after = query.get("timestampAfter", [""])[0]
        lines = [line for line in lines if str(line["timestamp"]) >= after]
        if query.get("orderBy") == ["ORDER_BY_DESC"]:
            lines = lines[::-1][: int(query["limit"][0])]
        return [{"result": line} for line in lines]


def _page(total: int) -> dict[str, int]:
    return {"offset": 0, "limit": 0, "startIndex": 0, "endIndex": total, "total": total}


def _workspace(number: int, name: str) -> dict[str, Any]:
    return {
        "archived": False, "errorMessage": "", "id": number, "immutable": False, "name": name, "numExperiments": 0,
        "numProjects": 1, "pinned": False, "state": "WORKSPACE_STATE_UNSPECIFIED", "userId": 1, "username": "admin",
    }  # fmt: skip


def _project(number: int, name: str) -> dict[str, Any]:
    return {
        "archived": False, "errorMessage": "", "id": number, "immutable": False, "key": "k", "name": name, "notes": [],
        "numActiveExperiments": 0, "numExperiments": 0, "numRuns": 0, "state": "WORKSPACE_STATE_UNSPECIFIED",
        "userId": 1, "username": "admin", "workspaceId": 1,
    }  # fmt: skip
