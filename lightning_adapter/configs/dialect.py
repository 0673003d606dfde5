"""Whose configuration is a tree: LightningCLI's, or Hydra's?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

Dialect: TypeAlias = Literal["cli", "hydra"]


def dialect_of(tree: Mapping[str, object]) -> Dialect:
    """Hydra's names a class by `_target_`; LightningCLI's by `class_path`, or not at all where the command knows it.

    What a `class_path` is given may hold a `_target_` of its own: a module may instantiate a part of itself.
    """
    return "hydra" if _has_target(tree) else "cli"


def _has_target(value: object) -> bool:
    if isinstance(value, Mapping):
        return "class_path" not in value and ("_target_" in value or any(map(_has_target, value.values())))
    return isinstance(value, list) and any(map(_has_target, value))
