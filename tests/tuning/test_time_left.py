"""How long will a search still take?"""

from __future__ import annotations

from lightning_adapter.tuning.preview import Lengths
from lightning_adapter.tuning.time_left import TimeLeft
from lightning_adapter.tuning.view import Row, State


def row(number: int, state: State, epochs: int) -> Row:
    return Row(number, state, epochs * 10, epochs, 0.5, {}, None)


def test_nothing_is_left_when_the_last_trial_has_ended_however_short_the_trials_were() -> None:
    now = [0.0]
    left = TimeLeft(Lengths(None, {None: 2}), 4, [], lambda: now[0])
    now[0] = 30.0
    assert left.seconds([row(0, "complete", 3), row(1, "running", 0)]) == 50.0
    now[0] = 60.0
    assert left.seconds([row(0, "complete", 3), row(1, "complete", 3)]) == 0.0
