"""Does a preview say what a search will be, in words that fit a terminal?"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from lightning_adapter.tuning.preview import Lengths, lengths, text
from lightning_adapter.tuning.settings import SearcherSettings, searcher_settings

RATE = {"type": "log", "base": 10, "minval": -4, "maxval": -1}
WIDTH = {"type": "categorical", "vals": [4, 8, 16, 24]}
RANGES = {"learning_rate": RATE, "width": WIDTH, "dropout": 0.1}
ADAPTIVE = {
    **{"name": "adaptive_asha", "metric": "val_loss", "max_trials": 16, "time_metric": "epochs", "max_time": 9},
    **{"divisor": 3, "max_rungs": 3},
}


def read(searcher: dict[str, Any], hyperparameters: dict[str, Any] | None = None) -> SearcherSettings:
    """The settings of a searcher over some ranges."""
    return searcher_settings({"searcher": searcher, "hyperparameters": hyperparameters or RANGES})


def test_preview_of_a_search_that_stops_trials() -> None:
    assert text(read(ADAPTIVE), RANGES, 1) == (
        """\
adaptive_asha: 16 trials, ranked by val_loss (smaller is better).

  bracket    trials    begun at once  judged after epochs
---------  --------  ---------------  ---------------------
        1        11                8  1, 3, 9
        2         5                5  3, 9

Trials are compared within their bracket alone. One goes on where it is among
the best 1/3 of those judged at that length so far; at the last length it is
complete. If just that share goes on, as Determined's own preview reckons:

  epochs    trials that come to it    that end there
--------  ------------------------  ----------------
       1                        16                 8
       3                         8                 6
       9                         2                 2

Together 44 epochs, as much as 4.89 trials of the whole length of 9.

The first draws of experiment_seed 1; a cluster draws the same:
  trial 0 (seed 2143362693):  learning_rate=0.001783  width=4
  trial 1 (seed 729053692):  learning_rate=0.0002756  width=4
  trial 2 (seed 105433556):  learning_rate=0.00155  width=16"""
    )


def test_preview_of_a_grid_shows_its_points() -> None:
    ranges = {**RANGES, "learning_rate": {**RATE, "count": 4}}
    said = text(read({"name": "grid", "metric": "acc", "smaller_is_better": False}, ranges), ranges, 1)
    assert "grid: 16 trials, ranked by acc (greater is better). Each trains to its own end" in said
    assert "learning_rate            4  0.0001, 0.001, 0.01, 0.1\nwidth                    4  4, 8, 16, 24" in said
    assert "learning_rate=0.1  width=24" in said


def test_preview_of_a_grid_of_one_point_has_no_table() -> None:
    ranges = {"lr": {**RATE, "count": 1}}
    said = text(read({"name": "grid", "metric": "m"}, ranges), ranges, 1)
    assert said.startswith("grid: 1 trial, ranked by m (smaller is better). It trains")
    assert "The draw of experiment_seed 1" in said
    assert "points" not in said


def test_preview_without_a_seed_says_that_draws_differ() -> None:
    assert "each search draws other values" in text(read(ADAPTIVE), RANGES, None)
    ranges = {"lr": {**RATE, "count": 2}}
    said = text(read({"name": "grid", "metric": "m"}, ranges), ranges, None)
    assert "each search gives its trials other seeds" in " ".join(said.split())


def test_preview_of_a_group_of_several_ranges_does_not_promise_the_clusters_draws() -> None:
    ranges = {"net": {"lr": RATE, "width": WIDTH}}
    assert "the group net has several ranges" in " ".join(text(read(ADAPTIVE, ranges), ranges, 1).split())


def test_preview_shows_as_many_draws_as_asked_for_and_no_more_than_there_are() -> None:
    assert text(read(ADAPTIVE), RANGES, 1, samples=5).count("learning_rate=") == 5
    assert text(read({**ADAPTIVE, "max_trials": 2}), RANGES, 1, samples=5).count("learning_rate=") == 2


def test_preview_says_where_brackets_make_more_than_max_trials() -> None:
    said = text(read({**ADAPTIVE, "max_trials": 1, "bracket_rungs": [2, 1]}), RANGES, 1)
    assert "2 trials" in said
    assert "more than max_trials 1" in " ".join(said.split())
    assert (
        "that end there\n--------  ------------------------  ----------------\n       9                         2"
        in said
    )


def test_preview_fits_80_columns() -> None:
    ranges = {
        "net": {"encoder": {"a_name_that_somebody_has_written_out": {"type": "categorical", "vals": ["x" * 90, "y"]}}},
        **{
            f"hyperparameter_{number}": {"type": "int", "minval": 1, "maxval": 10**9, "count": 2} for number in range(9)
        },
    }
    long = {**ADAPTIVE, "time_metric": "batches", "max_time": 25_600_000, "max_rungs": 9, "max_trials": 5000}
    for searcher in (long, {"name": "grid", "metric": "m"}, {"name": "random", "metric": "m", "max_trials": 3}):
        said = text(read(searcher, ranges), ranges, 4294967295)
        assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize(
    ("searcher", "found"),
    [
        ({"name": "single", "metric": "m"}, Lengths(None, {None: 1})),
        ({"name": "random", "metric": "m", "max_trials": 7}, Lengths(None, {None: 7})),
        (ADAPTIVE, Lengths("epochs", {1: 8, 3: 6, 9: 2})),
    ],
)
def test_lengths_are_those_of_the_masters_preview(searcher: dict[str, Any], found: Lengths) -> None:
    assert lengths(read(searcher)) == found


def test_total_is_known_where_lengths_are() -> None:
    assert lengths(read(ADAPTIVE)).total == 44
    assert lengths(read({"name": "single", "metric": "m"})).total is None


def test_async_halving_is_reckoned_like_one_bracket() -> None:
    searcher = {**ADAPTIVE, "name": "async_halving", "num_rungs": 3}
    del searcher["max_rungs"]
    assert lengths(read(searcher)).trials == {1: 11, 3: 4, 9: 1}


def test_rules_are_read_without_torch_and_optuna() -> None:
    code = "import sys, lightning_adapter.tuning.preview; print(sorted({'torch', 'optuna'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
