"""How many trials does a search make, where is each judged, and which of them go on?"""

from __future__ import annotations

from dataclasses import dataclass

from lightning_adapter.tuning.settings import SearcherSettings


@dataclass(frozen=True)
class Bracket:
    """Trials that are compared with each other.

    Attributes:
        rungs: lengths at which a trial is judged, in the unit of `time_metric`; the last one is the whole length. Empty where
            no trial is stopped.
        max_trials: trials that it makes.
        initial: trials that it asks for at the start.
    """

    rungs: tuple[int, ...]
    max_trials: int
    initial: int


def brackets(settings: SearcherSettings) -> list[Bracket]:
    """Return the brackets of a search, in the order in which the master makes their first trials.

    single, random and grid are one bracket without rungs.
    """
    raise NotImplementedError
