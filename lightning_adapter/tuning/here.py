"""How are trials trained in this process, one after the other?"""

from __future__ import annotations

import signal
import threading
from _thread import interrupt_main

from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.tuning.job import Ended, Job, Judge
from lightning_adapter.tuning.training import train


class Here:
    """A crew of this process alone: a class of a notebook is trained so, which no other process can import.

    Args:
        trial_class: the trial.
    """

    size = 1

    def __init__(self, trial_class: type[LightningTrial]) -> None:
        self._trial_class = trial_class
        self._job: Job | None = None

    def start(self, job: Job) -> None:
        """See `Crew`; it is trained while somebody waits."""
        self._job = job

    def wait(self, judge: Judge, timeout_s: float) -> list[Ended]:
        """See `Crew`; returns when the trial has ended, however long that takes."""
        job, self._job = self._job, None
        return [] if job is None else [train(self._trial_class, job, judge)]

    def stop(self) -> None:
        """See `Crew`; called from a thread while a trial is trained, which then ends as by a signal from outside."""
        if threading.current_thread() is not threading.main_thread():
            interrupt_main(signal.SIGTERM)

    def close(self) -> None:
        """See `Crew`."""
