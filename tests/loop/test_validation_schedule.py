"""After which batches is a validation due?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lightning_adapter.loop import validation_schedule
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.validation_schedule import ValidationSchedule
from lightning_adapter.trainer.stop_request import StopRequest
from loop.parts import settings

ENDLESS = float("inf")


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(validation_schedule, "time", clock)
    return clock


class Chief:
    """Tells what the chief says, here an answer that a test sets, else this rank's own."""

    def __init__(self) -> None:
        self.answer: bool | None = None
        self.asked = 0

    def broadcast(self, value: bool) -> bool:
        self.asked += 1
        return value if self.answer is None else self.answer


class Run:
    """A schedule over epochs of a known or unknown length."""

    def __init__(self, every: float | None = None, last_is_due: bool = False, **arguments: Any) -> None:
        self.settings = settings(**arguments)
        self.progress = TrainingProgress(self.settings)
        self.data = SimpleNamespace(val_check_batch=every, validates_in_epoch=True, enable_validation=True)
        self.stop = StopRequest(is_distributed=False)
        self.chief = Chief()
        self.schedule = ValidationSchedule(
            self.settings,
            self.progress,
            self.data,  # type: ignore[arg-type]
            self.stop,
            self.chief,  # type: ignore[arg-type]
            last_is_due,
        )

    def epoch(self, batches: int, period_ends: bool | None = None, last_is_known: bool = True) -> list[bool]:
        """Whether a validation is due after each batch of an epoch."""
        self.progress.advance_epoch_ready()
        self.progress.advance_epoch_started()
        due = []
        for index in range(batches):
            self.progress.batch.advance_ready(last_is_known and index + 1 == batches)
            due.append(self.schedule.is_due(period_ends))
        self.progress.advance_epoch_processed()
        self.progress.advance_epoch_completed()
        return due


def test_interval_counts_the_batches_of_each_epoch() -> None:
    run = Run(every=2)

    assert run.epoch(3) == [False, True, False]
    assert run.epoch(3) == [False, True, False]


def test_interval_counts_the_batches_of_the_run_without_a_number_of_epochs() -> None:
    run = Run(every=2, check_val_every_n_epoch=None, val_check_interval=2)

    assert run.epoch(3) == [False, True, False]
    assert run.epoch(3) == [True, False, True]


@pytest.mark.parametrize("every", [None, ENDLESS])
def test_validation_without_an_interval_is_due_at_the_last_batch(every: float | None) -> None:
    assert Run(every=every).epoch(3) == [False, False, True]


def test_limit_of_batches_ends_an_epoch_whose_loader_goes_on() -> None:
    run = Run(every=ENDLESS, limit_train_batches=2)

    assert run.epoch(2, last_is_known=False) == [False, True]


def test_epoch_that_does_not_validate_is_left_out() -> None:
    run = Run(every=1)
    run.data.validates_in_epoch = False

    assert run.epoch(2) == [False, False]


@pytest.mark.parametrize("ends", [True, False])
def test_period_given_to_fit_wins_over_the_arguments(ends: bool) -> None:
    run = Run(every=1 if not ends else 100)
    run.data.validates_in_epoch = False  # nor does check_val_every_n_epoch count

    assert run.epoch(2, period_ends=ends) == [ends, ends]


def test_period_given_to_fit_needs_something_to_validate_on() -> None:
    run = Run()
    run.data.enable_validation = False

    assert run.epoch(1, period_ends=True) == [False]


def test_period_given_to_fit_is_followed_by_a_validation_of_the_last_batch() -> None:
    run = Run(every=1, max_epochs=2)

    assert run.epoch(3, period_ends=False) == [False, False, False]
    assert run.epoch(3, period_ends=False) == [False, False, True]


def test_period_given_to_fit_is_followed_by_a_validation_of_the_last_step() -> None:
    run = Run(every=1, max_steps=2)
    run.progress.count_steps_from(1)
    assert run.epoch(1, period_ends=False) == [False]
    run.progress.count_steps_from(2)
    assert run.epoch(1, period_ends=False) == [True]


def test_lightnings_own_interval_does_not_validate_the_last_batch() -> None:
    run = Run(every=2, max_epochs=1)

    assert run.epoch(3) == [False, True, False]


def test_run_that_is_about_to_stop_is_validated_once_more() -> None:
    run = Run(every=100)
    run.stop.ask(True)

    assert run.epoch(1) == [True]
    assert run.epoch(1, period_ends=False) == [True]


def test_stop_that_has_to_wait_for_min_epochs_is_not_validated() -> None:
    run = Run(every=100, min_epochs=3)
    run.stop.ask(True)

    assert run.epoch(1) == [False]


def test_time_since_the_last_validation_decides(clock: Clock) -> None:
    run = Run(val_check_interval="00:00:00:10")
    clock.now += 9.9
    before = run.epoch(1)
    clock.now += 0.1
    after = run.epoch(1)

    run.schedule.validated()
    clock.now += 9.9

    assert (before, after, run.epoch(1)) == ([False], [True], [False])


def test_clock_of_the_chief_decides_for_all(clock: Clock) -> None:
    run = Run(val_check_interval="00:00:00:10")
    run.chief.answer = True

    assert run.epoch(1) == [True]

    clock.now += 11
    run.chief.answer = False

    assert run.epoch(1) == [False]


def test_chief_is_not_asked_in_an_epoch_that_does_not_validate(clock: Clock) -> None:
    run = Run(val_check_interval="00:00:00:10")
    run.data.validates_in_epoch = False
    clock.now += 11

    assert run.epoch(1) == [False]
    assert run.chief.asked == 0


@pytest.mark.parametrize("arguments", [{}, {"check_val_every_n_epoch": None}], ids=str)
@pytest.mark.parametrize(("every", "batches"), [(8, [4]), (2, [2, 4, 5]), (3, [3, 5])])
def test_last_batch_that_a_step_fetched_itself_is_validated(every: int, batches: list[int], arguments: Any) -> None:
    length = max(batches)
    run = Run(every, last_is_due=True, val_check_interval=every, **arguments)
    assert [index + 1 for index, due in enumerate(run.epoch(length)) if due] == batches


def test_last_batch_that_a_step_fetched_itself_is_not_validated_in_other_epochs() -> None:
    run = Run(2, last_is_due=True)
    run.data.validates_in_epoch = False
    assert run.epoch(3) == [False, False, False]
