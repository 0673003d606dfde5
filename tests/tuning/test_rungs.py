"""Does a validation stop the trials that the master's searcher stops?

The search that is played here was played to Determined 0.38.1's own searcher.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import pytest

from lightning_adapter.tuning.brackets import brackets, wanted
from lightning_adapter.tuning.rungs import FAILED, Verdict, judge, ranked
from lightning_adapter.tuning.settings import SearcherSettings

#: Three brackets: rungs at 2, 4 and 9 epochs, at 4 and 9, and at 9.
SETTINGS = SearcherSettings(
    "adaptive_asha", "m", True, 14, 6, time_metric="epochs", max_time=9, divisor=2.0, max_rungs=3, mode="conservative"
)
#: Trial, epoch of its validation or how it ended, value, whether the master stops it, trials that it makes then.
EVENTS: list[tuple[int, int | Literal["failed", "invalid"], float, bool, int]] = [
    *((1, 4, 1.0, False, 0), (5, 4, 0.88, False, 0), (1, 5, 0.32, False, 0), (4, 2, 0.71, False, 0)),
    *((4, 6, 0.5, False, 0), (1, 6, 0.58, False, 0), (5, 6, 0.5, False, 0), (2, 4, 0.5, False, 0)),
    *((2, 5, 0.5, False, 0), (4, 8, 0.5, False, 0), (4, 10, 0.66, True, 1), (2, 7, 0.5, False, 0)),
    *((5, 10, 0.5, True, 1), (0, "failed", 0.0, False, 1), (3, "failed", 0.0, False, 1), (1, 7, 0.5, False, 0)),
    *(
        (1, "invalid", 0.0, False, 1),
        (6, "failed", 0.0, False, 0),
        (8, 2, 0.5, False, 0),
        (2, "invalid", 0.0, False, 1),
    ),
    *((8, 3, 0.5, False, 0), (7, 4, 0.46, False, 0), (10, 1, 0.5, False, 0), (10, 5, 0.71, True, 1)),
    *((12, 1, 0.5, False, 0), (7, 5, 0.5, False, 0), (9, 1, 0.5, False, 0), (7, 9, 0.25, True, 0)),
    *((9, "invalid", 0.0, False, 1), (13, 2, 0.34, False, 0), (8, 7, 0.03, False, 0), (13, 3, 0.5, False, 0)),
    *((13, 4, 0.11, False, 0), (11, 4, 0.32, True, 1), (14, 2, 0.5, False, 0), (8, 8, 0.5, False, 0)),
    *((12, 3, 0.5, False, 0), (13, 8, 0.5, False, 0), (8, 12, 0.5, True, 1), (14, 6, 0.5, True, 0)),
    *((13, 10, 0.5, True, 0), (15, 4, 0.5, True, 1), (16, 1, 0.39, False, 0), (12, "failed", 0.0, False, 0)),
    (16, 5, 0.52, True, 0),
]


@dataclasses.dataclass
class Played:
    """A trial of the search that is played."""

    bracket: int
    rung: int = 0
    state: str = "running"
    entered: dict[int, float] = dataclasses.field(default_factory=dict)


def test_whole_search_is_the_masters() -> None:
    all_brackets = brackets(SETTINGS)
    trials: list[Played] = []

    def make() -> int:
        made = 0
        for number, bracket in enumerate(all_brackets):
            states = [trial.state for trial in trials if trial.bracket == number]
            triggers = states.count("stopped") + states.count("failed")
            due = wanted(bracket, len(states), triggers, states.count("invalid"))
            trials.extend(Played(number) for _ in range(due))
            made += due
        return made

    def entries(bracket: int) -> list[list[float]]:
        """By rung."""
        of_it = [trial for trial in trials if trial.bracket == bracket and trial.state != "invalid"]
        return [[trial.entered[rung] for trial in of_it if rung in trial.entered] for rung in range(3)]

    assert make() == 6
    for event in EVENTS:
        number, what, value, _, _ = event
        trial, stops = trials[number], False
        if isinstance(what, str):
            trial.state = what
            trial.entered.update({trial.rung: FAILED} if what == "failed" else {})
        else:
            rungs = all_brackets[trial.bracket].rungs
            _, trial.rung, stops, _ = verdict = judge(
                rungs, SETTINGS.divisor, entries(trial.bracket), trial.rung, what, ranked(value, True)
            )
            trial.entered.update(dict.fromkeys(verdict.entered, value))
            trial.state = "stopped" if stops else "running"
        assert (number, what, value, stops, make()) == event


def test_first_trial_of_a_rung_goes_on() -> None:
    assert judge([1, 3, 9], 4.0, [[], [], []], 0, 1, 0.5) == Verdict((0,), 1, stops=False, at_top=False)


def test_trial_short_of_its_rung_is_not_judged() -> None:
    assert judge([2, 4], 4.0, [[], []], 0, 1, 0.5) == Verdict((), 0, stops=False, at_top=False)


def test_trial_enters_all_rungs_that_it_has_passed() -> None:
    assert judge([1, 3, 9], 2.0, [[], [], []], 0, 5, 0.5) == Verdict((0, 1), 2, stops=False, at_top=False)
    assert judge([1, 3, 9], 2.0, [[], [0.1], []], 0, 9, 0.5) == Verdict((0, 1), 1, stops=True, at_top=False)


def test_top_is_the_end_however_good_the_trial_is() -> None:
    assert judge([1, 3], 2.0, [[0.5], [0.5]], 1, 3, 0.1) == Verdict((1,), 1, stops=True, at_top=True)


def test_equal_value_is_the_better_one() -> None:
    assert not judge([1, 3], 2.0, [[0.5], []], 0, 1, 0.5).stops
    assert judge([1, 3], 2.0, [[0.5], []], 0, 1, 0.6).stops


@pytest.mark.parametrize(("others", "stops"), [(3, True), (4, False), (5, False)])
def test_share_that_goes_on_is_rounded_down(others: int, stops: bool) -> None:
    """With a divisor of 2.5 the second best goes on among 5, and is stopped among 4."""
    assert judge([1, 3], 2.5, [[0.1, *[0.9] * (others - 1)], []], 0, 1, 0.5).stops == stops


def test_failed_trials_leave_room_for_others() -> None:
    assert not judge([1, 3], 2.0, [[0.1, FAILED, FAILED], []], 0, 1, 0.5).stops


def test_order_of_entries_does_not_matter() -> None:
    for others in ([0.9, 0.1, 0.5], [0.1, 0.5, 0.9]):
        assert not judge([1, 3], 2.0, [others, []], 0, 1, 0.4).stops


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("smaller_is_better", [True, False])
def test_value_that_is_not_finite_is_the_worst(value: float, smaller_is_better: bool) -> None:
    worst = ranked(value, smaller_is_better)
    assert worst > FAILED
    assert judge([1, 3], 2.0, [[worst] * 7, []], 0, 1, worst).stops
    assert not judge([1, 3], 2.0, [[worst] * 7, []], 0, 1, 1e300).stops


def test_larger_value_is_better_where_the_searcher_says_so() -> None:
    assert ranked(0.9, False) < ranked(0.1, False)


def test_trial_of_a_search_without_rungs_goes_on() -> None:
    assert judge((), 4.0, (), 0, 100, 0.5) == Verdict((), 0, stops=False, at_top=False)
