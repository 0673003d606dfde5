"""How is a line of any length kept in a few thousand points, so that no spike of it is lost?"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from math import isfinite

import numpy as np

#: More points than a panel has pixels; of a longer line the extremes of each stretch are drawn.
MAX_POINTS = 2000
_MOST_STRETCHES = 1024  # an even number
_FEW = 4  # points that are looked at one by one


class ThinnedLine:
    """A line that grows by one point after the other, in memory that does not grow with it.

    It is cut into stretches of equally many points, of each of which the smallest and the largest value are kept. When
    there are too many, each two neighbours become one. So a point costs the same at any length, on the average.
    """

    def __init__(self) -> None:
        # of each stretch that is full, in the order of the line; one without a finite value has NaN
        self._low_at, self._high_at = array("q"), array("q")
        self._low, self._high = array("d"), array("d")
        self._width = 1  # points of a stretch
        # of the stretch that is being filled: points that it still takes, and what it will keep
        self._room = 1
        self._least, self._most = (0, math.nan), (0, math.nan)
        self._first: tuple[int, float] | None = None
        self._last = (0, math.nan)
        self._lost: int | None = None

    def add(self, at: int, value: float) -> None:
        """Add a point behind all others.

        Args:
            at: its place.
            value: where it is not finite it leaves a gap.
        """
        if not isfinite(value):
            if self._lost is None:
                self._lost = at
            value = math.nan
        self._last = point = (at, value)
        if self._room == self._width:
            self._least = self._most = point
            if self._first is None:
                self._first = point
        else:
            # what is NaN is neither smaller nor larger than anything
            least, most = self._least[1], self._most[1]
            if value < least or least != least:
                self._least = point
            if value > most or most != most:
                self._most = point
        self._room -= 1
        if self._room == 0:
            self._close()

    def extend(self, places: Sequence[int], values: Sequence[float]) -> None:
        """Add many points, as `add` does one after the other, and many times faster where stretches are long."""
        done = 0
        while done < len(values):
            end = min(done + self._room, len(values))
            part = values[done:end]
            if self._first is None or len(part) < _FEW or not all(map(isfinite, part)):
                for at, value in zip(places[done:end], part, strict=True):
                    self.add(at, value)
            else:
                low, high = min(part), max(part)
                least, most = self._least[1], self._most[1]
                begins = self._room == self._width
                if begins or low < least or least != least:
                    self._least = (places[done + part.index(low)], low)
                if begins or high > most or most != most:
                    self._most = (places[done + part.index(high)], high)
                self._last = (places[end - 1], part[-1])
                self._room -= len(part)
                if self._room == 0:
                    self._close()
            done = end

    def points(self) -> tuple[list[int], list[float]]:
        """What is kept, places and values in the order of the line; gaps are NaN, the first one at its place."""
        if self._first is None:
            return [], []
        found = dict(zip(self._low_at, self._low, strict=True))
        found.update((at, value) for at, value in zip(self._high_at, self._high, strict=True) if value == value)
        for at, value in (self._first, self._least, self._most, self._last):
            if value == value or at not in found:
                found[at] = value
        if self._lost is not None:
            found[self._lost] = math.nan
        places = sorted(found)
        return places, [found[at] for at in places]

    def _close(self) -> None:
        """A stretch is full."""
        for (at, value), places, values in (
            (self._least, self._low_at, self._low),
            (self._most, self._high_at, self._high),
        ):
            places.append(at)
            values.append(value)
        if len(self._low) == _MOST_STRETCHES:
            self._low_at, self._low = _joined(self._low_at, self._low, 1.0)
            self._high_at, self._high = _joined(self._high_at, self._high, -1.0)
            self._width *= 2
        self._room = self._width


def _joined(places: array[int], values: array[float], sign: float) -> tuple[array[int], array[float]]:
    """Of each two points the smaller one, of negative signs the larger one; NaN only where both are."""
    heights = sign * np.asarray(values).reshape(-1, 2)
    chosen = np.argmin(np.where(np.isnan(heights), np.inf, heights), axis=1) + np.arange(0, len(values), 2)
    return array("q", np.asarray(places)[chosen].tobytes()), array("d", np.asarray(values)[chosen].tobytes())


def thinned(places: Sequence[float], values: list[float]) -> tuple[Sequence[float], list[float]]:
    """Leave the smallest and the largest value of each stretch of a line that has more points than a panel can show."""
    if len(values) <= MAX_POINTS:
        return places, values
    heights = np.asarray(values)
    finite = np.isfinite(heights)
    kept: set[int] = {0, len(values) - 1}
    if not finite.all():
        first = int(np.argmin(finite))
        kept |= {max(0, first - 1), first}
    for stretch in np.array_split(np.arange(len(values)), MAX_POINTS // 2):
        part, is_finite = heights[stretch], finite[stretch]
        kept.add(int(stretch[np.argmin(np.where(is_finite, part, np.inf))]))
        kept.add(int(stretch[np.argmax(np.where(is_finite, part, -np.inf))]))
    return [places[index] for index in sorted(kept)], [values[index] for index in sorted(kept)]


def last_finite(places: Sequence[float], values: Sequence[float]) -> tuple[float, float] | None:
    """The last finite point before the first that is none; None where all are finite, or the first is none."""
    at = next((index for index, value in enumerate(values) if not math.isfinite(value)), None)
    return (places[at - 1], values[at - 1]) if at else None
