"""Which training metrics is Determined told of, and when?"""

from __future__ import annotations

from determined import pytorch

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.platform.platform import Platform
from lightning_adapter.versions import determined_private


class TrainingReports:
    """Reports training metrics when they are logged, each name once per batch: the master refuses what it has.

    Args:
        context: Determined's context.
        platform: keeps metrics of a local run.
        progress: where the run stands.
    """

    def __init__(self, context: pytorch.PyTorchTrialContext, platform: Platform, progress: TrainingProgress) -> None:
        self._context = context
        self._platform = platform
        self._progress = progress
        self._batch = -1
        self._known: set[str] = set()

    def report(self, metrics: dict[str, float]) -> None:
        """Report metrics of the batch just trained; the chief alone does."""
        if self._context.distributed.rank != 0 or not metrics:
            return
        progress = self._progress
        batch = progress.total_batches
        if self._batch != batch:
            self._batch, self._known = batch, set()
        fresh = {name: value for name, value in metrics.items() if name not in self._known}
        if not self._known and self._platform.owns_loop:  # Determined's own Trainer reports the two itself
            fresh = {"batches": batch, "epochs": progress.whole_epochs, **fresh}
        self._known.update(fresh)
        self._platform.record_training(batch, progress.current_epoch, metrics)
        if fresh:
            determined_private.report_training_metrics(self._context, batch, fresh)
