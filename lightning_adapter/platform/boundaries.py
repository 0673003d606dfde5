"""Which batch ends a workload of Determined's loop, and for what: report, validation, checkpoint, end?

The adapter decides after each batch; Determined asks the containers below, which are what its public `Batch(container)`
takes. One decision, in one place, the same on all ranks.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Container, Iterable
from types import CodeType
from typing import Any

from determined import pytorch

from lightning_adapter.versions import hosts

#: Seconds of training after which Determined is to ask whether it has to stop, and batches after which it does at the
#: latest (it also keeps a record per batch until then).
LOOK_AFTER_S = 2.0
LOOK_AFTER_BATCHES = 1000


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
        report: metrics were logged, and somebody is to be told of progress.
        look: Determined is to ask whether it has to stop.
        validate: a validation is due.
        checkpoint: a checkpoint is due.
        finished: training is over, or has to be interrupted here.
        pace: says when `look` is due.
    """

    def __init__(self) -> None:
        self.pace = Pace()
        self.report = False
        self.look = False
        self.validate = False
        self.checkpoint = False
        self.finished = False

    @property
    def reporting(self) -> bool:
        """A look and the end of training end a workload too."""
        return self.report or self.look or self.finished

    @property
    def ends_workload(self) -> bool:
        """Whether Determined has anything to do after the batch just trained."""
        return self.report or self.look or self.validate or self.checkpoint or self.finished

    def clear(self) -> None:
        """A new batch begins."""
        self.report = self.look = self.validate = self.checkpoint = False
        self.pace.batches += 1

    def periods(self) -> dict[str, pytorch.TrainUnit]:
        """The three periods of Determined's loop."""
        return {
            "reporting_period": pytorch.Batch(_Answer(self, "reporting")),
            "validation_period": pytorch.Batch(_Answer(self, "validate")),
            "checkpoint_period": pytorch.Batch(_Answer(self, "checkpoint")),
        }


class Pace:
    """After how many batches Determined is to look for a request to stop: those of a few seconds.

    It looks when a workload ends, which costs some messages, so not each batch may end one; and the ranks have to end
    theirs together, so no rank may ask its own clock. The chief measures; at the end of a workload all agree on a
    number.

    Attributes:
        batches: batches begun since the workload began.
        agreed: number of batches after which the next look is due.
    """

    def __init__(self) -> None:
        self.agreed = 1
        self.batches = 0
        self._started = 0.0

    def workload_starts(self) -> None:
        """Count and measure from here."""
        self.batches = 0
        self._started = time.monotonic()

    def proposal(self) -> int:
        """The number of batches that this process finds right, asked when a workload ends."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        return min(max(int(LOOK_AFTER_S * self.batches / seconds), 1), LOOK_AFTER_BATCHES)


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


def may_stop_in_batch(host: hosts.Host, module: Any, callbacks: Iterable[Any]) -> bool:
    """Whether user code may set `trainer.should_stop` in the middle of an epoch.

    Processes agree on it where they meet anyway: at reporting steps, after validations, at the end of epochs. Where module
    or callbacks name `should_stop` in their code they agree after every batch, so that training ends at the very batch,
    as it does in one process. A name that hides from this look ends training at the next meeting, on all processes alike.
    """
    if any(isinstance(callback, host.pl.callbacks.Timer) for callback in callbacks):
        return True
    for owner in (module, *callbacks):
        functions = [value for value in vars(owner).values() if inspect.isfunction(value)]
        for cls in type(owner).__mro__:
            if not hosts.is_host_class(cls):
                functions += [value for value in vars(cls).values() if inspect.isfunction(value)]
        if any(_names(inspect.unwrap(function).__code__, "should_stop") for function in functions):
            return True
    return False


def _names(code: CodeType, name: str) -> bool:
    return name in code.co_names or any(_names(part, name) for part in code.co_consts if isinstance(part, CodeType))
