"""A length of time is read as people type it, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from lightning_adapter.runs import words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("90 s", 90), ("30m", 1800), ("30 min", 1800), ("2h", 7200), ("1h30m", 5400), ("1 h 30 min", 5400),
        ("1d", 86400), ("0.5 h", 1800), (" 1d 2h 3m 4s ", 93784),
    ],
)  # fmt: skip
def test_length_of_time_is_read(text: str, seconds: float) -> None:
    assert words.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "h", "1h30", "30 1h", "2 hours", "-2h", "1,5h", "2h!", "1e3s", "infs"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no length of time: write 90 s, 30 min, 2 h, 1h30m or 3 d"):
        words.seconds(text)


def test_what_is_counted_is_one_or_several() -> None:
    assert [words.counted(0, "trial"), words.counted(1, "trial"), words.counted(2, "batch", "batches")] == [
        "0 trials",
        "1 trial",
        "2 batches",
    ]


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
    assert words.per_second(speed) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0s"), (59.6, "1m00s"), (200, "3m20s"), (3599.7, "1h00m"), (7505, "2h05m"), (273_600, "3d04h")],
)
def test_length_of_time_has_two_units_at_most(seconds: float, said: str) -> None:
    assert words.in_clock(seconds) == said
