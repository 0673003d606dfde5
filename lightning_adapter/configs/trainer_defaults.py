"""Which arguments of the Trainer does a configuration give that do not stand at the Trainer's own defaults?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def without_defaults(arguments: Mapping[str, Any], trainer: Callable[..., Any]) -> dict[str, Any]:
    """Return what a Trainer would have been called with, without what it takes anyway."""
    defaults = {name: each.default for name, each in inspect.signature(trainer).parameters.items()}
    return {
        name: value for name, value in arguments.items() if name not in defaults or not _is_same(value, defaults[name])
    }


def _is_same(value: object, default: object) -> bool:
    # True is not 1, and 1 not 1.0, where all batches are told from one
    return value is default or (type(value) is type(default) and value == default)
