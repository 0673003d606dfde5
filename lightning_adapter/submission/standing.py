"""How far is an experiment, what have its trials reported, and how did it end?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from determined.common import api
from determined.common.api import bindings, errors, logs

from lightning_adapter.errors import SubmissionError
from lightning_adapter.platform import experiment
from lightning_adapter.platform.login import absent

if TYPE_CHECKING:
    from determined.common.api import Session

#: States after which nothing comes.
_ENDS = {"COMPLETED", "CANCELED", "ERROR", "DELETED"}
#: In people's words; any other state is told as Determined names it, in small letters.
_WORDS = {
    "ACTIVE": "active",
    "QUEUED": "waiting for slots",
    "PULLING": "pulling the image",
    "STARTING": "starting its container",
    "RUNNING": "running",
    "PAUSED": "paused",
    "COMPLETED": "completed",
    "CANCELED": "cancelled",
    "ERROR": "failed",
}
#: Reported with every value, and no value of the user's.
_COUNTERS = ("batches", "epochs")


@dataclass(frozen=True)
class TrialStanding:
    """One trial.

    Attributes:
        id: its number.
        state: as Determined names it, without the prefix.
        batches: how many it has trained.
        restarts: how often it was started again.
        hparams: its hyperparameters.
        best: the best value of the searcher's metric; None before there is one.
        validated: batches at the latest validation; None before there is one.
    """

    id: int
    state: str
    batches: int
    restarts: int
    hparams: Mapping[str, Any]
    best: float | None
    validated: int | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in _ENDS

    @property
    def word(self) -> str:
        """Its state in people's words."""
        return word_of(self.state)


@dataclass(frozen=True)
class Standing:
    """An experiment at one moment.

    Attributes:
        state: as Determined names it, without the prefix.
        progress: from 0 to 1.
        trials: in the order of their numbers.
        metric: the searcher's.
        smaller_is_better: its direction.
        searched: dotted names of the hyperparameters that differ between trials.
        is_search: whether there may be several trials.
    """

    state: str
    progress: float
    trials: tuple[TrialStanding, ...]
    metric: str | None
    smaller_is_better: bool
    is_search: bool
    searched: tuple[str, ...] = field(default=())

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in _ENDS

    @property
    def is_completed(self) -> bool:
        """Whether it came to the end that was asked for."""
        return self.state == "COMPLETED"

    @property
    def word(self) -> str:
        """Its state in people's words."""
        return word_of(self.state)

    def ranked(self) -> list[TrialStanding]:
        """Return the trials, the best first, those without a value last."""
        sign = 1 if self.smaller_is_better else -1
        return sorted(
            self.trials,
            key=lambda trial: (trial.best is None, 0 if trial.best is None else sign * trial.best, trial.id),
        )


@dataclass(frozen=True)
class Validation:
    """What a trial reported after one validation."""

    batches: int
    epochs: float | None
    values: Mapping[str, float]


class Reader:
    """Asks a master about one experiment.

    Args:
        session: logged in.
        number: of the experiment.
    """

    def __init__(self, session: Session, number: int) -> None:
        self._session = session
        self.number = number

    def standing(self) -> Standing:
        """Ask how far the experiment is.

        Raises:
            SubmissionError: there is none of that number.
        """
        try:
            found = bindings.get_GetExperiment(self._session, experimentId=self.number).experiment
        except errors.NotFoundException as error:
            raise SubmissionError(
                f"{absent(f'experiment {self.number}')}. det experiment list shows those that it has."
            ) from error
        config = found.config or {}
        ranking = experiment.searcher_metric(config)
        return Standing(
            state=_bare(found.state.value),
            progress=found.progress or 0.0,
            trials=tuple(sorted(self._trials(ranking.name), key=lambda trial: trial.id)),
            metric=ranking.name,
            smaller_is_better=ranking.smaller_is_better,
            is_search=(config.get("searcher") or {}).get("name") not in (None, "single"),
            searched=tuple(_searched(config.get("hyperparameters") or {})),
        )

    def validations(self, trial: int, after: int) -> list[Validation]:
        """Ask for what a trial has reported after validations, in their order.

        Args:
            trial: its number.
            after: only those after more batches than that.
        """
        found: dict[int, Validation] = {}
        for answer in bindings.get_GetMetrics(self._session, trialIds=[trial], group="validation"):
            for report in answer.metrics:
                if report.totalBatches > after:
                    values = report.metrics.get("avg_metrics") or report.metrics.get("validation_metrics") or {}
                    found[report.totalBatches] = _validation(report.totalBatches, values)
        return [found[batches] for batches in sorted(found)]

    def log(self, trial: int, after: str | None) -> Iterator[tuple[str, str, str]]:
        """Ask for a trial's log: id, time and text of each line.

        Args:
            trial: its number.
            after: the time of the last line that is known; lines of that very moment may come again.
        """
        for line in logs.trial_logs(self._session, trial, timestamp_after=after):
            yield line.id, line.timestamp, line.log if line.log is not None else line.message

    def last_lines(self, trial: int, count: int) -> list[str]:
        """Ask for the end of a trial's log."""
        return [
            (line.log if line.log is not None else line.message).rstrip("\n")
            for line in logs.trial_logs(self._session, trial, tail=count)
        ]

    def _trials(self, metric: str | None) -> Iterator[TrialStanding]:
        def page(offset: int) -> bindings.v1GetExperimentTrialsResponse:
            return bindings.get_GetExperimentTrials(self._session, experimentId=self.number, offset=offset)

        for answer in api.read_paginated(page):
            for trial in answer.trials:
                yield TrialStanding(
                    id=trial.id,
                    state=_bare(trial.state.value),
                    batches=trial.totalBatchesProcessed,
                    restarts=trial.restarts,
                    hparams=trial.hparams or {},
                    best=_best(trial, metric),
                    validated=None if trial.latestValidation is None else trial.latestValidation.totalBatches,
                )


def word_of(state: str) -> str:
    """Return a state in people's words."""
    return "stopping" if state.startswith("STOPPING") else _WORDS.get(state, state.lower().replace("_", " "))


def _best(trial: bindings.trialv1Trial, metric: str | None) -> float | None:
    """A trial's best value; its `searcherMetricValue` is 0 before there is any."""
    if trial.bestValidation is None or metric is None:
        return None
    value = (trial.bestValidation.metrics.avgMetrics or {}).get(metric)
    return value if isinstance(value, (int, float)) else None


def _bare(state: str) -> str:
    return state.removeprefix("STATE_")


def _validation(batches: int, values: Mapping[str, Any]) -> Validation:
    numbers = {
        name: value for name, value in values.items() if isinstance(value, (int, float)) and name not in _COUNTERS
    }
    # nan and inf are posted as text
    numbers |= {name: float(value) for name, value in values.items() if value in ("NaN", "Infinity", "-Infinity")}
    epochs = values.get("epochs")
    return Validation(batches, epochs if isinstance(epochs, (int, float)) else None, numbers)


def _searched(spec: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Dotted names of the ranges; the master's config has each constant as one of type const."""
    for name, value in spec.items():
        if isinstance(value, Mapping):
            if "type" not in value:
                yield from _searched(value, (*path, name))
            elif value["type"] != "const":
                yield ".".join((*path, name))
