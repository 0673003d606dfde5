"""How is an experiment of a few seconds made on the cluster under test, followed, and looked at afterwards?"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from determined.common import api
from determined.common.api import bindings
from determined.experimental import client

ROOT = Path(__file__).resolve().parent.parent.parent
CONTEXT = Path(__file__).resolve().parent / "context"
BATCHES = 16  # of an epoch of context/model_def.py
LIMIT_S = 300.0  # for whatever is waited for
TORCHRUN = "python3 -m determined.launch.torch_distributed -- "
HOROVODRUN = "python3 -m determined.launch.horovod -- "
#: To be merged into the configuration: slow enough to be interrupted in the second epoch.
SLOW = {"hyperparameters": {"seconds_per_batch": 0.1}}
TWO_SLOTS = {"resources": {"slots_per_trial": 2}}
HYPERPARAMETERS = {"lr": 0.01, "width": 16, "global_batch_size": 10}
DONE = {"COMPLETED", "CANCELED", "ERROR"}


def fit(epochs: int, *options: str, launcher: str = "", faults: list[dict[str, Any]] | None = None) -> str:
    """An entrypoint that trains so many epochs; behind a proxy that makes faults, where some are given."""
    proxy = f"python3 behind_faults.py '{json.dumps(faults)}' " if faults else ""
    return f"{proxy}{launcher}python3 -m lightning_adapter fit {' '.join(['model_def:Trial', *options])} --max-epochs {epochs}"


def merged(*configs: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged, lists put together, and of other values the last one wins."""
    result: dict[str, Any] = {}
    for config in configs:
        for key, value in config.items():
            if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
                result[key] = merged(result[key], value)
            elif isinstance(value, list) and isinstance(result.get(key), list):
                result[key] = [*result[key], *value]
            else:
                result[key] = value
    return result


def from_variables() -> dict[str, Any]:
    """What CLUSTER_TEST_CONFIG and CLUSTER_TEST_IMAGE say about each experiment."""
    config = extra("CLUSTER_TEST_CONFIG") or {}
    image = os.environ.get("CLUSTER_TEST_IMAGE")
    return merged(config, {"environment": {"image": image}}) if image else config


def extra(variable: str) -> dict[str, Any] | None:
    """The YAML that a variable names; None where it names none."""
    path = os.environ.get(variable)
    return yaml.safe_load(Path(path).read_text(encoding="utf-8")) if path else None


def until(
    condition: Callable[[], Any], what: str, queued: Callable[[], bool] = lambda: False, limit_s: float = LIMIT_S
) -> Any:
    """Wait until a condition is met, and return what it returned; how long something is queued does not count.

    A master that is away is asked again: the trials bear it too.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        with contextlib.suppress(api.errors.MasterNotFoundException):
            found = condition()
            if found:
                return found
            if queued():
                deadline = time.monotonic() + limit_s
        time.sleep(0.3)
    raise TimeoutError(f"waited {limit_s:g} s for {what}")


class Run:
    """One experiment, and its first trial."""

    def __init__(self, experiment: client.Experiment, session: api.Session) -> None:
        self.experiment = experiment
        self.session = session

    @property
    def id(self) -> int:
        return self.experiment.id

    @property
    def trials(self) -> list[client.Trial]:
        return sorted(self.experiment.list_trials(), key=lambda trial: trial.id)

    @property
    def trial(self) -> client.Trial:
        """The first trial, from the moment on at which the master has made it."""
        return until(lambda: self.trials, f"the first trial of experiment {self.id}")[0]

    @property
    def state(self) -> str:
        self.experiment.reload()
        return str(self.experiment.state.value).removeprefix("STATE_")

    @property
    def progress(self) -> float:
        return float(bindings.get_GetExperiment(self.session, experimentId=self.id).experiment.progress or 0.0)

    @property
    def restarts(self) -> int:
        return int(self.described(self.trial).restarts)

    def has_ended(self) -> bool:
        """Whether it is over, however."""
        return self.state in DONE

    def is_queued(self) -> bool:
        """Whether others have the slots that it waits for."""
        return self.state == "QUEUED"

    def described(self, trial: client.Trial) -> Any:
        """The trial, as the master tells it."""
        return bindings.get_GetTrial(self.session, trialId=trial.id).trial

    def wait(self, state: str = "COMPLETED") -> Run:
        """Wait for the end, which has to be the given one."""
        found = until(lambda: self.has_ended() and self.state, f"the end of experiment {self.id}", self.is_queued)
        if found != state:
            log = "".join(line for trial in self.trials for line in trial.iter_logs())
            raise AssertionError(f"experiment {self.id} is {found}, not {state}:\n{log[-6000:]}")
        return self

    def wait_for_batches(self, batches: int) -> Run:
        """Wait until the master has heard of so many batches."""
        trial = self.trial
        until(
            lambda: self.described(trial).totalBatchesProcessed >= batches or self.has_ended(),
            f"batch {batches} of experiment {self.id}",
            self.is_queued,
        )
        assert not self.has_ended(), f"experiment {self.id} was over before it could be interrupted"
        return self

    def wait_for_log(self, text: str) -> Run:
        """Wait until the first trial's log has a text."""
        what = f"{text!r} in the log of experiment {self.id}"
        until(lambda: text in self.log() or self.has_ended(), what, self.is_queued)
        assert text in self.log()
        return self

    def log(self, trial: client.Trial | None = None) -> str:
        """The task log without what the master writes before each line."""
        lines = (trial or self.trial).iter_logs()
        return "\n".join(line.rstrip("\n").split("|| ", 1)[-1] for line in lines)

    def weights(self) -> str:
        """The digest of the parameters with which the training ended."""
        found = [line for line in self.log().splitlines() if line.startswith("weights ")]
        assert len(found) == 1, f"the end of training was reached {len(found)} times"
        return found[0]

    def table(self, group: str, trial: client.Trial | None = None) -> list[tuple[int, dict[str, Any]]]:
        """The master's table of metrics: batches and values, in order."""
        rows = (trial or self.trial).iter_metrics(group)
        return sorted(((row.steps_completed, row.metrics) for row in rows), key=lambda row: row[0])

    def outcome(self) -> tuple[Any, ...]:
        """All that an interruption must not change."""
        return self.weights(), self.table("training"), self.table("validation")

    def checkpoints(self) -> dict[str, list[int]]:
        """For each state, the batches of the first trial's checkpoints."""
        found: dict[str, list[int]] = {}
        for checkpoint in self.trial.list_checkpoints():
            state = checkpoint.state.name
            found.setdefault(state, []).append(checkpoint.metadata["steps_completed"])
        return {state: sorted(steps) for state, steps in found.items()}


