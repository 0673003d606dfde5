"""How fast does a run train, and how long will it take?"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from lightning_adapter.loop.progress import TrainingProgress


class Pace:
    """Batches per second, validations left out, and the time that is left.

    Args:
        progress: where the run stands.
        fraction: how much of the run is done, from 0 to 1.
        clock: seconds.
        samples: that the speed is taken from: the latest ones, since a run may become slower.
    """

    def __init__(
        self,
        progress: TrainingProgress,
        fraction: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        samples: int = 60,
    ) -> None:
        self._progress = progress
        self._fraction = fraction
        self._clock = clock
        self._begun = clock()
        self._done_before: float | None = None  # of the run, by this process' first batch
        self._not_training = 0.0
        self._stopped_at: float | None = None
        self._samples: deque[tuple[float, int]] = deque(maxlen=samples)

    def epoch_starts(self) -> None:
        """An epoch begins. By the first one the counters are those of the checkpoint that the run goes on from, if it does."""
        self.goes_on()
        if self._done_before is None:
            self._begun, self._not_training, self._done_before = self._clock(), 0.0, self._fraction()
            self._samples.clear()
            self.sample()

    def sample(self) -> None:
        """Something is about to be shown; where nothing was trained since the last time, the speed stays as it was."""
        batches = self._progress.batch.total.completed
        if not self._samples or self._samples[-1][1] != batches:
            self._samples.append((self._seconds_trained(), batches))

    def stops(self) -> None:
        """A validation begins: no batch is trained meanwhile."""
        self._stopped_at = self._clock()

    def goes_on(self) -> None:
        """The validation is over, with the hooks that follow its last batch."""
        if self._stopped_at is not None:
            self._not_training += self._clock() - self._stopped_at
            self._stopped_at = None

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._begun

    @property
    def speed(self) -> float | None:
        """Batches per second of training; None before anybody knows."""
        if len(self._samples) < 2:
            return None
        (begin, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - begin) if last > first and end > begin else None

    @property
    def epoch_left(self) -> float | None:
        """Seconds until the epoch's last batch, validations left out; None where nobody knows."""
        length, speed = self._progress.num_training_batches, self.speed
        if speed is None or length == float("inf"):
            return None
        return max(0.0, length - self._progress.batch.current.completed) / speed

    @property
    def run_left(self) -> float | None:
        """Seconds until the run's end, with all that happens between batches; None where nobody knows."""
        if self._done_before is None:
            return None
        done = self._fraction()
        here = done - self._done_before
        return self.elapsed * (1 - done) / here if here > 0 and done < 1 else None

    def _seconds_trained(self) -> float:
        now = self._clock() if self._stopped_at is None else self._stopped_at
        return now - self._begun - self._not_training
