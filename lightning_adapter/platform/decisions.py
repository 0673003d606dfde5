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
        self._parts = parts
        self._platform = platform
        self._schedule = schedule
        self._boundaries = boundaries
        self._rank_check = Period.of(parts.arguments.check_ranks_every)
        self._reports_progress = platform.reports_progress(has_callbacks)

    def after_batch(self) -> bool:
        """A batch is trained.

        Returns:
            Whether the loop waits for a validation. Under Determined's own Trainer, whose periods decide, it may come.
        """
        parts, platform = self._parts, self._platform
        progress, boundaries = parts.progress, self._boundaries
        batches = progress.batch.total.ready
        if platform.max_batches is not None and batches >= platform.max_batches:
            parts.stop.decide(True)  # all ranks count alike
        # nothing is saved or reported with gradients in the making
        stepped = not progress.accumulates
        reports = stepped and parts.trainer.should_log
        # where the device is waited for anyway
        if reports or progress.batch.is_last_batch or len(parts.non_finite.pending) >= MAX_PENDING:
            parts.non_finite.check()
        if self._rank_check is not None and self._rank_check.ends(progress):
            parts.strategy.check_parameters(batches)
        if not platform.owns_loop:
            return True
        validate = self.validation_is_due()
        ends_unsaved = progress.batch.is_last_batch and not validate and platform.checkpoint_each_epoch
        saves = platform.checkpoint_period
        if ends_unsaved or (saves is not None and saves.ends(progress)):
            platform.owe_checkpoint()
        # asked at each batch, since it counts them
        asks = boundaries.preemption.is_due() or platform.stops_now()
        boundaries.decide(
            report=reports and self._reports_progress,
            look=stepped and asks,
            validate=validate,
            checkpoint=stepped and platform.checkpoint_owed,
        )
        return validate

    def validation_is_due(self) -> bool:
        """Whether a validation belongs after the batch trained last, the same on all ranks."""
        period = self._platform.validation_period
        return self._schedule.is_due(None if period is None else period.ends(self._parts.progress))

    def after_empty_epoch(self) -> bool:
        """An epoch has ended without a batch, as all do where `on_train_batch_start` always returns -1.

        Returns:
            Whether Determined is to look for a request to stop; there may be no other moment for it.
        """
        looks = self._platform.owns_loop and (self._boundaries.preemption.is_due() or self._platform.stops_now())
        self._boundaries.decide(report=False, look=looks, validate=False, checkpoint=False)
        return looks
