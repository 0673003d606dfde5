"""Which batch ends a workload of Determined's loop, and for what: report, validation, checkpoint, end?

The adapter decides after each batch; Determined asks the containers below, which are what its public `Batch(container)`
takes. One decision, in one place, the same on all ranks.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from determined import pytorch


class _Answer(Container[int]):
    """A container that says yes to the batch just trained if `boundaries` want it to end the workload."""

    def __init__(self, boundaries: Boundaries, name: str) -> None:
        self.boundaries = boundaries
        self.name = name

    def __contains__(self, batch: Any) -> bool:
        return bool(getattr(self.boundaries, self.name))


class Boundaries:
    """What Determined is asked to do after the batch just trained.

    Attributes:
        report: metrics were logged and go to Determined.
        validate: a validation is due.
        checkpoint: a checkpoint is due.
        finished: training is over, or has to be interrupted here.
    """

    def __init__(self) -> None:
        self.report = False
        self.validate = False
        self.checkpoint = False
        self.finished = False

    @property
    def reporting(self) -> bool:
        """The end of training ends a workload too."""
        return self.report or self.finished

    def clear(self) -> None:
        """A new batch begins."""
        self.report = self.validate = self.checkpoint = False

    def periods(self) -> dict[str, pytorch.TrainUnit]:
        """The three periods of Determined's loop."""
        return {
            "reporting_period": pytorch.Batch(_Answer(self, "reporting")),
            "validation_period": pytorch.Batch(_Answer(self, "validate")),
            "checkpoint_period": pytorch.Batch(_Answer(self, "checkpoint")),
        }


class Period:
    """Every n batches or epochs, or at the batches or epochs in a container: Determined's `Batch(n)` and `Epoch(n)`."""

    def __init__(self, unit: pytorch.TrainUnit) -> None:
        self.in_epochs = isinstance(unit, pytorch.Epoch)
        self.value = unit.value

    def _holds(self, count: int) -> bool:
        if isinstance(self.value, int):
            return self.value < 1 or (count > 0 and count % self.value == 0)
        return count in self.value

    def reached(self, batches: int, epochs: int, epoch_ends: bool) -> bool:
        """Whether the period ends with the batch just trained.

        Args:
            batches: batches trained so far.
            epochs: epochs trained so far, the present one included if it ends here.
            epoch_ends: whether the batch was the last of its epoch.
        """
        if self.in_epochs:
            return epoch_ends and self._holds(epochs)
        return self._holds(batches)
