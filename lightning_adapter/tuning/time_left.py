"""How long will a search still take?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lightning_adapter.tuning.preview import Lengths
from lightning_adapter.tuning.view import Row


class TimeLeft:
    """Estimates from what is expected in all, what is done, and how fast that went since this process began.

    Args:
        lengths: that the search is expected to train.
        epochs: of each trial, where those have one length that is known.
        rows: as the search stands now.
        clock: seconds.
    """

    def __init__(
        self, lengths: Lengths, epochs: int | None, rows: Sequence[Row], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._unit = lengths.unit if lengths.unit in ("epochs", "batches") else None
        self._expected = None if self._unit is None else lengths.total
        if lengths.unit is None and epochs is not None:
            self._unit, self._expected = "epochs", epochs * sum(lengths.trials.values())
        self._trials = sum(lengths.trials.values())
        self._clock = clock
        self._begun, self._before = clock(), self._done(rows)

    def seconds(self, rows: Sequence[Row]) -> float | None:
        """Return how many there are left; None as long as nothing is known."""
        if self._ended(rows) >= self._trials:
            return 0.0  # those that a callback of their own has ended have trained less than was expected
        done = self._done(rows)
        if done <= self._before:
            return None
        expected = float(self._trials) if self._expected is None else float(self._expected)
        return max(0.0, expected - done) * (self._clock() - self._begun) / (done - self._before)

    def _done(self, rows: Sequence[Row]) -> float:
        if self._expected is None:
            return float(self._ended(rows))
        return float(sum(row.epochs if self._unit == "epochs" else row.batches for row in rows))

    @staticmethod
    def _ended(rows: Sequence[Row]) -> int:
        return sum(row.state not in ("waiting", "running", "interrupted") for row in rows)
