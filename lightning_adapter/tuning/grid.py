"""Which points does a grid have, and in which order does the master train them?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from lightning_adapter.platform.experiment.ranges import is_range
from lightning_adapter.tuning.go_numbers import power, told, told_number


class Axis(NamedTuple):
    """The values of one hyperparameter.

    Attributes:
        route: its names, from the outermost group to its own.
        points: how many values there are.
        value: the one of a number, from 0, as trials are given it.
    """

    route: tuple[str, ...]
    points: int
    value: Callable[[int], Any]


def axes(hyperparameters: Mapping[str, Any]) -> list[Axis]:
    """Return the axes of a grid, constants among them, in the order of `newHyperparameterGrid`: by name, group by group.

    Args:
        hyperparameters: of the experiment; every numeric range has a count.
    """
    return [axis for name in sorted(hyperparameters) for axis in _axes((name,), hyperparameters[name])]


def points(hyperparameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the points in the order in which the master trains them: it takes them from the end of its list."""
    all_axes = axes(hyperparameters)
    for number in reversed(range(math.prod(axis.points for axis in all_axes))):
        values: list[Any] = []
        for axis in reversed(all_axes):  # the last one changes fastest
            number, index = divmod(number, axis.points)
            values.insert(0, axis.value(index))
        point: dict[str, Any] = {}
        for axis, value in zip(all_axes, values, strict=True):
            group = point
            for name in axis.route[:-1]:
                group = group.setdefault(name, {})
            group[axis.route[-1]] = value
        yield point


def _axes(route: tuple[str, ...], spec: Any) -> Iterator[Axis]:
    """`getGridAxes`."""
    if not isinstance(spec, Mapping) or spec == {}:
        yield Axis(route, 1, lambda _: told(spec))
    elif "type" not in spec:
        for name in sorted(spec):
            yield from _axes((*route, name), spec[name])
    elif not is_range(spec):
        yield Axis(route, 1, lambda _: told(spec["val"]))
    elif spec["type"] == "categorical":
        yield Axis(route, len(spec["vals"]), lambda index: told(spec["vals"][index]))
    else:
        yield _numeric(route, spec)


def _numeric(route: tuple[str, ...], spec: Mapping[str, Any]) -> Axis:
    low, high, count = spec["minval"], spec["maxval"], spec["count"]
    if spec["type"] == "int":
        count = min(count, high - low + 1)  # no more than there are numbers
        return Axis(route, count, lambda index: _whole(low, high, count, index))
    low, high = float(low), float(high)
    if spec["type"] == "log":
        return Axis(route, count, lambda index: told_number(power(spec["base"], _between(low, high, count, index))))
    return Axis(route, count, lambda index: told_number(_between(low, high, count, index)))


def _between(low: float, high: float, count: int, index: int) -> float:
    return (low + high) / 2 if count == 1 else low + index * (high - low) / (count - 1)


def _whole(low: int, high: int, count: int, index: int) -> int:
    exact = (low + high) / 2 if count == 1 else float(low) + float(index * (high - low)) / float(count - 1)
    cut = math.trunc(exact)
    # halves go away from zero, as of Go's `math.Round`
    return cut + (1 if exact > 0 else -1) if abs(exact - cut) >= 0.5 else cut
