"""Does a search have the brackets of the master, and does it make a trial when the master does?

The numbers are those that Determined 0.38.1's own searcher gives for these settings.
"""

from __future__ import annotations

from typing import Any

import pytest

from lightning_adapter.tuning.brackets import Bracket, brackets, wanted
from lightning_adapter.tuning.preview import lengths
from lightning_adapter.tuning.settings import SearcherSettings

#: Settings, the brackets (rungs, trials, those at first), and what the master's simulation says of lengths.
MASTERS: list[tuple[dict[str, Any], list[tuple[tuple[int, ...], int, int]], dict[int, int]]] = [
    (
        {"max_trials": 16, "max_time": 9, "divisor": 3.0, "max_rungs": 3},
        [((1, 3, 9), 11, 8), ((3, 9), 5, 5)],
        {1: 8, 3: 6, 9: 2},
    ),
    (
        {"max_trials": 16, "max_time": 9, "max_concurrent_trials": 0},
        [((2, 9), 11, 5), ((9,), 5, 5)],
        {2: 9, 9: 7},
    ),
    (
        # log 1000 / log 10 is 2.9999999999999996, there too
        {"max_trials": 1000, "max_time": 1000, "mode": "conservative", "divisor": 10.0},
        [((10, 100, 1000), 848, 6), ((100, 1000), 127, 5), ((1000,), 25, 5)],
        {10: 764, 100: 191, 1000: 45},
    ),
    (
        # log 243 / log 3 is 5 there, and less by the C library's logarithm
        {"max_trials": 500, "max_time": 243, "mode": "aggressive", "divisor": 3.0, "max_rungs": 9},
        [((1, 3, 9, 27, 81, 243), 500, 16)],
        {1: 334, 3: 111, 9: 37, 27: 12, 81: 4, 243: 2},
    ),
    (
        {"max_trials": 243, "max_time": 243, "divisor": 3.0, "mode": "aggressive", "max_concurrent_trials": 7},
        [((3, 9, 27, 81, 243), 243, 7)],
        {3: 162, 9: 54, 27: 18, 81: 6, 243: 3},
    ),
    (
        {"max_trials": 100, "max_time": 937, "divisor": 2.5, "bracket_rungs": (1, 4, 2)},
        [((59, 149, 374, 937), 64, 6), ((374, 937), 20, 5), ((937,), 16, 5)],
        {59: 39, 149: 15, 374: 18, 937: 28},
    ),
    (
        {"max_trials": 2, "max_time": 64, "bracket_rungs": (3, 2, 1), "max_concurrent_trials": 2},
        [((4, 16, 64), 1, 1), ((16, 64), 1, 1), ((64,), 1, 1)],
        {4: 0, 16: 0, 64: 3},
    ),
    (
        {"max_trials": 40, "max_time": 64, "bracket_rungs": (3, 3, 3), "max_concurrent_trials": 2},
        [((4, 16, 64), 14, 1), ((4, 16, 64), 13, 1), ((4, 16, 64), 13, 1)],
        {4: 31, 16: 6, 64: 3},
    ),
    ({"max_trials": 1, "max_time": 5}, [((5,), 1, 1)], {5: 1}),
    (
        {
            **{"max_trials": 1000, "max_time": 3, "divisor": 1.5, "mode": "conservative", "max_rungs": 9},
            "max_concurrent_trials": 100,
        },
        [((1, 2, 3), 300, 34), ((2, 3), 300, 33), ((3,), 400, 33)],
        {1: 100, 2: 167, 3: 733},
    ),
]


def halving(name: Any = "adaptive_asha", **more: Any) -> SearcherSettings:
    """Settings of a searcher that stops trials."""
    whole = {"metric": "val_loss", "smaller_is_better": True, "max_concurrent_trials": 16, "time_metric": "epochs"}
    return SearcherSettings(name=name, **{**whole, **more})


def plain(name: Any, trials: int, at_once: int) -> SearcherSettings:
    """Settings of a searcher that stops none."""
    return SearcherSettings(name, "val_loss", True, trials, at_once)


@pytest.mark.parametrize(("settings", "found", "ending"), MASTERS)
def test_brackets_and_lengths_are_the_masters(
    settings: dict[str, Any], found: list[tuple[tuple[int, ...], int, int]], ending: dict[int, int]
) -> None:
    assert brackets(halving(**settings)) == [Bracket(*each) for each in found]
    assert lengths(halving(**settings)).trials == ending


def test_async_halving_is_one_bracket_whose_trials_at_first_bring_one_to_the_top() -> None:
    settings = halving("async_halving", max_trials=30, max_time=27, num_rungs=3, divisor=3.0, max_concurrent_trials=0)
    assert brackets(settings) == [Bracket((3, 9, 27), 30, 9)]


def test_rungs_below_one_unit_are_of_one() -> None:
    settings = halving("async_halving", max_trials=5, max_time=10, num_rungs=4)
    assert brackets(settings) == [Bracket((1, 1, 2, 10), 5, 5)]


def test_divisor_beyond_floating_point_gives_rungs_all_the_same() -> None:
    assert brackets(halving(max_trials=3, max_time=4, divisor=1e200, bracket_rungs=(3,)))[0].rungs == (1, 1, 4)


@pytest.mark.parametrize(
    ("settings", "bracket"),
    [
        (plain("single", 1, 1), Bracket((), 1, 1, replaces_invalid=False)),
        (plain("random", 20, 16), Bracket((), 20, 16)),
        (plain("random", 20, 0), Bracket((), 20, 20)),
        (plain("grid", 6, 16), Bracket((), 6, 6, replaces_invalid=False)),
    ],
)
def test_searcher_that_stops_none_is_one_bracket_without_rungs(settings: SearcherSettings, bracket: Bracket) -> None:
    assert brackets(settings) == [bracket]


def test_stopped_trial_makes_room_until_all_are_made() -> None:
    bracket = Bracket((1, 3), 5, 2)
    assert wanted(bracket, created=0, triggers=0, invalid=0) == 2
    assert wanted(bracket, created=2, triggers=0, invalid=0) == 0
    assert wanted(bracket, created=2, triggers=1, invalid=0) == 1
    assert wanted(bracket, created=5, triggers=4, invalid=0) == 0


def test_invalid_trial_is_replaced_and_not_counted() -> None:
    assert wanted(Bracket((), 5, 2), created=2, triggers=0, invalid=1) == 1
    assert wanted(Bracket((), 5, 2), created=5, triggers=5, invalid=1) == 1


def test_invalid_point_of_a_grid_is_over() -> None:
    grid = Bracket((), 5, 2, replaces_invalid=False)
    assert wanted(grid, created=2, triggers=0, invalid=1) == 1
    assert wanted(grid, created=5, triggers=3, invalid=2) == 0


def test_invalid_single_trial_is_not_replaced() -> None:
    assert wanted(brackets(plain("single", 1, 1))[0], created=1, triggers=0, invalid=1) == 0
