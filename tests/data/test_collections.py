"""Do collections of loaders keep their form, and stay the same objects where nothing changes?"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import pytest

from lightning_adapter.data.collections import flatten, map_loaders, unflatten
from lightning_adapter.versions import hosts, lightning_private


class Pair(NamedTuple):
    first: Any
    second: Any


A, B, C = (object() for _ in range(3))
COLLECTIONS = [
    A,
    [A, B],
    (A, B),
    {"b": A, "a": B},
    OrderedDict(b=[A, B], a=(C,)),
    Pair(A, {"x": B}),
    [[A], {"k": (B,)}],
    {"a": [0, 1], "b": A},
]


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda collection: type(collection).__name__)
def test_collection_made_of_its_own_leaves_is_equal_and_of_the_same_types(collection: Any) -> None:
    made = unflatten(collection, iter(flatten(collection)))
    assert made == collection
    assert type(made) is type(collection)


def test_dictionary_is_flattened_in_the_order_of_its_keys_insertion() -> None:
    assert flatten({"b": [A, B], "a": C}) == [A, B, C]


@pytest.mark.parametrize("loader", [[0, 1], (0.5,), ["x"], [], {}, {"a": 1, "b": 2}])
def test_collection_of_plain_values_is_one_loader(loader: Any) -> None:
    assert flatten(loader) == [loader]
    assert flatten({"a": loader, "b": [A]}) == [loader, A]
    assert unflatten({"a": loader, "b": [A]}, iter([B, C])) == {"a": B, "b": [C]}


def test_map_changes_each_loader_in_its_place() -> None:
    changed = map_loaders(Pair(A, {"x": [B, C]}), lambda loader: (loader, "changed"))
    assert changed == Pair((A, "changed"), {"x": [(B, "changed"), (C, "changed")]})


def test_map_that_changes_nothing_returns_the_same_object() -> None:
    loaders = {"a": [object()]}
    assert map_loaders(loaders, lambda loader: loader) is loaders


def test_map_changes_the_loaders_in_a_combined_loader() -> None:
    first, second, other = range(1), range(2), range(3)
    loaders = {"b": first, "a": [second]}
    combined = lightning_private.combined_loader(hosts.host("pytorch_lightning"), loaders, "min_size")
    assert map_loaders(combined, lambda loader: other if loader is second else loader) is combined
    assert lightning_private.uncombined(combined, "")[1] == {"b": first, "a": [other]}
