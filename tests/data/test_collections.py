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


COLLECTIONS = [
    1,
    [1, 2],
    (1, 2),
    {"b": 1, "a": 2},
    OrderedDict(b=[1, 2], a=(3,)),
    Pair(1, {"x": 2}),
    [[1], {"k": (2,)}],
]


@pytest.mark.parametrize("collection", COLLECTIONS, ids=str)
def test_collection_made_of_its_own_leaves_is_equal_and_of_the_same_types(collection: Any) -> None:
    made = unflatten(collection, iter(flatten(collection)))
    assert made == collection
    assert type(made) is type(collection)


def test_dictionary_is_flattened_in_the_order_of_its_keys_insertion() -> None:
    assert flatten({"b": [1, 2], "a": 3}) == [1, 2, 3]


def test_map_changes_each_loader_in_its_place() -> None:
    assert map_loaders(Pair(1, {"x": [2, 3]}), lambda loader: loader * 10) == Pair(10, {"x": [20, 30]})


def test_map_that_changes_nothing_returns_the_same_object() -> None:
    loaders = {"a": [object()]}
    assert map_loaders(loaders, lambda loader: loader) is loaders


def test_map_changes_the_loaders_in_a_combined_loader() -> None:
    first, second, other = range(1), range(2), range(3)
    loaders = {"b": first, "a": [second]}
    combined = lightning_private.combined_loader(hosts.host("pytorch_lightning"), loaders, "min_size")
    assert map_loaders(combined, lambda loader: other if loader is second else loader) is combined
    assert lightning_private.uncombined(combined, "")[1] == {"b": first, "a": [other]}
