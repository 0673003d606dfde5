"""How is a tree written so that Determined draws what it shall draw, and leaves the rest as it is?

As `HyperparameterV0.UnmarshalJSON` of its master reads it: a group with a key `type` is a range, or a constant; any other group
holds hyperparameters; a list is one value. Its numbers are JavaScript's: 1.0 reaches the trial as 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightning_adapter.configs.listed import marked
from lightning_adapter.configs.origins import Dialect
from lightning_adapter.configs.parts import Tree
from lightning_adapter.configs.tree_paths import Path, dotted, is_below
from lightning_adapter.errors import shown

_TYPE = "type"
#: What JavaScript's numbers hold without rounding.
_LARGEST_WHOLE = 2**53
#: Arguments of the Trainer for which 1.0 is all batches, and 1 is one.
_FRACTIONS = (
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches"),
    *("overfit_batches", "val_check_interval"),
)
#: In a list of a grid search, `check-grid-hyperparameter.json` wants a `count` in a group of these types.
_COUNTED = ("int", "double", "log")


class Form:
    """One walk over a tree.

    Args:
        dialect: whose configuration it is.
        ranges: place -> the range that stands there.
        is_grid: whether the searcher is a grid.

    Attributes:
        faults: what cannot stand in hyperparameters.
    """

    def __init__(self, dialect: Dialect, ranges: Mapping[Path, dict[str, Any]], is_grid: bool) -> None:
        self._dialect = dialect
        self._ranges = ranges
        self._is_grid = is_grid
        self.faults: list[str] = []

    def of(self, tree: Tree) -> dict[str, Any]:
        """Return hyperparameters."""
        return {name: self._written(value, (name,)) for name, value in tree.items()}

    def _written(self, value: Any, path: Path) -> Any:
        if path in self._ranges:
            drawn = self._ranges[path]
            return {**drawn, "vals": [self._kept(one, path) for one in drawn["vals"]]} if "vals" in drawn else drawn
        holds_range = any(is_below(each, path) for each in self._ranges)
        if isinstance(value, list) and holds_range:
            # `listed.lists` makes a list of it again
            return {str(index): self._written(item, (*path, index)) for index, item in enumerate(value)}
        if isinstance(value, dict):
            if _TYPE in value:
                return {"type": "const", "val": self._kept(value, path)}
            return {name: self._written(item, (*path, name)) for name, item in self._said(value).items()}
        kept = self._kept(value, path)
        return {"type": "const", "val": kept} if self._is_grid and _is_refused(value) else kept

    def _kept(self, value: Any, path: Path) -> Any:
        """A value that Determined does not look into."""
        if isinstance(value, dict):
            return {name: self._kept(item, (*path, name)) for name, item in self._said(value).items()}
        if isinstance(value, list):
            return [self._kept(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        return value if _survives(value, path) else self._as_text(value, path)

    def _as_text(self, number: float, path: Path) -> str:
        """A number as text that its library reads as that number."""
        if self._dialect == "hydra":
            return f'${{oc.decode:"{number}"}}'
        if self._dialect == "values":
            self.faults.append(
                f"{dotted(path)} is {shown(number)}, which a cluster cannot hand to a trial as it is; give another value"
            )
        return f".{number}".replace(".-", "-.") if not math.isfinite(number) else str(number)

    def _said(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """A group, as a trial has to find it; `listed.lists` reads all but plain values."""
        return dict(group) if self._dialect == "values" else marked(group)


def _survives(number: float, path: Path) -> bool:
    """Whether a number reaches a trial as it is."""
    if isinstance(number, int):
        return abs(number) <= _LARGEST_WHOLE
    return math.isfinite(number) and not (path[-1] in _FRACTIONS and number.is_integer())


def _is_refused(value: object) -> bool:
    """Whether a list holds a group that the check of a grid search takes for a range without a `count`."""
    if isinstance(value, list):
        return any(map(_is_refused, value))
    if not isinstance(value, dict):
        return False
    if _TYPE in value:
        return not isinstance(value[_TYPE], str) or (value[_TYPE] in _COUNTED and value.get("count") is None)
    return any(map(_is_refused, value.values()))
