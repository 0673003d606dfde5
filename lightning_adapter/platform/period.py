"""Does a period that was given in Determined's units end with the batch just trained?"""

from __future__ import annotations

from determined import pytorch

from lightning_adapter.loop.progress import TrainingProgress


class Period:
    """Every n batches or epochs, or at the batches or epochs in a container: Determined's `Batch(n)` and `Epoch(n)`."""

    def __init__(self, unit: pytorch.TrainUnit) -> None:
        self.in_epochs = isinstance(unit, pytorch.Epoch)
        self.value = unit.value

    @classmethod
    def of(cls, unit: pytorch.TrainUnit | None) -> Period | None:
        """The period of a unit, None for none."""
        return None if unit is None else cls(unit)

    def _holds(self, count: int) -> bool:
        if isinstance(self.value, int):
            return self.value < 1 or (count > 0 and count % self.value == 0)
        return count in self.value

    def ends(self, progress: TrainingProgress) -> bool:
        """Whether the period ends with the batch just trained; the epoch that it ends counts as trained."""
        if self.in_epochs:
            return progress.batch.is_last_batch and self._holds(progress.epoch.current.processed + 1)
        return self._holds(progress.total_batches)
