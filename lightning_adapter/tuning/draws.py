"""Which hyperparameters, and which seed, does the master of a cluster give the trials of a search?

They follow from `reproducibility.experiment_seed`: the master draws them from NumPy's generator (a Mersenne Twister seeded with
it), trial after trial, in the order in which trials are made. So the nth trial here is the nth one there.

Two things can differ. The ranges of a nested group are drawn in the order of their names here; the master walks its map of
them, whose order Go changes with each walk, so that nobody can know it where a group holds several ranges. And a master on
another processor than x86-64 may compute the last bit of a `log` range in another way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_adapter.platform.experiment.ranges import is_range
from lightning_adapter.tuning import grid
from lightning_adapter.tuning.go_numbers import power, told, told_number
from lightning_adapter.tuning.settings import SearcherSettings, searched

#: Words of the generator that are drawn at once.
_BLOCK = 624
#: A trial's identity is 16 bytes of the same generator.
_WORDS_OF_AN_IDENTITY = 4


@dataclass(frozen=True)
class Draw:
    """What a trial is made of.

    Attributes:
        hyperparameters: name -> value, nested as in the file, as they come through the master's JSON.
        seed: of the trial.
    """

    hyperparameters: dict[str, Any]
    seed: int


def draws(settings: SearcherSettings, hyperparameters: Mapping[str, Any], seed: int) -> Iterator[Draw]:
    """Yield what the first, second ... trial is made of; without end, except of a grid.

    Args:
        settings: of the search.
        hyperparameters: of the experiment, with ranges.
        seed: `reproducibility.experiment_seed`.
    """
    source = _Source(seed)
    points = grid.points(hyperparameters) if settings.name == "grid" else _samples(hyperparameters, source)
    for point in points:
        # `NewCreate`: the values are drawn before it is called
        for _ in range(_WORDS_OF_AN_IDENTITY):
            source.word()
        yield Draw(point, source.below(1 << 31))


def drawn_in_any_order(hyperparameters: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the route of a nested group with several ranges, of which nobody knows what the master draws; None without one."""
    for name, spec in hyperparameters.items():
        if isinstance(spec, Mapping) and "type" not in spec:
            if sum(is_range(each) or any(searched({"": each})) for each in spec.values()) > 1:
                return (name,)
            inner = drawn_in_any_order(spec)
            if inner is not None:
                return (name, *inner)
    return None


class _Source:
    """The master's random numbers, `nprand.State`."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.MT19937()
        np.random.RandomState(self._generator).seed(seed)  # as NumPy's older interface does, and the master
        self._words: Iterator[int] = iter(())

    def word(self) -> int:
        """Return 32 random bits."""
        for word in self._words:
            return word
        self._words = iter(self._generator.random_raw(_BLOCK).tolist())
        return next(self._words)

    def below(self, end: int) -> int:
        """Return a whole number from 0 on, below the end: of as many bits as it has, the first that is."""
        most = end - 1
        if most == 0:
            return 0
        bits = most.bit_length()
        while True:
            drawn = self.word() if bits <= 32 else self.word() << 32 | self.word()
            drawn &= (1 << bits) - 1
            if drawn <= most:
                return drawn

    def between(self, low: float, high: float) -> float:
        """Return a number from `low` on, below `high`."""
        upper, lower = self.word() >> 5, self.word() >> 6
        return low + (high - low) * ((upper * 67108864.0 + lower) / 9007199254740992.0)


def _samples(hyperparameters: Mapping[str, Any], source: _Source) -> Iterator[dict[str, Any]]:
    """`sampleAll`, again and again."""
    names = sorted(hyperparameters)
    while True:
        yield {name: _sample(hyperparameters[name], source) for name in names}


def _sample(spec: Any, source: _Source) -> Any:
    """`sampleOne`."""
    if not isinstance(spec, Mapping):
        return told(spec)
    if "type" not in spec:
        return {name: _sample(spec[name], source) for name in sorted(spec)}
    if not is_range(spec):
        return told(spec["val"])
    kind = spec["type"]
    if kind == "categorical":
        return told(spec["vals"][source.below(len(spec["vals"]))])
    low, high = spec["minval"], spec["maxval"]
    if kind == "int":
        return low + source.below(high - low + 1)
    drawn = source.between(float(low), float(high))
    return told_number(power(spec["base"], drawn) if kind == "log" else drawn)
