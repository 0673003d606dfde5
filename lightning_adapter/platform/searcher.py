"""Has the searcher stopped this trial, and how does it end then?

The master tells nobody: it marks the trial, and shows the mark to whoever asks for it. So the chief asks after each
validation whose values the master has taken, which is when searchers decide, in the thread that has sent them. The loop
looks at the answer where all ranks look for a preemption.

A trial that the searcher has stopped is over for good, and nobody is to train it on: it ends as one whose user has set
`trainer.should_stop`, with `on_train_end` and `on_fit_end`, so that what is made there is made of stopped trials too. A
preempted one goes on later, and calls neither.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import determined as det
from determined import core, pytorch
from determined.common.api.bindings import trialv1State as State

from lightning_adapter.platform.driver import Driver
from lightning_adapter.versions import determined_preemption, determined_private

#: Seconds that the loop waits for the answer after a validation, so that a stopped trial trains no batch more. One that
#: comes later is found at a later look.
ANSWER_S = 5.0

#: Searchers that stop no trial: nobody waits for what is known.
_NEVER_STOP = ("single", "random", "grid")


def may_stop(searcher: Mapping[str, Any] | None) -> bool:
    """Whether the searcher of an experiment is one that stops trials."""
    return (searcher or {}).get("name") not in _NEVER_STOP


#: What the master says of a trial whose searcher has seen enough of it.
_STOPPED = (State.STOPPING_COMPLETED.value, State.COMPLETED.value)

#: What it says of other trials that it wants no more of. That is signalled too, unless it got lost; they end as for the
#: signal. A pause (STATE_PAUSED) has to be answered, and is left to its signal.
_ENDED = (
    State.STOPPING_CANCELED.value,
    State.CANCELED.value,
    State.STOPPING_KILLED.value,
    State.STOPPING_ERROR.value,
    State.ERROR.value,
)


class TrialState:
    """What the master says of the trial, asked once for each validation.

    Args:
        ask: asks the master.
        patience_s: seconds that the loop waits for an answer.
    """

    def __init__(self, ask: Callable[[], str | None], patience_s: float) -> None:
        self._ask = ask
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._validations = 0
        self._answers = 0
        self._given_up = 0
        self._state: str | None = None

    def begin(self) -> None:
        """An earlier process has trained this trial, and may not have heard of its end."""
        self._state = self._ask()

    def validated(self) -> None:
        """The values of a validation are about to be reported."""
        with self._changed:
            self._validations += 1

    def reported(self) -> None:
        """The master has taken the values of a validation; called in the thread that sends them, in their order."""
        # one after which the run ends anyway was not announced
        if self._answers == self._validations:
            return
        state = self._ask()
        with self._changed:
            self._answers += 1
            self._state = state
            self._changed.notify_all()

    def ended(self, may_wait: bool) -> str | None:
        """The state in which the master has ended the trial; None where it has not, or has not said so yet.

        Args:
            may_wait: whether to wait for an answer that is due. A master that has let us wait once is not waited for
                until it has answered.
        """
        with self._changed:
            due = self._validations
            if (
                may_wait
                and self._answers >= self._given_up
                and not self._changed.wait_for(lambda: self._answers >= due, self._patience_s)
            ):
                self._given_up = due
            return self._state if self._state in (*_STOPPED, *_ENDED) else None


class SearcherStop(pytorch.PyTorchCallback):
    """Ends a managed trial that its searcher has stopped, whoever owns the loop.

    Args:
        info: Determined's word on where this is.
        core_context: Determined's core context.
        driver: of the run; its own callbacks are called before these.
    """

    def __init__(self, info: det.ClusterInfo, core_context: core.Context, driver: Driver) -> None:
        self._core = core_context
        self._driver = driver
        self._is_first_run = determined_preemption.is_first_run(info)
        self._searcher = determined_private.cluster_settings(info)["config"].get("searcher") or {}
        waits = may_stop(self._searcher)
        self._state = TrialState(lambda: determined_preemption.trial_state(core_context), ANSWER_S if waits else 0.0)
        self._listening = contextlib.ExitStack()

    def on_trial_startup(self, first_batch_idx: int, checkpoint_uuid: str | None) -> None:
        """Determined's loop begins."""
        listen = self._listening.enter_context
        listen(determined_preemption.listening_for_the_end(self._core, self._state.ended, self._told))
        if self._core.distributed.rank == 0:
            listen(determined_preemption.after_each_validation_report(self._core, self._state.reported))
            if not self._is_first_run:
                self._state.begin()

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        """The values of a validation are about to be reported."""
        if not self._driver.finished:
            self._state.validated()

    def on_trial_shutdown(self) -> None:
        """Determined's loop has ended."""
        self._listening.close()

    def _told(self, state: str) -> None:
        """The master has ended the trial; all ranks hear of it together, and the loop stops next."""
        driver = self._driver
        if state not in _STOPPED or driver.finished:
            return
        driver.parts.stop.order(self._why())
        # finds that no batch is left to be trained, and calls the last hooks of the epoch and of the training
        driver.train_batch(None, 0, 0)

    def _why(self) -> str:
        """A searcher marks a trial that has come to its end too, of which Determined's own Trainer may not know yet."""
        batches, epochs = self._driver.position()
        unit, length = str(self._searcher.get("time_metric")), self._searcher.get("max_time")
        trained = {"batches": batches, "epochs": epochs}.get(unit)
        if trained is None or length is None or trained < length:
            return "the searcher has stopped this trial"
        return f"the searcher has closed this trial, which has its full length of {length} {unit}"
