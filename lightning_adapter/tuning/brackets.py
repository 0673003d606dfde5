"""How many trials does a search make, where is each judged, and how many are to be made now?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_adapter.tuning.go_numbers import log, power
from lightning_adapter.tuning.settings import SearcherSettings


@dataclass(frozen=True)
class Bracket:
    """Trials that are compared with each other.

    Attributes:
        rungs: lengths at which a trial is judged, in the unit of `time_metric`; the last one is the whole length. Empty where
            no trial is stopped.
        max_trials: trials that it makes.
        initial: trials that it asks for at the start.
        replaces_invalid: whether a trial with invalid hyperparameters is not counted, and another one made in its place.
    """

    rungs: tuple[int, ...]
    max_trials: int
    initial: int
    replaces_invalid: bool = True


def brackets(settings: SearcherSettings) -> list[Bracket]:
    """Return the brackets of a search, in the order in which the master makes their first trials.

    single, random and grid are one bracket without rungs.
    """
    most, at_once = settings.max_trials, settings.max_concurrent_trials
    if not settings.stops_trials:
        return [Bracket((), most, min(most, at_once or most), replaces_invalid=settings.name == "random")]
    if settings.name == "async_halving":
        return [_halving(settings, settings.num_rungs, most, at_once)]
    numbers = sorted(settings.bracket_rungs or _numbers_of_rungs(settings), reverse=True)
    trials = _trials(settings, numbers)
    return [
        _halving(settings, rungs, of_it, together)
        for rungs, of_it, together in zip(numbers, trials, _at_once(settings, trials), strict=True)
    ]


def wanted(bracket: Bracket, created: int, triggers: int, invalid: int) -> int:
    """Return how many trials of a bracket are to be made now, in place of the master's answers to single events.

    Args:
        bracket: of the search.
        created: trials that were made, invalid ones among them.
        triggers: where it has rungs, trials that the searcher has stopped or that have failed (one that ends by itself makes no
            room for another); elsewhere, trials that are over, in whatever way except as invalid. Each counts once; the master
            takes one that fails after it was stopped for two.
        invalid: trials whose code has refused their hyperparameters.
    """
    if bracket.replaces_invalid:
        return min(bracket.max_trials, bracket.initial + triggers) + invalid - created
    return min(bracket.max_trials, bracket.initial + triggers + invalid) - created


def _halving(settings: SearcherSettings, rungs: int, trials: int, at_once: int) -> Bracket:
    """`newAsyncHalvingStoppingSearch`, `makeRungs` and `initialTrials`."""
    length = settings.max_time or 1
    lengths = (int(length / power(settings.divisor, rungs - number - 1)) for number in range(rungs))
    if at_once == 0:
        at_once = max(_int(power(settings.divisor, rungs - 1)), 1)  # so that one trial comes to the top
    return Bracket(tuple(max(each, 1) for each in lengths), trials, min(at_once, trials))


def _numbers_of_rungs(settings: SearcherSettings) -> list[int]:
    """How many rungs each bracket has: `makeBrackets`, and the function of each mode."""
    base = log(settings.divisor)
    # so that the top rung has at least one trial, and the lowest one unit
    most = min(
        settings.max_rungs,
        _int(log(settings.max_time or 1) / base) + 1,
        _int(log(settings.max_trials) / base) + 1,
    )
    first = {"conservative": 1, "standard": (most - 1) // 2 + 1, "aggressive": most}[settings.mode]
    return list(range(first, most + 1))


def _trials(settings: SearcherSettings, numbers: list[int]) -> list[int]:
    """`getBracketMaxTrials`: about the same training for each bracket."""
    weights = [power(settings.divisor, rungs - 1) / rungs for rungs in numbers]
    total = 0.0
    for weight in weights:  # added one by one: `sum` of newer Pythons is more exact than the master
        total += weight
    trials = [max(_int(weight / total * settings.max_trials), 1) for weight in weights]
    trials[0] += max(settings.max_trials - sum(trials), 0)
    return trials


def _at_once(settings: SearcherSettings, trials: list[int]) -> list[int]:
    """`getBracketMaxConcurrentTrials`."""
    if settings.max_concurrent_trials == 0:
        return [max(trials[-1], _int(settings.divisor))] * len(trials)
    each, more = divmod(max(settings.max_concurrent_trials, len(trials)), len(trials))
    return [each + (number < more) for number in range(len(trials))]


def _int(number: float) -> int:
    """A number without its fraction, as Go's `int` cuts it off; one that no 64 bits hold is the smallest of all."""
    return int(number) if math.isfinite(number) and abs(number) < 2**63 else -(2**63)
