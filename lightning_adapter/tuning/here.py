"""How are trials trained in this process, one after the other?"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Mapping

from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.tuning.job import Ended, Job, Judge
from lightning_adapter.tuning.pinning import thread_variables
from lightning_adapter.tuning.training import train
from lightning_adapter.versions.lightning_chatter import not_printed

_LOOK_S = 0.02


class Here:
    """A crew of this process alone: a class of a notebook is trained so, which no other process can import.

    Args:
        trial_class: the trial.
        deadline: the monotonic clock's time at which a trial is interrupted, as by a signal; infinity for never.
    """

    size = 1

    def __init__(self, trial_class: type[LightningTrial], deadline: float) -> None:
        self._trial_class = trial_class
        self._deadline = deadline
        self._job: Job | None = None
        self.variables: Mapping[str, str] = thread_variables(1, [], os.environ)

    def start(self, job: Job) -> None:
        """See `Crew`; it is trained while somebody waits."""
        self._job = job

    def wait(self, judge: Judge, timeout_s: float) -> list[Ended]:
        """See `Crew`; returns when the trial has ended, however long that takes."""
        job, self._job = self._job, None
        if job is None:
            return []
        over = threading.Event()
        # a run listens to signals in the main thread alone, and elsewhere they would reach somebody else
        if self._deadline < math.inf and threading.current_thread() is threading.main_thread():
            threading.Thread(target=self._interrupt, args=(over, signal.getsignal(signal.SIGTERM)), daemon=True).start()
        try:
            with not_printed():  # who searches has a line for each trial
                return [train(self._trial_class, job, judge)]
        finally:
            over.set()

    def _interrupt(self, over: threading.Event, outside: object) -> None:
        """End the trial when the time is over, as a signal from outside does, once it listens to signals.

        Args:
            over: is set when the trial has ended.
            outside: who listens while no trial does.
        """
        if over.wait(min(max(0.0, self._deadline - time.monotonic()), threading.TIMEOUT_MAX)):
            return
        while not over.wait(_LOOK_S):
            if signal.getsignal(signal.SIGTERM) != outside:
                signal.pthread_kill(_main_thread(), signal.SIGTERM)  # which also wakes a thread that waits
                return

    def stop(self) -> None:
        """See `Crew`: the signal that asks for it has reached the run itself."""

    def close(self) -> None:
        """See `Crew`."""


def _main_thread() -> int:
    ident = threading.main_thread().ident
    assert ident is not None
    return ident
