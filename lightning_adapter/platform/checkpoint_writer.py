"""How is a checkpoint of `fit()` written, and which one is the best?"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypedDict

import determined as det
import torch
from determined import core, pytorch

from lightning_adapter.checkpoints import file
from lightning_adapter.checkpoints.content import OURS, lightning_checkpoint
from lightning_adapter.loop.run_state import of_this_rank
from lightning_adapter.platform.driver import Driver
from lightning_adapter.versions import determined_private

#: From metadata to the directory that a checkpoint is written to, and its id.
Store = Callable[[dict[str, Any]], AbstractContextManager[tuple[pathlib.Path, str]]]


class BestCheckpoint(TypedDict):
    """The checkpoint whose validation was best, and its value of the searcher's metric."""

    uuid: str
    value: float


class CheckpointWriter:
    """Writes checkpoints, all ranks together; the chief holds the pen.

    Args:
        distributed: the processes of the job.
        store: where checkpoints go.
        smaller_is_better: the direction of the searcher's metric.
        with_code: whether the trial's code is put beside the weights, where Determined's export looks for it.
        best: the best one of the run that this one goes on with.

    Attributes:
        uuid: id of the last checkpoint.
        best: the best one so far; None where none was validated.
    """

    def __init__(
        self,
        distributed: core.DistributedContext,
        store: Store,
        smaller_is_better: bool,
        with_code: bool,
        best: BestCheckpoint | None,
    ) -> None:
        self._distributed = distributed
        self._store = store
        self._smaller = smaller_is_better
        self._with_code = with_code
        self._validated: tuple[int, float] | None = None
        self.uuid: str | None = None
        self.best = best

    def validated(self, batches: int, value: float) -> None:
        """A validation has given a value of the searcher's metric."""
        self._validated = (batches, value)

    def _best_with(self, uuid: str, batches: int) -> BestCheckpoint | None:
        """The best checkpoint once this one is written."""
        if self._validated is None or self._validated[0] != batches or not math.isfinite(self._validated[1]):
            return self.best
        value = self._validated[1]
        if self.best is None or (value < self.best["value"] if self._smaller else value > self.best["value"]):
            return {"uuid": uuid, "value": value}
        return self.best

    def write(self, driver: Driver, callbacks: Mapping[str, pytorch.PyTorchCallback]) -> str:
        """Write a checkpoint.

        Args:
            driver: of the run.
            callbacks: Determined's callbacks, whose own checkpoint hooks run on the chief, as Determined has it.

        Returns:
            Its id.
        """
        parts = driver.parts
        batches = parts.progress.total_batches
        content = lightning_checkpoint(parts)
        state = driver.saved_state()
        parts.strategy.check_parameters(batches)
        ranks = self._distributed.gather(of_this_rank(state))
        uuid = ""
        if self._distributed.rank == 0:
            states = {name: kept for name, callback in callbacks.items() if (kept := callback.state_dict())}
            content[OURS] = {**state, "ranks": ranks, "determined_callbacks": states}
            for callback in callbacks.values():
                callback.on_checkpoint_save_start(content)
            metadata = {
                "determined_version": det.__version__,
                "steps_completed": batches,
                "framework": f"torch-{torch.__version__}",
                "format": "lightning",
            }
            with self._store(metadata) as (path, uuid):
                content[OURS]["best"] = self._best_with(uuid, batches)
                path.mkdir(parents=True, exist_ok=True)
                file.save(path / file.FILE, content)
                if self._with_code:
                    determined_private.write_user_code(path)
                for callback in callbacks.values():
                    callback.on_checkpoint_write_end(str(path))
        self.uuid = written = self._distributed.broadcast(uuid)
        self.best = self._best_with(written, batches)
        return str(written)
