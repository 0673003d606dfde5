"""At which validation does the searcher stop a trial? Determined's rule, as Optuna asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lightning_adapter.tuning.brackets import Bracket
from lightning_adapter.tuning.rungs import FAILED, judge, ranked
from lightning_adapter.versions.optuna_private import set_trial_attr

#: User attributes of a trial: the number of its bracket; why the searcher has stopped it; "failed" or "invalid" of one that
#: came to no result.
BRACKET, STOPPED, OUTCOME = "bracket", "stopped", "outcome"
#: What the pruner notes of a trial, in one write: the values with which it has entered the rungs of its bracket, from the
#: lowest on, and whether it is over with the last of them.
_RUNGS, _ENTRIES, _STOPS = "rungs", "entries", "stops"


class HalvingPruner(optuna.pruners.BasePruner):
    """Stops trials as `asyncHalvingStoppingSearch` of the master does: those that are not among the best 1/divisor of a rung.

    A trial's steps are counted in the searcher's `time_metric`. (Optuna's own `SuccessiveHalvingPruner` counts its rungs from
    the lowest up, and would stop trials elsewhere.)

    Args:
        brackets: of the search; each trial has the number of its own as a user attribute.
        divisor: of the searcher.
        smaller_is_better: likewise.
    """

    def __init__(self, brackets: Sequence[Bracket], divisor: float, smaller_is_better: bool) -> None:
        self._brackets = brackets
        self._divisor = divisor
        self._smaller_is_better = smaller_is_better

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Called by `Trial.should_prune`; one that has come to the top rung is complete, and not pruned."""
        step, number = trial.last_step, trial.user_attrs[BRACKET]
        rungs = self._brackets[number].rungs
        if step is None or not rungs:
            return False
        if _noted(trial).get(_STOPS):  # and its process ended before anybody heard of it
            return not self.is_at_top(trial)
        mine = _entries(trial)
        others = [
            _entries(other)
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and other.user_attrs.get(BRACKET) == number
        ]
        theirs = [[each[rung] for each in others if len(each) > rung] for rung in range(len(rungs))]
        value = ranked(trial.intermediate_values[step], self._smaller_is_better)
        verdict = judge(rungs, self._divisor, theirs, len(mine), step, value)
        if verdict.entered:
            entries = [*mine, *(value for _ in verdict.entered)]
            set_trial_attr(study, trial, _RUNGS, {_ENTRIES: entries, _STOPS: verdict.stops})
        return verdict.stops and not verdict.at_top

    def is_at_top(self, trial: FrozenTrial) -> bool:
        """Return whether a trial has come to the top rung of its bracket: its full length."""
        rungs = self._brackets[trial.user_attrs[BRACKET]].rungs
        return bool(rungs) and len(_noted(trial).get(_ENTRIES, ())) == len(rungs)


def _entries(trial: FrozenTrial) -> list[float]:
    """The values with which a trial stands in its bracket's rungs; one that has failed counts as the worst where it stood."""
    if trial.user_attrs.get(OUTCOME) == "invalid":
        return []
    # one that was stopped already stands in no further rung
    failed = trial.state is TrialState.FAIL and STOPPED not in trial.user_attrs
    return [*_noted(trial).get(_ENTRIES, ()), *([FAILED] if failed else [])]


def _noted(trial: FrozenTrial) -> Mapping[str, Any]:
    noted: Mapping[str, Any] = trial.system_attrs.get(_RUNGS, {})
    return noted
