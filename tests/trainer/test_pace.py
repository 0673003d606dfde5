"""How are speeds and lengths of time said?"""

from __future__ import annotations

import pytest

from lightning_adapter.trainer.display.pace import in_clock, per_second


@pytest.mark.parametrize(
    ("speed", "said"),
    [
        (0.031234, "0.0312 it/s"),
        (48.249, "48.2 it/s"),
        (999.4, "999 it/s"),
        (999.6, "1000 it/s"),
        (2412.4, "2412 it/s"),
    ],
)
def test_speed_is_said_in_plain_digits(speed: float, said: str) -> None:
    assert per_second(speed) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0s"), (59.6, "1m00s"), (200, "3m20s"), (3599.7, "1h00m"), (7505, "2h05m"), (273_600, "3d04h")],
)
def test_length_of_time_has_two_units_at_most(seconds: float, said: str) -> None:
    assert in_clock(seconds) == said