class Cluster:
    """The cluster under test.

    Args:
        context: a directory that holds the context of the experiments, with a wheel of this checkout.
    """

    def __init__(self, context: Path) -> None:
        self.determined = client.Determined()
        self.session = self.determined._session
        self.config = from_variables()
        self.context = context
        self.runs: list[Run] = []

    def start(self, entrypoint: str, *configs: Mapping[str, Any], **keys: Any) -> Run:
        """Create an experiment; `configs` are merged into its configuration, `keys` replace what is there."""
        base = {
            "name": "cluster-test",
            "entrypoint": entrypoint,
            "hyperparameters": HYPERPARAMETERS,
            "searcher": {"name": "single", "metric": "val_loss", "smaller_is_better": True},
            "reproducibility": {"experiment_seed": 1},
            "max_restarts": 0,
            # the sums of several threads depend on their number
            "environment": {"environment_variables": ["OMP_NUM_THREADS=1"]},
        }
        config = {**merged(base, self.config, *configs), **keys}
        run = Run(self.determined.create_experiment(config, model_dir=self.context), self.session)
        self.runs.append(run)
        return run

    def take(self, experiment_id: int) -> Run:
        """An experiment that something else has made, to be cleaned up with the others."""
        run = Run(self.determined.get_experiment(experiment_id), self.session)
        self.runs.append(run)
        return run

    def resource_pool(self) -> Any:
        """The pool in which experiments run."""
        name = (self.config.get("resources") or {}).get("resource_pool")
        pools = bindings.get_GetResourcePools(self.session).resourcePools or []
        return next(pool for pool in pools if pool.name == name or (name is None and pool.defaultComputePool))

    def storage(self, run: Run) -> Path | None:
        """The checkpoint storage, where this machine has it as a directory."""
        found = run.experiment.config["checkpoint_storage"]
        directory = Path(found.get("host_path") or found.get("container_path") or "", found.get("storage_path") or "")
        return directory if directory.is_absolute() and directory.is_dir() else None

    def end_all(self) -> None:
        """Kill what still runs."""
        for run in self.runs:
            if not run.has_ended():
                run.experiment.kill()


def built_context(directory: Path) -> Path:
    """Copy the context, with a wheel of this checkout in it."""
    context = directory / "context"
    shutil.copytree(CONTEXT, context)
    sources = directory / "sources"  # a build leaves folders beside the sources
    shutil.copytree(
        ROOT / "lightning_adapter", sources / "lightning_adapter", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, str(context), str(sources)], check=True)
    assert len(list(context.glob("lightning_adapter-*.whl"))) == 1
    return context
