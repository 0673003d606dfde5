"""Which trial comes next, and what becomes of one: the searcher of a master, with an Optuna study as its memory?

Events come one after the other. All that is known stands in the study, so that another process goes on where one has ended:
what decides is written first, and a step that was not taken is taken then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.tuning.brackets import Bracket, wanted
from lightning_adapter.tuning.draws import Draw
from lightning_adapter.tuning.job import STOPPED_EARLY, Ended, Validated
from lightning_adapter.tuning.pruner import BRACKET, OUTCOME, STOPPED, HalvingPruner
from lightning_adapter.tuning.settings import SearcherSettings
from lightning_adapter.tuning.space import Space
from lightning_adapter.versions.optuna_private import running_trial

#: User attributes of a trial in the study, beside those of the pruner.
SEED, VALUES, VARIABLES, BEST, BATCHES, EPOCHS, NOTE = (
    *("seed", "hyperparameters", "variables", "best", "batches", "epochs", "note"),
)


@dataclass(frozen=True)
class Assignment:
    """A trial that is to be trained.

    Attributes:
        number: Optuna's.
        hyperparameters: all of them, nested.
        seed: of the trial.
    """

    number: int
    hyperparameters: dict[str, Any]
    seed: int


class Searcher:
    """Decides what a search trains.

    Args:
        study: of the search; its pruner is a `HalvingPruner`.
        settings: of the searcher.
        brackets: of the search.
        space: the ranges.
        draws: what the trials are made of, from the first on.
        suggests: whether Optuna's sampler chooses hyperparameters, in place of the draws.
    """

    def __init__(
        self,
        study: optuna.Study,
        settings: SearcherSettings,
        brackets: list[Bracket],
        space: Space,
        draws: Iterator[Draw],
        suggests: bool,
    ) -> None:
        assert isinstance(study.pruner, HalvingPruner)
        self._study = study
        self._pruner = study.pruner
        self._settings = settings
        self._brackets = brackets
        self._space = space
        self._suggests = suggests
        self._running: dict[int, optuna.Trial] = {}
        self._draws = draws
        for _ in self.trials():
            next(self._draws)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, by number."""
        return self._study.get_trials(deepcopy=False)

    @property
    def planned(self) -> int:
        """Trials that the search makes at most; one whose code refuses its hyperparameters is replaced."""
        invalid = [trial for trial in self.trials() if trial.user_attrs.get(OUTCOME) == "invalid"]
        brackets = [self._brackets[trial.user_attrs[BRACKET]] for trial in invalid if BRACKET in trial.user_attrs]
        replaced: int = sum(bracket.replaces_invalid for bracket in brackets)
        return sum(bracket.max_trials for bracket in self._brackets) + replaced

    def begun(self, batches_of: Callable[[int], int]) -> list[Assignment]:
        """Return the trials that an earlier process has left; those of which all is known are ended.

        Args:
            batches_of: from the number of a trial to the batches of its last checkpoint. One that has none of the validation
                after which it was stopped comes there once more, so that its best checkpoint is there.
        """
        found = []
        for trial in self.trials():
            if trial.state is not TrialState.RUNNING:
                continue
            attrs = trial.user_attrs
            distributions = self._space.distributions if BRACKET in attrs else {}
            self._running[trial.number] = running_trial(self._study, trial, distributions)
            if OUTCOME in attrs:
                self.ended(Ended(trial.number, attrs[OUTCOME], attrs[NOTE]))
            elif STOPPED in attrs and batches_of(trial.number) >= attrs[BATCHES]:
                self.ended(Ended(trial.number, "complete"))
            elif BRACKET not in attrs:
                self.ended(Ended(trial.number, "invalid", "the search ended while its hyperparameters were chosen"))
            else:
                found.append(Assignment(trial.number, attrs[VALUES], attrs[SEED]))
        return found

    def next(self) -> Assignment | None:
        """Begin the next trial; None where none is to be begun now."""
        trial = self._suggested() if self._suggests else self._drawn()
        if trial is None:
            return None
        self._running[trial.number] = trial
        attrs = trial.user_attrs
        return Assignment(trial.number, attrs[VALUES], attrs[SEED])

    def _drawn(self) -> optuna.Trial | None:
        """The first trial that waits, once all are made that the master would have made by now."""
        for number in self._wanted():
            draw = next(self._draws)
            attrs = {BRACKET: number, SEED: draw.seed, VALUES: draw.hyperparameters}
            self._study.enqueue_trial(self._space.params(draw.hyperparameters), user_attrs=attrs)
        if not any(trial.state is TrialState.WAITING for trial in self.trials()):
            return None
        return self._study.ask(self._space.distributions)

    def _suggested(self) -> optuna.Trial | None:
        """A trial whose hyperparameters Optuna's sampler chooses now, knowing the results so far."""
        number = next(self._wanted(), None)
        if number is None:
            return None
        trial = self._study.ask(self._space.distributions)
        # the bracket last: without it a trial does not count
        attrs = {SEED: next(self._draws).seed, VALUES: self._space.values(trial.params), BRACKET: number}
        for name, value in attrs.items():
            trial.set_user_attr(name, value)
        return trial

    def _wanted(self) -> Iterator[int]:
        """The brackets of the trials that the master would have made by now and that are not there."""
        trials = self.trials()
        for number, bracket in enumerate(self._brackets):
            mine = [trial for trial in trials if trial.user_attrs.get(BRACKET) == number]
            invalid = sum(trial.user_attrs.get(OUTCOME) == "invalid" for trial in mine)
            yield from [number] * wanted(bracket, len(mine), sum(map(self._makes_room, mine)), invalid)

    def _makes_room(self, trial: FrozenTrial) -> bool:
        """Whether the end of a trial lets another be made: where trials are stopped, one that ends by itself does not."""
        if trial.user_attrs.get(OUTCOME) == "invalid":
            return False
        if self._settings.stops_trials:
            return STOPPED in trial.user_attrs or trial.state is TrialState.FAIL
        return trial.state.is_finished()

    def trained_with(self, number: int, variables: Mapping[str, str]) -> None:
        """Note which environment variables a trial's numbers may depend on, beside those of the experiment."""
        self._running[number].set_user_attr(VARIABLES, dict(variables))

    def validated(self, event: Validated) -> str | None:
        """Note what a validation has given; return why the trial is to stop, None where it goes on."""
        trial = self._running[event.number]
        attrs = trial.user_attrs
        value, step = event.metrics[self._settings.metric], self._step(event)
        before = attrs.get(BATCHES, 0)
        if event.batches >= before:  # one that goes on from a checkpoint comes by validations again
            trial.set_user_attr(BATCHES, event.batches)
            trial.set_user_attr(EPOCHS, event.epochs)
        if math.isfinite(value) and (BEST not in attrs or self._is_better(value, attrs[BEST])):
            trial.set_user_attr(BEST, value)
        if STOPPED in attrs:  # the word did not reach the trial
            return str(attrs[STOPPED]) if event.batches >= before else None
        reported = self._frozen(event.number).intermediate_values
        # a trial that goes on from a checkpoint comes by steps again that were judged
        if step < max(reported, default=step):
            return None
        if step not in reported:
            trial.report(value, step)
        reason = None
        if trial.should_prune():
            reason = STOPPED_EARLY
        elif self._pruner.is_at_top(self._frozen(event.number)):
            length = f"{self._settings.max_time} {self._settings.time_metric}"
            reason = f"the searcher has closed this trial, which has its full length of {length}"
        if reason is not None:
            trial.set_user_attr(STOPPED, reason)
        return reason

    def ended(self, event: Ended) -> None:
        """Note how a trial has ended; one that was interrupted goes on later."""
        trial = self._running.pop(event.number)
        if event.outcome == "interrupted":
            return
        attrs = trial.user_attrs
        if event.outcome != "complete":
            self._fail(trial, "invalid" if event.outcome == "invalid" else "failed", event.note)
        elif STOPPED in attrs and not self._pruner.is_at_top(self._frozen(event.number)):
            self._end(trial, TrialState.PRUNED)
        elif BEST in attrs:
            self._end(trial, TrialState.COMPLETE, attrs[BEST])
        else:
            self._fail(trial, "failed", f"no validation has given a finite {self._settings.metric}")

    def _fail(self, trial: optuna.Trial, outcome: str, note: str) -> None:
        trial.set_user_attr(NOTE, note)
        trial.set_user_attr(OUTCOME, outcome)
        self._end(trial, TrialState.FAIL)

    def _end(self, trial: optuna.Trial, state: TrialState, value: float | None = None) -> None:
        try:
            self._study.tell(trial, value, state)
        except RuntimeError:
            # a sampler that has suggested all that it has calls `Study.stop`, which Optuna takes in its own loop alone
            if not (self._suggests and self._frozen(trial.number).state.is_finished()):
                raise
            made = [
                sum(each.user_attrs.get(BRACKET) == number for each in self.trials())
                for number in range(len(self._brackets))
            ]
            self._brackets = [
                replace(bracket, max_trials=number) for bracket, number in zip(self._brackets, made, strict=True)
            ]

    def _is_better(self, value: float, other: float) -> bool:
        return value < other if self._settings.smaller_is_better else value > other

    def _frozen(self, number: int) -> FrozenTrial:
        return self.trials()[number]

    def _step(self, event: Validated) -> int:
        """How far a trial is, in the searcher's unit; batches where it has none.

        Raises:
            ConfigurationError: the unit is a metric that was not logged.
        """
        unit = self._settings.time_metric or "batches"
        counted = {"batches": event.batches, "epochs": event.epochs}
        if unit in counted:
            return counted[unit]
        if not math.isfinite(event.metrics.get(unit, math.nan)):
            raise ConfigurationError(
                f"searcher.time_metric is {unit!r}, and the validation logged {', '.join(sorted(event.metrics))}. Log it in "
                "validation_step with self.log(), or write time_metric: epochs or batches."
            )
        return int(event.metrics[unit])
