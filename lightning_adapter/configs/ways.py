"""What stands at the end of a way through a configuration's groups and lists?"""

from __future__ import annotations

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


def put(tree: Any, keys: Sequence[str], value: Any) -> None:
    """Put a value in the place of what stands there."""
    node = at(tree, keys[:-1])
    node[int(keys[-1]) if isinstance(node, list) else keys[-1]] = value


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


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same plain data; True is not 1, and 1 is not 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other or one != one)  # a NaN is none to itself
