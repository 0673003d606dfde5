"""How is one trial of a search trained, in this process?"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from determined import InvalidHP, pytorch

from lightning_adapter.errors import LightningAdapterError, text_of
from lightning_adapter.platform.fit import fit
from lightning_adapter.platform.judge import judged_by
from lightning_adapter.platform.signals import exit_status
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.platform.typed_period import Period, parse_period
from lightning_adapter.platform.uncaught import told
from lightning_adapter.runs import record
from lightning_adapter.tuning.job import STOPPED_EARLY, Ended, Job, Judge, Validated

#: With which a run ends that a signal has stopped.
_STOPPED = tuple(exit_status(number) for number in (signal.SIGINT, signal.SIGTERM))
#: Options that are periods.
_PERIODS = ("validation_period", "checkpoint_period")


def train(trial_class: type[LightningTrial], job: Job, judge: Judge) -> Ended:
    """Train a trial as `fit` does, and ask the searcher after each validation whether it goes on.

    Signals to stop and errors are told by what is returned; nothing is raised but what the judge raises, and what ends the whole
    process.
    """
    words: list[str | None] = []  # the searcher's, one for each validation
    broken: list[Exception] = []  # what has kept the searcher from a word is no fault of the trial

    def judged(batches: int, epochs: int, metrics: Mapping[str, float]) -> str | None:
        try:
            words.append(judge(Validated(job.number, batches, epochs, metrics)))
        except Exception as error:
            broken.append(error)
            raise
        return words[-1]

    options: dict[str, Any] = {
        name: parse_period(value).resolve() if name in _PERIODS else value for name, value in job.options.items()
    }
    try:
        with judged_by(judged):
            fit(trial_class, config=job.config, run_dir=job.run_dir, resume_from=job.resume_from, **options)
    except (SystemExit, Exception) as error:
        if any(error is one for one in broken):
            raise
        return _ended_by(error, job, has_results=bool(words))
    if STOPPED_EARLY in words[-1:]:
        record.update(job.run_dir, status="pruned", error=STOPPED_EARLY)
    return Ended(job.number, "complete")


def _ended_by(error: BaseException, job: Job, has_results: bool) -> Ended:
    if isinstance(error, SystemExit) and error.code in _STOPPED:
        return Ended(job.number, "interrupted")
    if not isinstance(error, LightningAdapterError):
        return _failed(job, error)
    if isinstance(error.__cause__, InvalidHP):
        return Ended(job.number, "invalid", _line(error.__cause__), str(error))
    # what is wrong before any result was there is wrong with what was given, not with this trial
    return Ended(job.number, "failed" if has_results else "refused", _line(error), str(error))


def _failed(job: Job, error: BaseException) -> Ended:
    return Ended(
        job.number, "failed", f"{type(error).__name__}: {_line(error)}".removesuffix(": "), told(error).rstrip()
    )


def _line(error: BaseException) -> str:
    return " ".join(text_of(error).split())


def options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `fit` as a `Job` has them, without those that were not given."""
    return {name: _typed(value) for name, value in given.items() if value is not None}


def _typed(value: Any) -> Any:
    if isinstance(value, pytorch.TrainUnit):
        number: Any = value.value
        return str(Period("epochs" if isinstance(value, pytorch.Epoch) else "batches", number))
    return os.fspath(value) if isinstance(value, os.PathLike) else value
