"""When does a learning rate scheduler step? As `_TrainingEpochLoop.update_lr_schedulers` and `_update_learning_rates`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.trainer.monitors import advice
from lightning_adapter.versions.lightning_1x import OptimizerTurns, Signatures
from lightning_adapter.versions.types import LRSchedulerConfig


class Schedulers:
    """Steps the schedulers of one run under automatic optimization; in manual optimization user code does.

    Args:
        configs: the schedulers' configurations, in order; user code may change the list.
        hooks: of the run.
        progress: where the run stands.
        connector: has the values that plateau schedulers monitor.
        signatures: finds the optimizer that a scheduler belongs to.
        turns: which optimizers have their turn at a batch; None where there is one, which always has.
    """

    def __init__(
        self,
        configs: list[LRSchedulerConfig],
        hooks: Hooks,
        progress: TrainingProgress,
        connector: LoggerConnector,
        signatures: Signatures,
        turns: OptimizerTurns | None,
    ) -> None:
        self.configs = configs
        self._module = hooks.module
        self._host = hooks.host
        self._progress = progress
        self._connector = connector
        self._signatures = signatures
        self._turns = turns
        self._own_step = hooks.replaced("lr_scheduler_step")
        self._step = hooks.module_hook("lr_scheduler_step")

    def step(self, interval: Literal["step", "epoch"], plateau: bool) -> None:
        """Step the schedulers of one interval that are due.

        Args:
            interval: as in the scheduler's configuration.
            plateau: whether those that monitor a value are meant, which step after the validation, or the others.
        """
        progress = self._progress
        if not self._module.automatic_optimization or (interval == "step" and progress.accumulates):
            return
        # `frequency` counts batches within the epoch, or epochs
        index = progress.batch_idx if interval == "step" else progress.current_epoch
        turns = None if self._turns is None else self._turns.at(progress.total_batches - 1)
        for config in self.configs:
            if config.reduce_on_plateau is not plateau or config.interval != interval:
                continue
            if (index + 1) % config.frequency != 0:
                continue
            # schedulers of optimizers that had not their turn wait
            if (
                turns is not None
                and self._signatures.index_of(getattr(config.scheduler, "optimizer", None)) not in turns
            ):
                continue
            value = self._monitored(config) if plateau else None
            if plateau and value is None:
                continue
            progress.schedulers.advance_ready(is_last=False)
            # torch's own schedulers are stepped directly where nobody overrides the hook, which would do just that
            if plateau or self._own_step or not isinstance(config.scheduler, torch.optim.lr_scheduler.LRScheduler):
                self._step(config.scheduler, value)
            else:
                config.scheduler.step()
            progress.schedulers.advance_completed()

    def _monitored(self, config: LRSchedulerConfig) -> Tensor | None:
        """The value that a plateau scheduler monitors; None, with a warning, where it is not there and need not be."""
        monitor = config.monitor
        value: Tensor | None = None if monitor is None else self._connector.callback_metrics.get(monitor)
        if value is not None:
            return value
        if config.strict:
            raise self._host.misconfiguration(
                f"ReduceLROnPlateau conditioned on metric {config.monitor} which is not available. Available metrics are:"
                f" {list(self._connector.callback_metrics)}. Condition can be set using `monitor` key in lr scheduler dict"
                f"\n{advice(str(monitor), self._connector.callback_metrics)}"
            )
        self._host.warn(
            f"ReduceLROnPlateau conditioned on metric {config.monitor} which is not available but strict is set to"
            " `False`. Skipping learning rate update.",
            category=RuntimeWarning,
        )
        return None
