"""What does a trial of a search need to be trained, in this process or another, and what does it tell?

All of it is plain data, since it crosses processes as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

#: Why a trial ends that is not among the best of a rung.
STOPPED_EARLY = "the searcher has stopped this trial"


@dataclass(frozen=True)
class Job:
    """One trial that is to be trained.

    Attributes:
        number: of the trial.
        config: the experiment, with the trial's values in place of ranges, and its seed as `experiment_seed`.
        run_dir: where it writes.
        resume_from: its run directory, where an interrupted trial goes on; else None.
        options: arguments of `fit` besides, periods as they are typed: {"max_epochs": 9, "validation_period": "2 epochs"}.
    """

    number: int
    config: Mapping[str, Any]
    run_dir: str
    resume_from: str | None
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Validated:
    """A validation is over, and the trial waits for the searcher's word.

    Attributes:
        number: of the trial.
        batches: trained so far.
        epochs: whole ones.
        metrics: what was logged.
    """

    number: int
    batches: int
    epochs: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Ended:
    """A trial is no longer trained.

    Attributes:
        number: of the trial.
        outcome: complete: it came to its end, or was stopped by the searcher; interrupted: it can go on from its run directory;
            invalid: its code refuses the hyperparameters (`det.InvalidHP`); failed: an exception; refused: what was given
            cannot be used by any trial (an error of this package before the first batch).
        note: the error in one line; "" where there is none.
        details: the error as it would be printed, traceback and all.
    """

    number: int
    outcome: Literal["complete", "interrupted", "invalid", "failed", "refused"]
    note: str = ""
    details: str = ""


#: Says to a validated trial why it is to stop; None to go on.
Judge: TypeAlias = Callable[[Validated], "str | None"]


class Crew(Protocol):
    """Who trains trials.

    Attributes:
        size: trials at the same time.
    """

    size: int

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables that trials have beside those of the experiment, and that their numbers may depend on."""

    def start(self, job: Job) -> None:
        """Begin to train a trial; fewer than `size` are being trained."""

    def wait(self, judge: Judge, timeout_s: float) -> list[Ended]:
        """Let trials train, and answer those that are validated, until one ends or the time is over."""

    def stop(self) -> None:
        """Ask trials to end soon, with a checkpoint each; `wait` then tells of them as interrupted."""

    def close(self) -> None:
        """Leave no process behind."""
