"""What stands at the end of a way through a configuration's groups and lists?"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: In the place of a value where a way leads nowhere.
ABSENT = object()


def at(tree: Any, keys: Sequence[str]) -> Any:
    """Return what stands there; ABSENT where the way leads nowhere. Items of lists are named by their numbers."""
    node = tree
    for key in keys:
        if isinstance(node, Mapping) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        else:
            return ABSENT
    return node


def with_values(tree: dict[str, Any], values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return a tree with others in the place of what stands at the ends of these ways."""
    changed = copy.deepcopy(tree)
    for keys, value in values.items():
        node = at(changed, keys[:-1])
        node[int(keys[-1]) if isinstance(node, list) else keys[-1]] = value
    return changed


def leaves(tree: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value that is no group and no list, with the way to it."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*keys, str(key)))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from leaves(value, (*keys, str(index)))
    else:
        yield keys, tree


def is_same_data(one: Any, other: Any) -> bool:
    """Whether two values are the same plain data; True is not 1, and 1 is not 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same_data(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same_data, one, other))
    return bool(one == other or (one != one and other != other))  # a NaN is none to itself


def as_json(value: Any) -> Any:
    """Return plain data as JSON can hold it: names are text, and so are dates, infinities and the like."""
    if isinstance(value, dict):
        return {str(name): as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return f".{value}".replace(".-", "-.")  # as YAML has it
    return value if _is_json(value) else str(value)


def not_json(tree: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the names and values that JSON does not hold as they are, with the ways to them."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if not isinstance(name, str):
                yield (*keys, str(name)), name
            yield from not_json(value, (*keys, str(name)))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from not_json(value, (*keys, str(index)))
    elif not _is_json(tree):
        yield keys, tree


def _is_json(value: object) -> bool:
    return value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))
