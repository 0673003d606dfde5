"""How is a checkpoint of `fit()` written, and which one is the best?"""

from __future__ import annotations

import contextlib
import functools
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypedDict

import determined as det
import torch
from determined import core, pytorch

from lightning_adapter.checkpoints import file
from lightning_adapter.checkpoints.content import OURS, lightning_checkpoint
from lightning_adapter.checkpoints.snapshot import Snapshot
from lightning_adapter.loop.run_state import of_this_rank
from lightning_adapter.platform.beside import Beside
from lightning_adapter.platform.driver import Driver
from lightning_adapter.platform.experiment.periods import SearcherMetric
from lightning_adapter.platform.kept_files import KeptFiles
from lightning_adapter.platform.made_with import MadeWith
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.platform.training_time import TrainingTime
from lightning_adapter.platform.user_code import UserCode

#: From metadata to the directory that a checkpoint is written to, and its id. Where checkpoints are written beside
#: training, the block is entered by the thread that trains and left by another.
Store = Callable[[dict[str, Any]], AbstractContextManager[tuple[pathlib.Path, str]]]


class BestCheckpoint(TypedDict):
    """The checkpoint whose validation was best.

    Attributes:
        uuid: its id.
        value: its value of the searcher's metric.
        metric: the searcher's metric.
        directory: of a local run's checkpoints, among which it lies; None on a cluster.
    """

    uuid: str
    value: float
    metric: str | None
    directory: str | None


def best_before(start: StartingPoint, metric: str | None) -> BestCheckpoint | None:
    """The best checkpoint of the run that a run goes on with; None where it is not known by this metric."""
    if start.saved is None or not start.resumes:
        return None
    best = start.saved.get(OURS, {}).get("best")
    if not isinstance(best, dict) or not {"uuid", "value"} <= best.keys() or best.get("metric", metric) != metric:
        return None
    return {"uuid": best["uuid"], "value": best["value"], "metric": metric, "directory": best.get("directory")}


