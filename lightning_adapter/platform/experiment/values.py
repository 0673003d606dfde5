"""Which values can a configuration hold, and can JSON carry them to the checkpoints?"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import math
import os
import sys
from collections.abc import Mapping
from typing import Any, TypeGuard

from lightning_adapter.argument_values import LARGEST
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform.experiment.faults import dotted

#: More levels than any configuration has, and fewer than Python's own recursion takes.
MAX_DEPTH = 50
#: Values in one configuration, those that an alias repeats counted each time.
MAX_VALUES = 100_000


def is_int(value: object) -> TypeGuard[int]:
    """Tell whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a number; True and False are none."""
    return is_int(value) or isinstance(value, float)


def is_finite(value: object) -> bool:
    """Tell whether a value is a number that floating point has."""
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all of them
        return False


def is_natural(value: object, least: int = 0, most: int = LARGEST) -> TypeGuard[int]:
    """Tell whether a value is a whole number within limits."""
    return is_int(value) and least <= value <= most


def plain_mapping(value: object) -> dict[Any, Any]:
    """Copy a group of names and values, all the way down; see `plain`.

    Args:
        value: a mapping, a Namespace, an instance of a dataclass, or OmegaConf's DictConfig.
    """
    result = plain(value)
    assert isinstance(result, dict)
    return result


def is_group(value: object) -> bool:
    """Tell whether a value holds names and values: a mapping, a Namespace, or an instance of a dataclass."""
    return isinstance(value, (Mapping, argparse.Namespace)) or _is_dataclass(value)


def plain(value: object) -> object:
    """Copy a value into what a YAML could hold: groups become dicts, sequences lists, all the way down.

    An Enum becomes its name, as OmegaConf writes it, or the text or number that it also is; a path becomes text.

    Raises:
        ConfigurationError: the value holds itself, or more than a configuration can, or OmegaConf cannot resolve it.
    """
    return _Copy().of(value, 0)


class _Copy:
    """One walk over a value, which ends also where the value holds itself, or repeats one part without end."""

    def __init__(self) -> None:
        self._values = 0

    def of(self, value: object, depth: int) -> object:
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            raise ConfigurationError(
                f"the configuration is nested more than {MAX_DEPTH} levels deep, holds more than {MAX_VALUES:,} values, or "
                "contains itself; give the values that the trial reads, and keep data in files of its own"
            )
        value = _resolved(value)
        if isinstance(value, argparse.Namespace):
            value = vars(value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):  # `_is_dataclass`, for the type checker
            value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return {_scalar(key): self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(item, depth + 1) for item in value]
        return _scalar(value)


def _is_dataclass(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _resolved(value: object) -> object:
    """The content of one of OmegaConf's containers; any other value as it is.

    Raises:
        ConfigurationError: a value is missing, or refers to one that is.
    """
    omegaconf: Any = sys.modules.get("omegaconf")  # who has not imported it has no value of it
    if omegaconf is None or not isinstance(value, omegaconf.Container):
        return value
    try:
        resolved: object = omegaconf.OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    except omegaconf.errors.OmegaConfBaseException as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"the {type(value).__name__} cannot be resolved: {reason}") from error
    return resolved


def _scalar(value: object) -> object:
    """A single value without its class: NumPy's float64 is a float, a member of a StrEnum is text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, enum.Enum):
        value = value.value if isinstance(value, (int, float, str)) else value.name
    if isinstance(value, bool):
        return value
    # not `str(value)`, which a class may override
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else value


def check_json(value: object, path: tuple[object, ...], faults: list[str]) -> None:
    """Note every value that JSON cannot carry, with its place."""
    place = dotted(path)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                where = f" of {place}" if place else ""
                faults.append(
                    f"the key {shown(key)}{where} is of type {type(key).__name__}; keys must be text, so quote it"
                )
            elif not _is_unicode(key):
                faults.append(f"the key {shown(key)} is no valid Unicode; write another name")
            check_json(item, (*path, key), faults)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_json(item, (*path, index), faults)
    elif is_number(value) and not is_finite(value):
        faults.append(f"{place} is {shown(value)}, which JSON cannot carry; write it as text, or leave it out")
    elif isinstance(value, str) and not _is_unicode(value):
        faults.append(f"{place} is {shown(value)}, which is no valid Unicode; write other text")
    elif not (value is None or isinstance(value, (bool, int, float, str))):
        faults.append(
            f"{place} is {shown(value)} of type {type(value).__name__}, which JSON cannot carry; give a number, text, "
            "true/false, a list or a group of them"
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
