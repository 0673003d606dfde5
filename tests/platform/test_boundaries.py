"""What ends a workload of Determined's loop, and how often is it asked whether it has to stop?"""

from __future__ import annotations

import pytest

from lightning_adapter.platform import boundaries as boundaries_file
from lightning_adapter.platform.boundaries import PREEMPTION_CHECK_BATCHES, Boundaries, PreemptionCheck

PERIODS = ("reporting_period", "validation_period", "checkpoint_period")


def answers(boundaries: Boundaries) -> dict[str, bool]:
    """What each of Determined's periods says of the batch just trained."""
    units = boundaries.periods()
    assert tuple(units) == PERIODS
    return {name: unit.should_stop(17) for name, unit in units.items()}


def decided(**given: bool) -> Boundaries:
    boundaries = Boundaries()
    boundaries.decide(**{**dict.fromkeys(("report", "look", "validate", "checkpoint"), False), **given})
    return boundaries


@pytest.mark.parametrize(
    ("decision", "ends"),
    [
        ("report", "reporting_period"),
        ("look", "reporting_period"),
        ("validate", "validation_period"),
        ("checkpoint", "checkpoint_period"),
    ],
)
def test_each_decision_ends_the_workload_through_its_period(decision: str, ends: str) -> None:
    boundaries = decided(**{decision: True})

    assert boundaries.ends_workload
    assert answers(boundaries) == {name: name == ends for name in PERIODS}


def test_nothing_decided_goes_on() -> None:
    assert not any(answers(decided()).values())
    assert not decided().ends_workload
    assert not Boundaries().ends_workload


def test_progress_is_reported_where_that_was_decided_and_not_at_a_mere_look() -> None:
    assert decided(report=True).reports_progress
    assert not decided(look=True).reports_progress


def test_end_of_the_run_ends_a_workload() -> None:
    boundaries = decided()

    boundaries.run_is_over()

    assert boundaries.ends_workload
    assert answers(boundaries) == {name: name == "reporting_period" for name in PERIODS}


def test_end_of_the_run_keeps_what_was_decided_for_its_last_batch() -> None:
    boundaries = decided(validate=True, checkpoint=True)

    boundaries.run_is_over()

    assert all(answers(boundaries).values())


def test_periods_follow_the_next_decision() -> None:
    boundaries = decided(report=True, validate=True, checkpoint=True)
    units = boundaries.periods()

    boundaries.decide(report=False, look=False, validate=True, checkpoint=False)

    assert [unit.should_stop(18) for unit in units.values()] == [False, True, False]


# --- looks for a request to stop --------------------------------------------------------------------------------------


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(boundaries_file, "time", clock)
    return clock


def proposal(clock: Clock, batches: int, seconds_per_batch: float) -> int:
    check = PreemptionCheck()
    clock.now += 1000.0  # what lies before the workload does not count
    check.workload_starts(20)
    clock.now += batches * seconds_per_batch
    return check.proposal(20 + batches)


@pytest.mark.parametrize(
    ("batches", "seconds_per_batch", "expected"),
    [(8, 0.25, 8), (1, 0.5, 4), (10, 0.0625, 32), (3, 2.0, 1), (1, 60.0, 1), (100, 2**-8, 512)],
)
def test_proposal_is_the_batches_of_two_seconds(
    clock: Clock, batches: int, seconds_per_batch: float, expected: int
) -> None:
    assert proposal(clock, batches, seconds_per_batch) == expected


def test_fast_batches_are_followed_by_a_look_after_a_thousand_of_them(clock: Clock) -> None:
    assert proposal(clock, 100, 2**-20) == PREEMPTION_CHECK_BATCHES == 1000


def test_clock_that_stands_still_is_no_reason_to_divide_by_zero(clock: Clock) -> None:
    assert proposal(clock, 1, 0.0) == PREEMPTION_CHECK_BATCHES


def test_workload_without_a_batch_proposes_to_look_after_one(clock: Clock) -> None:
    clock.now += 5.0

    assert PreemptionCheck().proposal(0) == 1


def test_first_batch_is_followed_by_a_look() -> None:
    check = PreemptionCheck()
    check.workload_starts(7)

    assert check.due_at == 8


def test_look_is_due_after_the_batches_agreed_on_in_each_workload() -> None:
    check = PreemptionCheck()
    check.agree(3)
    check.workload_starts(0)
    assert check.due_at == 3

    check.workload_starts(4)
    assert check.due_at == 7


def test_epochs_without_a_batch_count_as_batches(clock: Clock) -> None:
    check = PreemptionCheck()
    check.agree(3)
    check.workload_starts(4)
    clock.now += 1.0
    check.count_epoch_without_batch()
    check.count_epoch_without_batch()

    assert check.due_at == 5
    assert check.proposal(4) == 4


def test_workload_begins_with_nothing_due() -> None:
    boundaries = decided(report=True, look=True, validate=True, checkpoint=True)

    boundaries.workload_starts(4)

    assert not boundaries.ends_workload
    assert not any(answers(boundaries).values())
