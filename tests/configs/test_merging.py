"""Trees that meet: the values of a cluster and a whole configuration, lists that stand as groups."""

from __future__ import annotations

import pytest

from lightning_adapter.configs.dialect import dialect_of
from lightning_adapter.configs.listed import lists
from lightning_adapter.configs.merging import merged


def test_values_of_the_same_class_are_put_into_the_group():
    below = {"model": {"class_path": "a.A", "init_args": {"lr": 1, "hidden": 2}}, "data": 3}
    above = {"model": {"init_args": {"lr": 9}}, "seed": 1}
    assert merged(below, above) == {
        "model": {"class_path": "a.A", "init_args": {"lr": 9, "hidden": 2}},
        "data": 3,
        "seed": 1,
    }


@pytest.mark.parametrize("name", ["class_path", "_target_"])
def test_group_of_another_class_takes_the_place_of_the_whole_group(name):
    assert merged({"model": {name: "a.A", "lr": 1}}, {"model": {name: "b.B", "width": 2}}) == {
        "model": {name: "b.B", "width": 2}
    }


def test_group_that_names_the_same_class_keeps_what_is_not_said():
    assert merged({"model": {"_target_": "a.A", "lr": 1}}, {"model": {"_target_": "a.A", "width": 2}}) == {
        "model": {"_target_": "a.A", "lr": 1, "width": 2}
    }


def test_group_of_numbers_reaches_into_a_list():
    below = {"callbacks": [{"class_path": "A", "n": 1}, {"class_path": "B"}]}
    assert lists(merged(below, {"callbacks": {"0": {"n": 5}}})) == {
        "callbacks": [{"class_path": "A", "n": 5}, {"class_path": "B"}]
    }


def test_lists_are_made_of_groups_of_consecutive_numbers_alone():
    tree = {
        "a": {"0": 1, "1": {"0": 2}},
        "b": {"1": 1},
        "c": {"0": 1, "x": 2},
        "d": {},
        "e": [{"0": 7}],
        "f": {str(i): i for i in range(11)},
    }
    assert lists(tree) == {
        "a": [1, [2]],
        "b": {"1": 1},
        "c": {"0": 1, "x": 2},
        "d": {},
        "e": [[7]],
        "f": list(range(11)),
    }


def test_dialect_is_told_by_how_classes_are_named():
    assert dialect_of({"data": {"x": [{"_target_": "a.B"}]}}) == "hydra"
    assert dialect_of({"model": {"class_path": "a.B"}}) == "cli"
    assert dialect_of({"model": {"lr": 1}}) == "cli"
