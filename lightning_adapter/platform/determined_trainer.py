"""How does a trial run under Determined's own `pytorch.Trainer`, or behind an entrypoint `model_def:TrialClass`?"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import determined as det
from determined import pytorch

from lightning_adapter.checkpoints.content import callback_states
from lightning_adapter.loop.components import Components
from lightning_adapter.platform.platform import Platform
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.versions import determined_private


class DeterminedTrainerPlatform(Platform):
    """Periods, length and checkpoints are Determined's.

    Args:
        context: Determined's context.
    """

    owns_loop = False

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.start = StartingPoint()
        self.root_dir = os.getcwd()
        self._tensorboard = functools.cache(lambda: os.fspath(determined_private.tensorboard_path(context)))

    def tensorboard(self) -> str:
        """A directory whose files Determined uploads."""
        directory: str = self._tensorboard()
        return directory

    def reports_progress(self, has_callbacks: bool) -> bool:
        """Determined's periods decide."""
        return False

    def stops_now(self) -> bool:
        """Determined asks at its own boundaries."""
        return False

    def record_training(self, batches: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """There is no run directory."""

    def validated(self, batches: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Determined reports its values."""

    def run_is_over(self, context: pytorch.PyTorchTrialContext) -> None:
        """Its loop is told to stop, since its length may be longer than Lightning's."""
        context.set_stop_requested(True)

    def loads_foreign_weights(self, first_batch_idx: int) -> bool:
        """On a cluster, where a trial that has trained before begins after its last batch."""
        info = det.get_cluster_info()
        return info is not None and info.task_type == "TRIAL" and first_batch_idx == 0

    def state_of(self, parts: Components, state: dict[str, Any]) -> dict[str, Any]:
        """The run's state, and callbacks and schedulers, which Determined does not know."""
        return {**state, "callbacks": callback_states(parts)}
