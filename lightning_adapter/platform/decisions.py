"""What is Determined to do after the batch just trained: report, look for a request to stop, validate, save?"""

from __future__ import annotations

from lightning_adapter.loop.components import Components
from lightning_adapter.loop.validation_schedule import ValidationSchedule
from lightning_adapter.platform.boundaries import Boundaries
from lightning_adapter.platform.period import Period
from lightning_adapter.platform.platform import Platform
from lightning_adapter.trainer.nonfinite import MAX_PENDING


class Decisions:
    """Decides after each batch, the same on all ranks.

    Args:
        parts: the run.
        platform: has periods and limits, and knows who is to be told.
        schedule: says when a validation is due.
        boundaries: told what was decided; Determined asks there.
        has_callbacks: whether the trial of any rank has Determined callbacks of its own.
    """

    def __init__(
        self,
        parts: Components,
        platform: Platform,
        schedule: ValidationSchedule,
        boundaries: Boundaries,
        has_callbacks: bool,
    ) -> None:
        # asked after each batch, and therefore not through `parts`
        self._progress, self._stop, self._non_finite = parts.progress, parts.stop, parts.non_finite
        self._strategy = parts.strategy
        self._platform = platform
        self._schedule = schedule
        self._boundaries = boundaries
        self._preemption = boundaries.preemption
        self._rank_check = Period.of(parts.arguments.check_ranks_every)
        self._reports_progress = platform.reports_progress(has_callbacks)

    def after_batch(self) -> bool:
        """A batch is trained.

        Returns:
            Whether the loop waits for a validation. Under Determined's own Trainer, whose periods decide, it may come.
        """
        progress, platform = self._progress, self._platform
        batch = progress.batch
        batches, is_last = batch.total.ready, batch.is_last_batch
        if platform.max_batches is not None and batches >= platform.max_batches:
            self._stop.decide(True)  # all ranks count alike
        # nothing is saved or reported with gradients in the making
        stepped = not progress.accumulates
        reports = stepped and progress.is_reported(self._stop.agreed)
        # where the device is waited for anyway
        if reports or is_last or len(self._non_finite.pending) >= MAX_PENDING:
            self._non_finite.check()
        if self._rank_check is not None and self._rank_check.ends(progress):
            self._strategy.check_parameters(batches)
        if not platform.owns_loop:
            return True
        validate = self.validation_is_due()
        saves = platform.checkpoint_period
        ends_unsaved = is_last and not validate and platform.checkpoint_each_epoch
        if ends_unsaved or (saves is not None and saves.ends(progress)):
            platform.owe_checkpoint()
        look = stepped and (batches >= self._preemption.due_at or platform.stops_now())
        # what was decided when the workload began is that nothing is due
        if reports or look or validate or platform.checkpoint_owed:
            self._boundaries.decide(
                report=reports and self._reports_progress,
                look=look,
                validate=validate,
                checkpoint=stepped and platform.checkpoint_owed,
            )
        return validate

    def validation_is_due(self) -> bool:
        """Whether a validation belongs after the batch trained last, the same on all ranks."""
        period = self._platform.validation_period
        return self._schedule.is_due(None if period is None else period.ends(self._progress))

    def after_empty_epoch(self) -> bool:
        """An epoch has ended without a batch, as all do where `on_train_batch_start` always returns -1.

        Returns:
            Whether Determined is to look for a request to stop; there may be no other moment for it.
        """
        self._preemption.count_epoch_without_batch()
        due = self._progress.total_batches >= self._preemption.due_at
        looks = self._platform.owns_loop and (due or self._platform.stops_now())
        self._boundaries.decide(report=False, look=looks, validate=False, checkpoint=False)
        return looks
