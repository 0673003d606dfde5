"""Is a validation due after the batch just trained? As `_TrainingEpochLoop._should_check_val_fx`."""

from __future__ import annotations

import time

from lightning_adapter.data.loaders import INFINITE
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.strategies.base import SingleDeviceStrategy
from lightning_adapter.trainer.data_connector import DataConnector
from lightning_adapter.trainer.settings import Settings
from lightning_adapter.trainer.stop_request import StopRequest


class ValidationSchedule:
    """Decides, the same on all ranks.

    Args:
        settings: has the time between validations, if time decides.
        progress: where the run stands.
        data: knows what there is to validate on, and which batches are due.
        stop: a run that is about to stop is validated once more.
        strategy: the ranks.
        last_is_due: whether an epoch's last batch is due whatever its number: of a step that fetches its batches itself
            nobody knows how many there are.
    """

    def __init__(
        self,
        settings: Settings,
        progress: TrainingProgress,
        data: DataConnector,
        stop: StopRequest,
        strategy: SingleDeviceStrategy,
        last_is_due: bool = False,
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._data = data
        self._stop = stop
        self._strategy = strategy
        self._last_is_due = last_is_due
        self._validated_at = time.monotonic()

    def validated(self) -> None:
        """A validation is over; the time until the next one begins."""
        self._validated_at = time.monotonic()

    def is_due(self, period_ends: bool | None) -> bool:
        """Whether to validate now.

        Args:
            period_ends: whether a period that was given to `fit` ends; None where Lightning's arguments decide. With such
                a period the last batch of the training is validated too, as `_PyTorchTrialController._train` has it: a
                searcher is to see the end.
        """
        batch, settings, every = self._progress.batch, self._settings, self._data.val_check_batch
        if period_ends is not None:
            due = period_ends or self._ends_training()
        elif self._last_is_due and batch.is_last_batch:
            due = True
        elif settings.val_check_time_interval is not None:
            due = self._is_due_by_clock(settings.val_check_time_interval)
        elif every is None or every == INFINITE:
            limit = settings.limit_train_batches
            due = batch.is_last_batch or (isinstance(limit, int) and batch.current.ready % limit == 0)
        else:
            counter = batch.total if settings.check_val_every_n_epoch is None else batch.current
            due = counter.ready % every == 0
        # a run that is about to stop validates once more, as `_should_check_val_fx` has it
        if not due and not (self._stop.agreed and self._progress.may_stop_early):
            return False
        return self._data.validates_in_epoch if period_ends is None else self._data.enable_validation

    def _ends_training(self) -> bool:
        """Whether `max_steps` or `max_epochs` is reached with this batch."""
        settings, progress = self._settings, self._progress
        if progress.max_steps_reached:
            return True
        # the epoch of this batch is not processed yet
        epochs = progress.epoch.current.processed + 1
        return progress.last_batch_reached and settings.max_epochs != -1 and epochs >= settings.max_epochs

    def _is_due_by_clock(self, interval: float) -> bool:
        """Clocks differ between processes: the chief's is the one that counts."""
        is_up = time.monotonic() - self._validated_at >= interval
        return self._data.validates_in_epoch and bool(self._strategy.broadcast(is_up))
