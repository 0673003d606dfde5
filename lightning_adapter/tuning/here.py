"""How are trials trained in this process, one after the other?"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType

from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.tuning.job import Ended, Job, Judge
from lightning_adapter.tuning.training import train


class Here:
    """A crew of this process alone: a class of a notebook is trained so, which no other process can import.

    Args:
        trial_class: the trial.
        timeout_s: seconds after which a trial is interrupted, as by a signal; None for never.
    """

    size = 1
    variables: Mapping[str, str] = MappingProxyType({})

    def __init__(self, trial_class: type[LightningTrial], timeout_s: float | None) -> None:
        self._trial_class = trial_class
        self._deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self._job: Job | None = None

    def start(self, job: Job) -> None:
        """See `Crew`; it is trained while somebody waits."""
        self._job = job

    def wait(self, judge: Judge, timeout_s: float) -> list[Ended]:
        """See `Crew`; returns when the trial has ended, however long that takes."""
        job, self._job = self._job, None
        if job is None:
            return []
        timer = threading.Timer(min(self._deadline - time.monotonic(), threading.TIMEOUT_MAX), _end_the_trial)
        # a run listens to signals in the main thread alone, and elsewhere this would reach somebody else
        if self._deadline < math.inf and threading.current_thread() is threading.main_thread():
            timer.start()
        try:
            return [train(self._trial_class, job, judge)]
        finally:
            timer.cancel()

    def stop(self) -> None:
        """See `Crew`: the signal that asks for it has reached the run itself."""

    def close(self) -> None:
        """See `Crew`."""


def _end_the_trial() -> None:
    """As a signal from outside does, which also wakes a thread that waits."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)
