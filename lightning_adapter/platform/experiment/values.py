"""Which values can a configuration hold, and can JSON carry them to the checkpoints?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from lightning_adapter.platform.experiment.faults import dotted


def is_int(value: object) -> TypeGuard[int]:
    """Tell whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a number; True and False are none."""
    return is_int(value) or isinstance(value, float)


def plain_mapping(value: Mapping[Any, Any]) -> dict[Any, Any]:
    """Copy a mapping, all the way down; see `plain`."""
    return {key: plain(item) for key, item in value.items()}


def plain(value: object) -> object:
    """Copy mappings into dicts and sequences into lists, all the way down; what JSON would make of them."""
    if isinstance(value, Mapping):
        return plain_mapping(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def check_json(value: object, path: tuple[object, ...], faults: list[str]) -> None:
    """Note every value that JSON cannot carry, with its place."""
    place = dotted(path)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                where = f" of {place}" if place else ""
                faults.append(f"the key {key!r}{where} is of type {type(key).__name__}; keys must be text, so quote it")
            check_json(item, (*path, key), faults)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_json(item, (*path, index), faults)
    elif isinstance(value, float) and not math.isfinite(value):
        faults.append(f"{place} is {value}, which JSON cannot carry; write it as text, or leave it out")
    elif not (value is None or isinstance(value, (bool, int, float, str))):
        faults.append(
            f"{place} is {value!r:.80} of type {type(value).__name__}, which JSON cannot carry; give a number, text, "
            "true/false, a list or a group of them"
        )
