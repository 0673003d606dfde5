"""What does a hyperparameter's range say, is it well formed, and which values lie in it?

In the file a range is a mapping with a `type`: int, double, log or categorical. `count` beside it is the number of
points in a grid search, which the master alone makes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from lightning_adapter.argument_values import LARGEST
from lightning_adapter.errors import guess, shown
from lightning_adapter.platform.experiment.faults import dotted
from lightning_adapter.platform.experiment.values import is_finite, is_int, is_natural, is_number

# Type -> the keys that it needs.
_FIELDS: dict[str, tuple[str, ...]] = {
    "int": ("minval", "maxval"),
    "double": ("minval", "maxval"),
    "log": ("minval", "maxval", "base"),
    "categorical": ("vals",),
}


class Range(Protocol):
    """A range as it is used: `str()` of it is what a message says."""

    def fault(self, value: object) -> str | None:
        """Say what a value must be that is of no kind for this range; None where its kind is right."""

    def __contains__(self, value: object) -> bool: ...

    def example(self) -> object:
        """Return a value in the middle, to show what to type."""


@dataclasses.dataclass(frozen=True)
class LinearRange:
    """From `minval` to `maxval`, in whole numbers or not."""

    kind: Literal["int", "double"]
    minval: float
    maxval: float

    def fault(self, value: object) -> str | None:
        """See `Range`."""
        if self.kind == "int":
            return None if is_int(value) else "whole number"
        return None if is_number(value) else "number"

    def __contains__(self, value: object) -> bool:
        return is_number(value) and self.minval <= value <= self.maxval

    def example(self) -> float:
        """See `Range`."""
        middle = (self.minval + self.maxval) / 2
        return int(middle) if self.kind == "int" else float(f"{middle:.2g}")

    def __str__(self) -> str:
        return f"{self.kind}, {self.minval} to {self.maxval}"


@dataclasses.dataclass(frozen=True)
class LogRange:
    """From `base ** minval` to `base ** maxval`."""

    base: float
    minval: float
    maxval: float

    def fault(self, value: object) -> str | None:
        """See `Range`."""
        return None if is_number(value) else "number"

    def __contains__(self, value: object) -> bool:
        if not is_number(value):
            return False
        low, high = sorted(
            (_power(self.base, self.minval), _power(self.base, self.maxval))
        )  # a base below 1 turns them round
        # 10 ** -3 and 1e-3 may differ in the last bit
        return low <= value <= high or math.isclose(value, low) or math.isclose(value, high)

    def example(self) -> float:
        """See `Range`."""
        return float(f"{_power(self.base, (self.minval + self.maxval) / 2):.2g}")

    def __str__(self) -> str:
        return f"log, {self.base}^{self.minval} to {self.base}^{self.maxval}"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values of any kind."""

    vals: list[object]

    def fault(self, value: object) -> str | None:
        """See `Range`."""
        return None

    def __contains__(self, value: object) -> bool:
        return value in self.vals

    def example(self) -> object:
        """See `Range`."""
        return self.vals[0]

    def __str__(self) -> str:
        return f"one of {self.vals}"


def is_range(value: object) -> bool:
    """Tell whether a value is written as a range; a `const` is none."""
    return isinstance(value, Mapping) and isinstance(value.get("type"), str) and value["type"] in _FIELDS


def range_of(spec: Mapping[str, Any]) -> Range:
    """Return a range that `check_ranges` has found to be well formed."""
    kind = spec["type"]
    if kind == "categorical":
        return Choice(spec["vals"])
    if kind == "log":
        return LogRange(spec["base"], spec["minval"], spec["maxval"])
    return LinearRange(kind, spec["minval"], spec["maxval"])


def fault_of_value(name: str, value: object, allowed: Range) -> str | None:
    """Say what is wrong with a value that is given in the place of a range; None where it is of its kind."""
    kind = allowed.fault(value)
    return None if kind is None else f"{name} is given {shown(value)}, but must be a {kind} ({allowed})"


def check_ranges(spec: object, path: tuple[object, ...], faults: list[str]) -> None:
    """Note every malformed range below `hyperparameters:`."""
    if not isinstance(spec, dict):
        return
    if not path or "type" not in spec:  # at the top stand names, `type` among them
        for key, value in spec.items():
            check_ranges(value, (*path, key), faults)
        return
    name, kind = dotted(("hyperparameters", *path)), spec["type"]
    if kind == "const":
        _check_keys(name, kind, ("val",), spec, faults)
    elif not is_range(spec):
        faults.append(
            f"{name}.type is {shown(kind)}, but in a hyperparameter `type` must be one of const, {', '.join(_FIELDS)}"
            f"{guess(kind, ('const', *_FIELDS))} (for a value of your own, use another key than `type`)"
        )
    elif not _check_keys(name, kind, _FIELDS[kind], spec, faults):
        return
    elif kind == "categorical":
        if not isinstance(spec["vals"], list) or not spec["vals"]:
            faults.append(f"{name}.vals is {shown(spec['vals'])}, but must be a list with at least one value")
    else:
        _check_numbers(name, kind, spec, faults)


def _check_keys(name: str, kind: str, needed: tuple[str, ...], spec: Mapping[str, Any], faults: list[str]) -> bool:
    """Note absent and unknown keys; return whether all that are needed are there."""
    # null is a constant like others, and elsewhere the same as an absent key
    absent = [key for key in needed if key not in spec or (spec[key] is None and key != "val")]
    if absent:
        faults.append(f"{name} is of type {kind} and lacks {', '.join(absent)}")
    allowed = ("type", *needed) + (() if kind in ("const", "categorical") else ("count",))
    for key in spec:
        if key not in allowed:
            faults.append(f"{name}.{key} is no key of a hyperparameter of type {kind}{guess(key, allowed)}")
    return not absent


def _check_numbers(name: str, kind: str, spec: Mapping[str, Any], faults: list[str]) -> None:
    """Note what is wrong with the limits, the base and the count of a numeric range."""
    is_of_kind: Callable[[object], bool] = (lambda value: is_natural(value, -LARGEST)) if kind == "int" else is_finite
    wrong = [key for key in _FIELDS[kind] if not is_of_kind(spec[key])]
    for key in wrong:
        faults.append(f"{name}.{key} is {shown(spec[key])}, but must be a {'whole ' if kind == 'int' else ''}number")
    if not wrong and spec["minval"] >= spec["maxval"]:
        faults.append(f"{name} has minval {spec['minval']} and maxval {spec['maxval']}; minval must be the smaller one")
    if kind == "log" and "base" not in wrong and spec["base"] <= 0:
        faults.append(f"{name}.base is {shown(spec['base'])}, but must be greater than 0 (most use 10)")
    elif kind == "log" and not wrong:
        faults += [
            f"{name}.{key} is {spec[key]}, and {spec['base']}^{spec[key]} is no number that a computer has; {key} is the "
            "exponent of the limit"
            for key in ("minval", "maxval")
            if not _power(spec["base"], spec[key])
        ]
    if spec.get("count") is not None and not is_natural(spec["count"], 1):
        faults.append(f"{name}.count is {shown(spec['count'])}, but must be a whole number of at least 1")


def _power(base: float, exponent: float) -> float:
    """A limit of a log range in floating point, where no exponent takes long; 0 where it is too large, or too small."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return 0.0
