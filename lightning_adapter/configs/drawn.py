"""Which values may a cluster draw for an experiment, as far as it is looked at before it begins?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_adapter.platform.experiment.ranges import Choice, LinearRange, LogRange, Range, is_range, range_of

Name = tuple[str, ...]


def first(spec: Mapping[str, Any], path: Name, ranges: dict[Name, Range]) -> dict[str, Any]:
    """The values, the first that each range may give among them; ranges are noted."""
    found: dict[str, Any] = {}
    for name, value in spec.items():
        place = (*path, name)
        if is_range(value):
            ranges[place] = range_of(value)
            found[name] = next(samples(ranges[place]))
        elif isinstance(value, Mapping) and value.get("type") == "const":
            found[name] = value.get("val")
        else:
            found[name] = first(value, place, ranges) if isinstance(value, Mapping) else value
    return found


def samples(allowed: Range) -> Iterator[object]:
    """Values that a range may give: one in its middle, and its limits; of a choice all."""
    if isinstance(allowed, Choice):
        yield from allowed.vals
    elif isinstance(allowed, LinearRange) and allowed.kind == "int":
        yield from (int(allowed.minval), int(allowed.maxval))
    elif isinstance(allowed, LinearRange):
        yield from ((allowed.minval + allowed.maxval) / 2, float(allowed.minval), float(allowed.maxval))
    elif isinstance(allowed, LogRange):
        middle = (allowed.minval + allowed.maxval) / 2
        yield from (float(allowed.base) ** exponent for exponent in (middle, allowed.minval, allowed.maxval))


def replaced(values: Mapping[str, Any], name: Name, value: object) -> dict[str, Any]:
    """The values with another one in the place of one."""
    head, *rest = name
    return {**values, head: replaced(values[head], tuple(rest), value) if rest else value}
