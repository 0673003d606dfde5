"""How long has a run trained, in this process and in those before it?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.platform.starting_point import StartingPoint


class TrainingTime:
    """Seconds from before the first batch to the end of the training, validations and checkpoints among them.

    Args:
        before: what the runs have taken that this one goes on from; None where nobody knows.
        clock: seconds.
    """

    def __init__(self, before: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._before = before
        self._clock = clock
        self._begun: float | None = None
        self._ended: float | None = None

    @classmethod
    def of(cls, start: StartingPoint) -> TrainingTime:
        """Of a run that begins with a checkpoint, which says how long it took up to there."""
        if start.saved is None or not start.resumes:
            return cls(0.0)
        kept = start.saved.get(OURS, {}).get("seconds")
        known = isinstance(kept, (int, float)) and not isinstance(kept, bool) and math.isfinite(kept) and kept >= 0
        return cls(float(kept) if known else None)

    def starts(self) -> None:
        """The first batch is about to be trained."""
        self._begun = self._clock()

    def ends(self) -> None:
        """No batch follows."""
        self._ended = self._clock()

    @property
    def here(self) -> float:
        """Of this process."""
        if self._begun is None:
            return 0.0
        return (self._clock() if self._ended is None else self._ended) - self._begun

    @property
    def in_all(self) -> float | None:
        """With all runs before; None where nobody knows."""
        return None if self._before is None else self._before + self.here
