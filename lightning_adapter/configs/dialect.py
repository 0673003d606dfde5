"""Whose configuration is a tree: LightningCLI's, or Hydra's?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

Dialect: TypeAlias = Literal["cli", "hydra"]


def dialect_of(tree: Mapping[str, object]) -> Dialect:
    """Hydra's names a class by `_target_`; LightningCLI's by `class_path`, or not at all where the command knows it."""
    return "hydra" if _has_target(tree) else "cli"


def _has_target(value: object) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_has_target, value.values()))
    return isinstance(value, list) and any(map(_has_target, value))
