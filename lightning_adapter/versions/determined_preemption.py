"""How do all ranks learn at one moment that the master has ended their trial, of which it sends no signal?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from determined import core


class PreemptionOrEnd(core.PreemptContext):
    """Determined's own answer to "is this trial to stop?", which looks at the state of the trial as well.

    The loop asks on all ranks together, and one broadcast carries what the chief knows. Nothing is added to that exchange
    but the state, so that no rank has to ask once more.

    Args:
        host: the one in whose place this stands; `_watcher`, `_dist`, `_ack_sent` (determined 0.38.1) are taken over.
        ended: the state in which the master has ended the trial, None where it has not; asked on the chief alone, with
            whether the answer may be waited for.
        told: called with that state, on all ranks, before the loop is told to stop.
    """

    def __init__(
        self, host: core.PreemptContext, ended: Callable[[bool], str | None], told: Callable[[str], None]
    ) -> None:
        vars(self).update(vars(host))
        self._ended = ended
        self._told = told

    def should_preempt(self, auto_ack: bool = True) -> bool:
        """Whether the loop has to stop, as `PreemptContext.should_preempt`."""
        word = None
        if self._watcher is not None and self._dist.rank == 0:
            preempted = self._watcher.should_preempt()
            # an answer means "I go on later", and is wanted once. To the end of a trial there is nothing to answer.
            if preempted and auto_ack and not self._ack_sent:
                self.acknowledge_preemption_signal()
                self._ack_sent = preempted
            word = preempted, self._ended(not preempted)
        preempted, state = self._dist.broadcast(word)
        if state is not None:
            self._told(state)
        return preempted or state is not None


@contextlib.contextmanager
def listening_for_the_end(
    core_context: Any, ended: Callable[[bool], str | None], told: Callable[[str], None]
) -> Iterator[None]:
    """Let the loop stop where the master has ended the trial, until the block ends; the arguments are those of above."""
    host = core_context.preempt
    core_context.preempt = PreemptionOrEnd(host, ended, told)
    try:
        yield
    finally:
        core_context.preempt = host


@contextlib.contextmanager
def after_each_validation_report(core_context: Any, act: Callable[[], None]) -> Iterator[None]:
    """Do something when the master has taken a validation's values, in the thread that sends them, until the block ends.

    `_metrics._shipper._post_metrics` (determined 0.38.1) sends one report, and returns when it is answered.
    """
    shipper = core_context._metrics._shipper
    post = shipper._post_metrics

    def post_and_act(**report: Any) -> None:
        post(**report)
        if report["group"] == "validation":
            act()

    vars(shipper)["_post_metrics"] = post_and_act
    try:
        yield
    finally:
        del vars(shipper)["_post_metrics"]


def trial_state(core_context: Any) -> str | None:
    """What the master says of this trial, as `TrainContext._get_last_validation` asks (`_trial_id`, determined 0.38.1)."""
    answer = core_context._session.get(f"/api/v1/trials/{core_context.train._trial_id}").json()
    state: str | None = answer["trial"].get("state")
    return state


def is_first_run(info: Any) -> bool:
    """Whether no earlier process has trained this trial (`trial._trial_run_id`, determined 0.38.1, counts from 1)."""
    return int(info.trial._trial_run_id) <= 1
