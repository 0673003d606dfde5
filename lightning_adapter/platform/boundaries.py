"""Which batch ends a workload of Determined's loop, and for what: report, validation, checkpoint, end?

The driver decides after each batch; Determined asks the containers below, which are what its public `Batch(container)`
takes. One decision, in one place, the same on all ranks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container

from determined import pytorch

#: Seconds of training after which Determined is to ask whether it has to stop, and batches after which it does at the
#: latest (it also keeps a record per batch until then).
PREEMPTION_CHECK_S = 2.0
PREEMPTION_CHECK_BATCHES = 1000


class _Asks(Container[int]):
    """A container that answers for the batch just trained."""

    def __init__(self, question: Callable[[], bool]) -> None:
        self._question = question

    def __contains__(self, batch: object) -> bool:
        return self._question()


class Boundaries:
    """What Determined is asked to do after the batch just trained.

    Attributes:
        ends_workload: whether Determined has anything to do.
        reports_progress: somebody is to be told of progress.
        validate: a validation is due.
        preemption: says when Determined is to ask whether it has to stop.
    """

    def __init__(self) -> None:
        self.preemption = PreemptionCheck()
        self.ends_workload = False
        self.reports_progress = False
        self._look = False
        self._checkpoint = False
        self.validate = False

    def workload_starts(self, batches: int) -> None:
        """Nothing is due until something is decided; `batches` are trained so far."""
        self.decide(report=False, look=False, validate=False, checkpoint=False)
        self.preemption.workload_starts(batches)

    def decide(self, report: bool, look: bool, validate: bool, checkpoint: bool) -> None:
        """A batch is trained.

        Args:
            report: somebody is to be told of progress.
            look: Determined is to ask whether it has to stop.
            validate: a validation is due.
            checkpoint: a checkpoint is due.
        """
        self.reports_progress = report
        self._look = look
        self.validate = validate
        self._checkpoint = checkpoint
        self.ends_workload = report or look or validate or checkpoint

    def run_is_over(self) -> None:
        """No further batch is to be trained: Determined looks whether it has to stop, as at any look."""
        self._look = self.ends_workload = True

    def _reports(self) -> bool:
        """A look ends a workload as a report does."""
        return self.reports_progress or self._look

    def periods(self) -> dict[str, pytorch.TrainUnit]:
        """The three periods of Determined's loop."""
        return {
            "reporting_period": pytorch.Batch(_Asks(self._reports)),
            "validation_period": pytorch.Batch(_Asks(lambda: self.validate)),
            "checkpoint_period": pytorch.Batch(_Asks(lambda: self._checkpoint)),
        }


class PreemptionCheck:
    """After how many batches Determined is to look for a request to stop: those of a few seconds.

    It looks when a workload ends, which costs some messages, so not each batch may end one; and the ranks have to end
    theirs together, so no rank may ask its own clock. The chief measures; at the end of a workload all agree on a
    number.

    Attributes:
        due_at: the batch, counted from the start of training, that is followed by a look; those after it are as well.
    """

    def __init__(self) -> None:
        self._agreed = 1
        self._begun_at = 0
        self._started = 0.0
        self.due_at = 1

    def workload_starts(self, batches: int) -> None:
        """Count and measure from here: so many batches are trained."""
        self._begun_at = batches
        self.due_at = batches + self._agreed
        self._started = time.monotonic()

    def count_epoch_without_batch(self) -> None:
        """There may be no other moment at which a run without data can be asked to stop: such an epoch counts as a batch."""
        self._begun_at -= 1
        self.due_at -= 1

    def proposal(self, batches: int) -> int:
        """The number of batches that this process finds right, asked when a workload ends: so many are trained."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        number = int(PREEMPTION_CHECK_S * (batches - self._begun_at) / seconds)
        return min(max(number, 1), PREEMPTION_CHECK_BATCHES)

    def agree(self, batches: int) -> None:
        """All ranks look again after this number of batches."""
        self._agreed = batches
