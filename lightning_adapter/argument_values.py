"""Can a value that was given be used for what it is to say: a number, a switch, a duration, a period, an object?

NumPy's numbers are taken for Python's, as Lightning takes them.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Container, Mapping
from datetime import timedelta
from numbers import Real
from typing import TYPE_CHECKING, Any

from lightning_adapter.errors import ConfigurationError, shown

if TYPE_CHECKING:
    from determined import pytorch

#: The largest number that counters, and what reads them, can hold: the master, and NumPy.
LARGEST = 2**63 - 1

#: The largest number that numpy, and so `seed_everything`, takes as a seed.
LARGEST_SEED = 2**32 - 1


def whole(value: object) -> int | None:
    """Return a whole number; None for anything else, True and False too."""
    if is_bool(value):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # this is the question
    except TypeError:
        return None


def integer(name: str, value: object, least: int, most: int, description: str, faults: list[str]) -> int | None:
    """Return a whole number, None for anything else; note where it is none from `least` to `most`."""
    number = whole(value)
    if number is None or not least <= number <= most:
        faults.append(f"{name}={shown(value)} has to be an integer{description}.")
    return number


def is_bool(value: object) -> bool:
    """Tell whether a value is True or False; NumPy's own count as indices."""
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")


def is_number(value: object) -> bool:
    """Tell whether a value is a real number, and not NaN."""
    try:
        return isinstance(value, Real) and not is_bool(value) and not math.isnan(value)
    except OverflowError:  # a whole number beyond all floating-point ones
        return True


def fault_of_flag(name: str, value: object) -> str | None:
    """Say what is wrong with a switch: any other text than an empty one would count as True."""
    if is_bool(value) or whole(value) in (0, 1):
        return None
    return f"{name}={shown(value)} has to be True or False."


def faults_of_flags(given: Mapping[str, object]) -> list[str]:
    """Say what is wrong with switches; None asks for the default."""
    faults = [fault_of_flag(name, value) for name, value in given.items() if value is not None]
    return [fault for fault in faults if fault is not None]


def faults_of_durations(given: Mapping[str, object]) -> list[str]:
    """Say what is wrong with durations; None asks for none."""
    faults = []
    for name, value in given.items():
        try:
            if value is not None:
                seconds(name, value)
        except ConfigurationError as error:
            faults.append(str(error))
    return faults


def faults_of_objects(name: str, given: object, method: str, what: str) -> list[str]:
    """Say what is wrong with one object or several, which have to have a method.

    Args:
        name: of the argument.
        given: an object, a list of them, or None.
        method: a name that every object of the kind has.
        what: the kind.
    """
    faults = [_fault_of_object(name, value, method, what) for value in listed(given)]
    return [fault for fault in faults if fault is not None]


def listed(given: object) -> list[Any]:
    """Return callbacks or loggers, which may be one, several, or None, as a list."""
    return [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]


def _fault_of_object(name: str, value: object, method: str, what: str) -> str | None:
    if isinstance(value, type):
        return f"{name} holds the class {value.__name__}; give an instance: {value.__name__}(...)."
    if not hasattr(value, method):
        return f"{name} holds {shown(value)}, which is no {what}."
    return None


def seconds(name: str, interval: object) -> float:
    """Return the seconds of a duration: 'DD:HH:MM:SS', a timedelta, or its keyword arguments.

    Raises:
        ConfigurationError: it is none.
    """
    made = interval
    try:
        if isinstance(interval, str):
            match = re.fullmatch(r"(\d{1,9}):(\d{1,9}):(\d{1,9}):(\d{1,9})", interval.strip())
            if match is not None:
                days, hours, minutes, secs = map(int, match.groups())
                made = timedelta(days=days, hours=hours, minutes=minutes, seconds=secs)
        elif isinstance(interval, dict):
            made = timedelta(**interval)
    except (TypeError, OverflowError, ValueError) as error:
        raise ConfigurationError(f"{name}={shown(interval)} is no duration: {error}.") from error
    if not isinstance(made, timedelta):
        raise ConfigurationError(
            f"{name}={shown(interval)} is no duration; write it as 'DD:HH:MM:SS', as a datetime.timedelta, or as a dict of "
            "its arguments, such as {'hours': 2}."
        )
    return made.total_seconds()


def train_unit(name: str, unit: object) -> pytorch.TrainUnit:
    """Return Determined's unit: every n batches or epochs, or those in a container of numbers.

    Raises:
        ConfigurationError: it is none, or counts nothing.
    """
    from determined import pytorch  # comes with torch, before which a configuration may have to be read

    if not isinstance(unit, (pytorch.Batch, pytorch.Epoch)):
        raise ConfigurationError(
            f"{name}={shown(unit)} is no period. Give determined.pytorch.Batch(n), every n batches, or "
            "determined.pytorch.Epoch(n), every n epochs."
        )
    kind, value = type(unit), unit.value
    number = whole(value)
    if number is not None and 1 <= number <= LARGEST:
        return kind(number)
    if number is None and _holds_numbers(value):
        return unit
    raise ConfigurationError(
        f"{name}={kind.__name__}({shown(value)}) has to count at least 1: give a whole number, or a list of the batches "
        "or epochs that end a period."
    )


def _holds_numbers(value: Any) -> bool:
    """Whether a container can be asked for numbers, as Determined asks it."""
    if not isinstance(value, Container) or isinstance(value, (str, bytes)):
        return False
    try:
        bool(1 in value)
    except Exception:  # a container of the user's own may refuse numbers in any way
        return False
    return True