class CheckpointWriter:
    """Writes checkpoints, all ranks together; the chief holds the pen.

    Args:
        distributed: the processes of the job.
        store: where checkpoints go.
        metric: the searcher's metric and its direction.
        directory: of a local run's checkpoints; None on a cluster.
        code: the trial's, which is put beside the weights on a cluster; None elsewhere.
        files: that the run has written to its working directory, likewise.
        made_with: of the run, for one that goes on from a checkpoint.
        best: the best one of the run that this one goes on with.
        time: that the run has trained, which a run that goes on adds to.
        waits: whether training waits until a checkpoint is written.

    Attributes:
        beside: where files are written while training goes on.
        uuid: id of the last checkpoint, which may still be written.
        best: the best one so far; None where none was validated.
    """

    def __init__(
        self,
        distributed: core.DistributedContext,
        store: Store,
        metric: SearcherMetric,
        directory: pathlib.Path | None,
        code: UserCode | None,
        files: KeptFiles | None,
        made_with: MadeWith,
        best: BestCheckpoint | None,
        time: TrainingTime,
        waits: bool,
    ) -> None:
        self._distributed = distributed
        self._store = store
        self._metric, self._smaller = metric
        self._directory = None if directory is None else str(directory)
        self._code = code
        self._files = files
        self._made_with = made_with
        self._validated: tuple[int, float] | None = None
        self._time = time
        self._waits = waits
        self.beside = Beside()
        self.uuid: str | None = None
        self.best = best

    def validated(self, batches: int, value: float) -> None:
        """A validation has given a value of the searcher's metric."""
        self._validated = (batches, value)

    def best_lies_in(self, directory: pathlib.Path) -> None:
        """The best checkpoint of before has come along to this run's."""
        if self.best is not None:
            self.best = {**self.best, "directory": str(directory)}

    def _best_with(self, uuid: str, batches: int) -> BestCheckpoint | None:
        """The best checkpoint once this one is written; of equal ones the newest, as `runs.retention` keeps them."""
        if self._validated is None or self._validated[0] != batches or not math.isfinite(self._validated[1]):
            return self.best
        value = self._validated[1]
        if self.best is None or (value <= self.best["value"] if self._smaller else value >= self.best["value"]):
            return {"uuid": uuid, "value": value, "metric": self._metric, "directory": self._directory}
        return self.best

    def write(self, driver: Driver, callbacks: Mapping[str, pytorch.PyTorchCallback]) -> str:
        """Write a checkpoint; where files are written beside training, return when all is copied that stands in it.

        Args:
            driver: of the run.
            callbacks: Determined's callbacks, whose own checkpoint hooks run on the chief, as Determined has it.

        Returns:
            Its id.

        Raises:
            CheckpointError: it, or the one before, cannot be written.
        """
        self.beside.settle()
        parts = driver.parts
        batches = parts.progress.total_batches
        content = lightning_checkpoint(parts)
        state = driver.saved_state()
        parts.strategy.check_parameters(batches)
        gathered = self._distributed.gather((of_this_rank(state), _read_files(callbacks.values())))
        uuid = ""
        data_random = driver.data_random.state
        assert data_random is not None
        if gathered is not None:  # on the chief
            states = {name: kept for name, callback in callbacks.items() if (kept := callback.state_dict())}
            made = {**self._made_with, "data_random": data_random.state_dict()}
            ranks = [rank for rank, _ in gathered]
            content[OURS] = {**state, "ranks": ranks, "determined_callbacks": states, **made}
            content[OURS]["seconds"] = self._time.in_all
            for callback in callbacks.values():
                callback.on_checkpoint_save_start(content)
            metadata = {
                "determined_version": det.__version__,
                "steps_completed": batches,
                "framework": f"torch-{torch.__version__}",
                "format": "lightning",
                "epoch": content["epoch"],
                "global_step": content["global_step"],
                "epochs_completed": parts.progress.whole_epochs,
                # those that the state has: to ask for them is to compute them, which Lightning 1.9 shows in later values
                "metrics": _finite(state["metrics"]["callback"]),
            }
            waits = self._waits or any(reads for _, reads in gathered)
            with contextlib.ExitStack() as stack:
                path, uuid = stack.enter_context(self._store(metadata))
                content[OURS]["best"] = self._best_with(uuid, batches)
                ready = file.ready(content)
                snapshot = None if waits else Snapshot.of(ready)
                if snapshot is None:
                    self._write_all(path, ready, callbacks.values())
                else:
                    self.beside.start(functools.partial(_write_within, stack.pop_all(), path / file.FILE, snapshot))
        self.uuid = written = self._distributed.broadcast(uuid)
        self.best = self._best_with(written, batches)
        return str(written)

    def _write_all(
        self, path: pathlib.Path, content: Mapping[str, Any], callbacks: Iterable[pytorch.PyTorchCallback]
    ) -> None:
        path.mkdir(parents=True, exist_ok=True)
        file.write(path / file.FILE, content)
        if self._code is not None:
            self._code.write(path)
        if self._files is not None:
            self._files.write(path)
        for callback in callbacks:
            callback.on_checkpoint_write_end(str(path))


def _write_within(block: contextlib.ExitStack, path: pathlib.Path, content: Snapshot) -> None:
    """Write the file of a checkpoint, which has its place when the block has ended."""
    with block:
        file.write(path, content)


def _read_files(callbacks: Iterable[pytorch.PyTorchCallback]) -> bool:
    """Whether any of Determined's callbacks is told of files that are there: then they have to be."""
    own = pytorch.PyTorchCallback
    return any(
        getattr(callback.on_checkpoint_write_end, "__func__", None) is not own.on_checkpoint_write_end
        or getattr(callback.on_checkpoint_upload_end, "__func__", None) is not own.on_checkpoint_upload_end
        for callback in callbacks
    )


def _finite(metrics: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """The values that JSON has, and a master's database."""
    numbers = {name: float(value) for name, value in metrics.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
