"""Which of the listed runs are wanted, and in which order?"""

from __future__ import annotations

import fnmatch
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from lightning_adapter.errors import ConfigurationError, guess
from lightning_adapter.runs.listing import Run, same
from lightning_adapter.runs.words import seconds

_CONDITION = re.compile(r"\s*(?P<key>[^<>=!~]+?)\s*(?P<operator><=|>=|!=|==|=|<|>|~)\s*(?P<value>.*?)\s*", re.DOTALL)
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_AGE = "age"
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "none": None}


class Condition(NamedTuple):
    """`lr>0.01`: a run's value under a name is compared with another.

    Attributes:
        key: as `Run.value` takes it.
        operator: one of < <= > >= = == != ~, of which the last one looks for a text anywhere in the value.
        value: a number, True, False, None or a text.
        text: as it was typed.
    """

    key: str
    operator: str
    value: Any
    text: str

    def holds(self, run: Run) -> bool:
        """Whether a run is one of those; a run that has no such value differs from every value, and is in no order."""
        found = run.value(self.key)
        if self.operator == "~":
            return found is not None and self.text.partition("~")[2].strip().lower() in str(found).lower()
        if self.operator in ("=", "==", "!="):
            return _equal(found, self.value) != (self.operator == "!=")
        if _is_number(found) != _is_number(self.value) or found is None:
            return False
        return _ORDERS[self.operator](*((found, self.value) if _is_number(found) else (str(found), str(self.value))))


def condition(text: str) -> Condition:
    """Read `lr>0.01`.

    Raises:
        ValueError: it is none.
    """
    found = _CONDITION.fullmatch(text)
    if found is None or not found["value"]:
        raise ValueError(
            f"{text!r} is no condition: write a name, one of < <= > >= = != ~ and a value, as in 'lr>0.01'"
        )
    value = seconds(found["value"]) if found["key"] == _AGE else _value(found["value"])
    return Condition(found["key"], found["operator"], value, text)


def select(
    runs: Sequence[Run],
    *,
    names: Sequence[str] = (),
    statuses: Sequence[str] = (),
    conditions: Sequence[Condition] = (),
    last: int | None = None,
) -> list[Run]:
    """Leave the runs that are wanted, in the order that they have.

    Args:
        runs: the newest last.
        names: of trials, with `*` and `?` for any characters; empty for all.
        statuses: empty for all.
        conditions: all of them hold.
        last: how many of the newest of those that are left.

    Raises:
        ConfigurationError: a condition asks for what none of the runs has.
    """
    check_keys(runs, [one.key for one in conditions])
    found = [
        run
        for run in runs
        if (not names or any(fnmatch.fnmatchcase(run.name, pattern) for pattern in names))
        and (not statuses or run.status in statuses)
        and all(one.holds(run) for one in conditions)
    ]
    return found if last is None else found[max(0, len(found) - last) :]


def check_keys(runs: Sequence[Run], keys: Iterable[str]) -> None:
    """Refuse names that no run has a value under.

    Raises:
        ConfigurationError: says which, and what may be meant.
    """
    unknown = [key for key in keys if runs and all(key not in run.facts and run.value(key) is None for run in runs)]
    if unknown:
        known = dict.fromkeys(name for run in runs for name in run.names)
        faults = [f"None of the runs has a value {key!r}{guess(key, known) or '.'}" for key in unknown]
        raise ConfigurationError(f"{' '.join(faults)} Known are {', '.join(known)}.")


def ordered(runs: Sequence[Run], key: str, reverse: bool = False) -> list[Run]:
    """Sort by a value: the smallest first, of what ranks checkpoints the best one; runs without it come last, either way.

    Args:
        runs: of equal ones the order stays.
        key: as `Run.value` takes it.
        reverse: the greatest first, or the worst.

    Raises:
        ConfigurationError: none of the runs has such a value.
    """
    check_keys(runs, [key])
    there = [run for run in runs if _has_order(run.value(key))]
    absent = [run for run in runs if not _has_order(run.value(key))]
    return [*sorted(there, key=lambda run: _place(run, key), reverse=reverse), *absent]


def _place(run: Run, key: str) -> tuple[int, float, str]:
    found = run.value(key)
    if _is_number(found):
        ranks = key == "best" or key.removeprefix("metrics.") == run.metric
        return 0, -found if ranks and not run.smaller_is_better else found, ""
    return 1, 0.0, str(found)


def _has_order(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(found: object, value: object) -> bool:
    if _is_number(found) or found is None or isinstance(found, bool):
        return same([found, value])
    return str(found) == str(value)


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return float(text)
    except ValueError:
        return text.strip("'\"") if text[:1] == text[-1:] and text[:1] in ("'", '"') else text
