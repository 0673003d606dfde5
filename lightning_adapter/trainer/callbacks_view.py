"""What does user code find at `self.trainer` about the callbacks?"""

from __future__ import annotations

from typing import Any

from lightning_adapter.trainer.callback_list import CallbackList
from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import Callback


class CallbacksView:
    """The callbacks under the names that Lightning's Trainer has for them.

    Args:
        host: the Lightning package.
        callbacks: of the run.
    """

    def __init__(self, host: Host, callbacks: CallbackList) -> None:
        self.host = host
        self._callbacks = callbacks

    @property
    def callbacks(self) -> list[Callback]:
        """The callbacks, in the order in which they are called."""
        return self._callbacks.items

    @callbacks.setter
    def callbacks(self, callbacks: list[Callback]) -> None:
        self._callbacks.replace(callbacks)

    @property
    def accumulation_scheduler(self) -> Any:
        """The GradientAccumulationScheduler of Lightning 1.x, which always has one; None since."""
        return self._callbacks.schedule

    @property
    def early_stopping_callbacks(self) -> list[Callback]:
        """All EarlyStopping callbacks."""
        return self._callbacks.of_kind(self.host.pl.callbacks.EarlyStopping)

    @property
    def early_stopping_callback(self) -> Callback | None:
        """The first EarlyStopping callback, or None."""
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def checkpoint_callbacks(self) -> list[Callback]:
        """All Checkpoint callbacks."""
        return self._callbacks.of_kind(self.host.pl.callbacks.Checkpoint)

    @property
    def checkpoint_callback(self) -> Callback | None:
        """The first Checkpoint callback, or None."""
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def progress_bar_callback(self) -> Callback | None:
        """The progress bar that was passed in `callbacks`, or None."""
        return next(iter(self._callbacks.of_kind(self.host.progress_bar_class)), None)
