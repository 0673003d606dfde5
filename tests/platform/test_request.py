"""How do limits and periods of `fit` and of the YAML reach the trial's arguments?"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from determined import pytorch

from lightning_adapter.arguments import Arguments
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.request import FitRequest


def request(**given: Any) -> FitRequest:
    names = [field.name for field in dataclasses.fields(FitRequest)]
    return FitRequest(**{**dict.fromkeys(names), **given})


def applied(
    arguments: Arguments,
    length: pytorch.TrainUnit | None = None,
    one_step_per_batch: bool = True,
    yaml_period: pytorch.TrainUnit | None = None,
    **given: Any,
) -> tuple[Any, int | None]:
    asked = request(**given)
    return asked.apply(arguments, asked.validation_period or yaml_period, length, one_step_per_batch)


def limits(arguments: Arguments) -> tuple[int | None, int]:
    return arguments.max_epochs, arguments.max_steps


# --- limits -----------------------------------------------------------------------------------------------------------


def test_limits_of_fit_win_over_those_of_the_trial_and_leave_the_others() -> None:
    both, one, none = (Arguments(max_epochs=2, max_steps=9) for _ in range(3))

    applied(both, max_epochs=5, max_steps=7)
    applied(one, max_steps=7)
    applied(none)

    assert (limits(both), limits(one), limits(none)) == ((5, 7), (2, 7), (2, 9))


def test_limit_of_nothing_is_a_limit() -> None:
    arguments = Arguments(max_epochs=2)

    applied(arguments, max_epochs=0)

    assert arguments.max_epochs == 0


def test_length_of_the_yaml_in_epochs_is_the_number_of_epochs() -> None:
    arguments = Arguments()

    assert applied(arguments, pytorch.Epoch(4)) == (None, None)
    assert limits(arguments) == (4, -1)


def test_length_of_the_yaml_in_batches_ends_the_run_after_them() -> None:
    arguments = Arguments()

    assert applied(arguments, pytorch.Batch(40)) == (None, 40)
    assert limits(arguments) == (-1, 40)


@pytest.mark.parametrize(("given", "one_step"), [({"accumulate_grad_batches": 2}, True), ({}, False)])
def test_batches_that_are_no_steps_do_not_limit_the_steps(given: dict[str, int], one_step: bool) -> None:
    arguments = Arguments(**given)

    assert applied(arguments, pytorch.Batch(40), one_step) == (None, 40)
    assert limits(arguments) == (-1, -1)


@pytest.mark.parametrize("length", [pytorch.Epoch(4), pytorch.Batch(40)], ids=["epochs", "batches"])
def test_length_of_the_yaml_does_not_count_where_the_trial_or_fit_names_a_limit(length: pytorch.TrainUnit) -> None:
    of_trial, of_fit = Arguments(max_epochs=2), Arguments()

    assert applied(of_trial, length) == (None, None)
    assert applied(of_fit, length, max_steps=7) == (None, None)
    assert (limits(of_trial), limits(of_fit)) == ((2, -1), (None, 7))


def test_steps_of_the_trial_win_over_batches_of_the_yaml() -> None:
    arguments = Arguments(max_steps=9)

    assert applied(arguments, pytorch.Batch(40)) == (None, None)
    assert limits(arguments) == (None, 9)


def test_epochs_of_the_yaml_join_the_steps_of_the_trial() -> None:
    arguments = Arguments(max_steps=9)

    applied(arguments, pytorch.Epoch(4))

    assert limits(arguments) == (4, 9)


def test_fast_dev_run_keeps_its_own_limits_and_needs_no_period() -> None:
    arguments = Arguments(fast_dev_run=2)

    assert applied(arguments, pytorch.Epoch(4), max_epochs=5, validation_period=pytorch.Batch(3)) == (None, None)
    assert limits(arguments) == (1, 2)


# --- periods ----------------------------------------------------------------------------------------------------------


def test_period_of_fit_is_the_runs() -> None:
    period, _ = applied(Arguments(), validation_period=pytorch.Epoch(2))

    assert (period.in_epochs, period.value) == (True, 2)


@pytest.mark.parametrize(
    ("given", "unit"),
    [
        ({"check_val_every_n_epoch": 2}, pytorch.Epoch(2)),
        ({"check_val_every_n_epoch": None, "val_check_interval": 5}, pytorch.Batch(5)),
    ],
    ids=["epochs", "batches"],
)
def test_period_that_says_the_same_as_the_arguments_is_taken(given: dict[str, Any], unit: pytorch.TrainUnit) -> None:
    period, _ = applied(Arguments(**given), validation_period=unit)

    assert period.value == unit.value


@pytest.mark.parametrize(
    ("given", "unit", "message"),
    [
        ({"check_val_every_n_epoch": 2}, pytorch.Epoch(3), r"Epoch\(3\).*check_val_every_n_epoch=2"),
        ({"check_val_every_n_epoch": 2}, pytorch.Batch(2), r"Batch\(2\).*check_val_every_n_epoch=2"),
        ({"val_check_interval": 5}, pytorch.Batch(5), r"Batch\(5\).*val_check_interval=5, check_val_every_n_epoch=1"),
        ({"val_check_interval": 0.5}, pytorch.Epoch(1), r"Epoch\(1\).*val_check_interval=0\.5"),
        (
            {"check_val_every_n_epoch": None, "val_check_interval": 5},
            pytorch.Batch(6),
            r"Batch\(6\).*val_check_interval=5, check_val_every_n_epoch=None",
        ),
        ({"val_check_interval": "00:00:01:30"}, pytorch.Epoch(1), r"Epoch\(1\).*val_check_interval of 90 seconds"),
        (
            {"check_val_every_n_epoch": None, "val_check_interval": "00:00:00:01"},
            pytorch.Batch(1),
            r"Batch\(1\).*val_check_interval of 1 seconds",
        ),
    ],
    ids=["epochs", "units", "batches-of-epoch", "fraction", "batches", "time", "time-of-run"],
)
def test_period_that_contradicts_the_arguments_is_refused(
    given: dict[str, Any], unit: pytorch.TrainUnit, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^validation_period says {message}.*Leave one of them out"):
        applied(Arguments(**given), validation_period=unit)


def test_period_of_the_yaml_that_contradicts_the_arguments_is_named_as_such() -> None:
    with pytest.raises(ConfigurationError, match=r"^min_validation_period in the experiment config says"):
        applied(Arguments(check_val_every_n_epoch=2), yaml_period=pytorch.Epoch(3))


def test_no_period_leaves_the_arguments_to_decide() -> None:
    period, _ = applied(Arguments(check_val_every_n_epoch=2))

    assert period is None
