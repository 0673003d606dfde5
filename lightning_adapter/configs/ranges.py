"""How does Determined draw what a sweep tries?

As `sampleOne` and `getGridAxes` of its searcher do: `int` from minval to maxval, both among them; `double` from minval up to
maxval; `log` as base to the power of such a number; `categorical` one of the values. A grid takes `count` points from end to end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lightning_adapter.configs.sweeps import Interval

#: Of all that can be drawn by magnitude, the exponents are easiest to read for ten.
_BASE = 10


def of_interval(interval: Interval) -> dict[str, Any]:
    """Return the range that draws from an interval."""
    if interval.kind == "int":
        return {"type": "int", "minval": int(interval.low), "maxval": int(interval.high)}
    if interval.is_log:
        low, high = (_exponent(end) for end in (interval.low, interval.high))
        return {"type": "log", "base": _BASE, "minval": low, "maxval": high}
    return {"type": "double", "minval": interval.low, "maxval": interval.high}


def of_values(values: Sequence[Any]) -> dict[str, Any]:
    """Return the range that tries values one after the other: as `int` where they are whole numbers in a row."""
    first = values[0]
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    if whole and len(values) > 2 and list(values) == list(range(first, first + len(values))):
        return {"type": "int", "minval": first, "maxval": values[-1], "count": len(values)}
    return {"type": "categorical", "vals": list(values)}


def note_of(interval: Interval) -> str | None:
    """Return what the range of an interval does not say by itself."""
    if interval.is_log and interval.kind == "int":
        return "drawn evenly: Determined has no whole numbers that are drawn by magnitude"
    return f"from {interval.low} to {interval.high}, evenly by magnitude" if interval.is_log else None


def _exponent(number: float) -> float:
    """The power of ten that a number is; a whole number where that is meant, -3 of 0.001."""
    exponent = math.log10(number)
    whole = round(exponent)
    return whole if math.isclose(float(f"1e{whole}"), number, rel_tol=1e-12) else exponent
