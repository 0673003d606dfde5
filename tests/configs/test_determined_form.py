from __future__ import annotations

import io
import json
from typing import Any

import pytest
import yaml as yaml_1_1
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

import fake_searcher
from lightning_adapter.configs.determined_form import Form
from lightning_adapter.configs.listed import lists
from lightning_adapter.configs.yaml_text import Writer
from lightning_adapter.platform import experiment

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    st.sampled_from(
        ["on", "NO", "~", "null", "1_000", "1e-3", "0b1", "0o7", "2001-01-01", "12:30:00", "=", "<<", "a: b", "- x"]
    ),
    st.sampled_from(
        ["${a.b}", "${oc.env:X}", "a #b", "#", "", " a", "epoch_{epoch:03d}", "'", '"', "%d", "@x", "!y", "a\nb"]
    ),
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
KEYS = st.one_of(st.sampled_from(["type", "a", "b.c", "val", "vals", "on", "x y", "0", "1"]), TEXTS)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        VALUES,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
        max_leaves=8,
    ),
    min_size=1,
    max_size=4,
)


def written(tree: dict[str, Any], ranges: dict | None = None, searcher: str = "single") -> str:
    form = Form("cli", ranges or {}, searcher == "grid")
    hyperparameters = form.of(tree)
    assert not form.faults
    return Writer({}, {}).text({"hyperparameters": hyperparameters, "searcher": {"name": searcher}}, "head")


def as_json(value: Any) -> str:
    """As Go writes it, which knows no 1.0."""
    return json.dumps(fake_searcher.through_json(value), sort_keys=True)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(TREES)
@example({"a": {"type": "double"}})
@example({"a": {"type": 5, "b": {}}, "b.c": [], "x y": {}})
@example({"a": [{"type": "int"}, [{"type": None}]]})
@example({"a": {"0": "cat", "1": {"0": 1}}, "b": [{"0": None}], "0": 1})
def test_any_tree_reaches_the_trial_as_it_is(tree: dict[str, Any]) -> None:
    for searcher in ("single", "grid"):
        text = written(tree, searcher=searcher)
        trials = fake_searcher.samples(text) if searcher == "single" else fake_searcher.grid(text)
        assert [as_json(lists(trial)) for trial in trials] == [as_json(tree)]
    content = YAML(typ="safe", pure=True).load(text)
    config = experiment.read({"hyperparameters": content["hyperparameters"]})
    assert lists(experiment.hyperparameters(config)) == tree


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(TEXTS)
@example("A?")
def test_text_is_the_same_text_in_both_versions_of_yaml(text: str) -> None:
    made = Writer({}, {}).text({"a": text, "b": [text]}, "head")
    expected = {"a": text, "b": [text]}
    assert YAML(typ="safe", pure=True).load(made) == expected
    assert yaml_1_1.safe_load(io.StringIO(made)) == expected


def test_plain_texts_stay_plain() -> None:
    made = Writer({}, {}).text(
        {"a": "parts.Net", "b": "${model.optimizer.lr}", "c": "val/acc", "d": "${oc.env:ROOT}"}, "x"
    )
    assert "'" not in made
    assert '"' not in made


@pytest.mark.parametrize("name", ["limit_train_batches", "val_check_interval", "overfit_batches"])
def test_fraction_of_all_batches_does_not_become_one_batch(name: str) -> None:
    tree = {"trainer": {name: 1.0, "max_epochs": 1}}
    for dialect, text in (("cli", "1.0"), ("hydra", '${oc.decode:"1.0"}')):
        assert Form(dialect, {}, False).of(tree) == {"trainer": {name: text, "max_epochs": 1}}
    drawn = {("trainer", name): {"type": "categorical", "vals": [0.5, 1.0, 2]}}
    assert Form("cli", drawn, False).of(tree)["trainer"][name]["vals"] == [0.5, "1.0", 2]


def test_numbers_that_json_rounds_are_written_as_text() -> None:
    from omegaconf import OmegaConf

    tree = {"a": 2**53 + 1, "b": float("inf"), "c": -float("inf")}
    assert Form("cli", {}, False).of(tree) == {"a": "9007199254740993", "b": ".inf", "c": "-.inf"}
    assert OmegaConf.to_container(OmegaConf.create(Form("hydra", {}, False).of(tree)), resolve=True) == tree
    form = Form("values", {}, False)
    form.of(tree)
    assert len(form.faults) == 3


def test_list_with_a_range_inside_becomes_a_group_and_the_rest_of_it_stays() -> None:
    tree = {"a": [{"type": "x"}, {"b": 1}, [2], {}]}
    text = written(tree, {("a", 1, "b"): {"type": "categorical", "vals": [1, 2]}}, "grid")
    assert [lists(trial) for trial in fake_searcher.grid(text)] == [
        {"a": [{"type": "x"}, {"b": value}, [2], {}]} for value in (1, 2)
    ]


def test_group_with_the_names_of_a_list_says_that_it_is_a_group() -> None:
    tree = {"a": {"b": {"0": 1, "1": 2}}, "c": [{"0": 1}], "d": {"type": "x", "e": {"0": 1}}}
    assert [lists(trial) for trial in fake_searcher.samples(written(tree))] == [tree]
    assert Form("values", {}, False).of({"b": {"0": 1}}) == {"b": {"0": 1}}
