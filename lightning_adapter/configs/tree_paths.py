"""Where in a tree does a value stand, and where do two trees differ?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

#: Names of groups, and numbers of a list's items, from the top.
Path: TypeAlias = tuple[str | int, ...]


def at(tree: object, path: Path) -> Any:
    """Return what stands at a place; None where nothing does."""
    for step in path:
        if isinstance(tree, Mapping):
            tree = tree.get(str(step))
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree = tree[step]
        else:
            return None
    return tree


def differences(one: object, other: object, path: Path = ()) -> list[Path]:
    """Return the places at which two trees differ: values, groups with other names, lists of another length."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return [path]
        return [place for name in one for place in differences(one[name], other[name], (*path, name))]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            place
            for index, (left, right) in enumerate(zip(one, other, strict=True))
            for place in differences(left, right, (*path, index))
        ]
    return [] if type(one) is type(other) and one == other else [path]


def common(paths: Sequence[Path]) -> Path:
    """Return the innermost place that holds all of several."""
    first = paths[0]
    for length in range(len(first), 0, -1):
        if all(path[:length] == first[:length] for path in paths):
            return first[:length]
    return ()


def is_below(path: Path, other: Path) -> bool:
    """Whether a place is another, or inside of it."""
    return path[: len(other)] == other


def dotted(path: Path) -> str:
    """Return the name of a place, as messages have it."""
    return ".".join(map(str, path))
