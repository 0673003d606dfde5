"""Runs are filtered by what is known of them and sorted by it, numbers as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.listing import Run, runs_below
from lightning_adapter.runs.selection import condition, ordered, select
from runs.made_runs import make_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Three runs: the second one is an interrupted one of another trial, the third has no value of the metric."""
    make_run(tmp_path, 0, best=0.5, hyperparameters={"lr": 1e-3, "optimizer": {"name": "adam"}, "nesterov": False})
    make_run(tmp_path, 1, "Other", best=0.25, hyperparameters={"lr": 0.1}, status="interrupted")
    make_run(tmp_path, 2, hyperparameters={"lr": 10, "optimizer": {"name": "sgd"}, "nesterov": True, "note": "a=b"})
    return runs_below(tmp_path)


def numbers(runs: list[Run]) -> list[int]:
    return [int(run.path.name[-4]) for run in runs]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lr>0.01", [1, 2]),
        ("lr >= 1e-1", [1, 2]),
        ("lr<9", [0, 1]),  # and "10" is no text
        ("lr<=0.001", [0]),
        ("lr=0.001", [0]),
        ("lr==1e-3", [0]),
        ("lr!=0.1", [0, 2]),
        ("optimizer.name=sgd", [2]),
        ("name=Other", [1]),
        ("optimizer.name!=sgd", [0, 1]),  # a run without an optimizer has another one
        ("optimizer.name~AD", [0]),
        ("nesterov=true", [2]),
        ("nesterov=None", [1]),
        ("val_loss<0.3", [1]),
        ("metrics.val_loss<1.3", [1]),
        ("best>0", [0, 1]),
        ("note=a=b", [2]),
        ("note='a=b'", [2]),
        ("start>2026-11-01T12:01:30", [2]),
        ("lr>adam", []),
        ("run~12-02", [2]),
        ("age>1d", [0, 1, 2]),
        ("age<90", []),
    ],
)
def test_condition_selects_the_runs_of_which_it_holds(runs: list[Run], text: str, found: list[int]) -> None:
    assert numbers(select(runs, conditions=[condition(text)])) == found


@pytest.mark.parametrize("text", ["lr", "lr>", ">3", "", "= =", "age<soon"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no condition: write a name|'soon' is no length of time: write 90 s"):
        condition(text)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"names": ["MNIST*"]}, [0, 2]),
        ({"names": ["Other", "x"]}, [1]),
        ({"statuses": ["finished"]}, [0, 2]),
        ({"last": 2}, [1, 2]),
        ({"last": 0}, []),
        ({"last": 9}, [0, 1, 2]),
        ({"names": ["MNIST*"], "last": 1}, [2]),
    ],
)
def test_runs_are_selected_by_name_status_and_number(
    runs: list[Run], arguments: dict[str, Any], found: list[int]
) -> None:
    assert numbers(select(runs, **arguments)) == found


def test_condition_on_what_no_run_has_is_refused_with_a_guess(runs: list[Run]) -> None:
    with pytest.raises(ConfigurationError, match=r"'optimiser.name'; did you mean 'optimizer.name'\?"):
        select(runs, conditions=[condition("optimiser.name=sgd")])


@pytest.mark.parametrize(
    ("key", "reverse", "found"),
    [
        ("lr", False, [0, 1, 2]),
        ("lr", True, [2, 1, 0]),
        ("val_loss", False, [1, 0, 2]),
        ("best", True, [0, 1, 2]),
        ("optimizer.name", False, [0, 2, 1]),
        ("start", True, [2, 1, 0]),
        ("age", False, [2, 1, 0]),
    ],
)
def test_runs_are_sorted_and_those_without_a_value_come_last(
    runs: list[Run], key: str, reverse: bool, found: list[int]
) -> None:
    assert numbers(ordered(runs, key, reverse)) == found


def test_of_a_metric_that_grows_the_greatest_is_the_best(tmp_path: Path) -> None:
    for number, best in enumerate((0.5, 0.9, 0.7)):
        make_run(tmp_path, number, best=best, metric={"name": "val_loss", "smaller_is_better": False})
    assert numbers(ordered(runs_below(tmp_path), "val_loss")) == [1, 2, 0]


def test_sorting_by_what_no_run_has_is_refused(runs: list[Run]) -> None:
    with pytest.raises(ConfigurationError, match="None of the runs has a value 'width'"):
        ordered(runs, "width")
