"""How long will a search be, before anything is trained?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_adapter.tuning.settings import SearcherSettings


@dataclass(frozen=True)
class Lengths:
    """How many trials come how far: what `det preview-search` of Determined says.

    Attributes:
        unit: `time_metric`; None where all trials have their own length.
        trials: length in that unit (None: the trial's own) -> number of trials that end there, the shortest first.
    """

    unit: str | None
    trials: dict[int | None, int]

    @property
    def total(self) -> int | None:
        """Units that all trials train together; None where the length is the trial's own."""
        if None in self.trials:
            return None
        return sum(length * count for length, count in self.trials.items() if length is not None)


def lengths(settings: SearcherSettings) -> Lengths:
    """Return the lengths that the master's own simulation gives."""
    raise NotImplementedError


def text(settings: SearcherSettings, hyperparameters: Mapping[str, Any], seed: int, samples: int = 3) -> str:
    """Return what `search --preview` prints: brackets and rungs, how many trials reach which, total, some first draws."""
    raise NotImplementedError
