"""A metric takes what its arguments are called, predictions first and targets second otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy
from torchmetrics.regression import KLDivergence
from torchmetrics.retrieval import RetrievalMAP
from torchmetrics.wrappers import MinMaxMetric

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.metric_inputs import Inputs, Keys, arguments, described, positional, update_of

P, T, IDS = torch.rand(4), torch.tensor([0, 1, 1, 0]), torch.tensor([7, 7, 8, 8])
BOXES = [
    {"boxes": torch.rand(n, 4), "scores": torch.rand(n), "labels": torch.zeros(n, dtype=torch.int64)} for n in (2, 3)
]


@pytest.mark.parametrize("key", ["preds", "logits", "probs", "prediction", "y_hat"])
def test_entry_with_a_usual_name_is_the_prediction(key: str) -> None:
    taken = Keys().inputs({"loss": IDS, key: P}, T)
    assert taken.prediction is P
    assert taken.target is T


@pytest.mark.parametrize("key", ["target", "targets", "label", "labels", "y"])
def test_entry_with_a_usual_name_is_the_target(key: str) -> None:
    assert Keys().inputs(P, {"x": IDS, key: T}).target is T
    assert Keys().inputs({"preds": P, key: T}, None).target is T


def test_only_entry_is_the_prediction() -> None:
    assert Keys().inputs({"anything": P}, {"whatever": T}).prediction is P
    assert Keys().inputs((P,), {"whatever": T}).target is T
    assert Keys().inputs({"anything": P, "target": T}, None).prediction is P


def test_named_entries_win() -> None:
    taken = Keys("b", "c").inputs({"preds": IDS, "b": P}, {"target": IDS, "c": T})
    assert taken.prediction is P
    assert taken.target is T
    taken = Keys("1", "0").inputs((T, P), None)
    assert taken.prediction is P
    assert taken.target is T


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            Keys("pred"),
            "--prediction-key pred: a prediction has no such entry; it has preds, other; did you mean 'preds'",
        ),
        (Keys(None, "a"), "--target-key a: a target has no such entry; it is int64 .* and no dict"),
    ],
)
def test_named_entry_that_is_not_there_is_refused(keys: Keys, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        keys.inputs({"preds": P, "other": IDS}, T)


def test_entry_of_lists_of_dicts_is_a_list() -> None:
    taken = Keys("b").inputs([{"a": 1, "b": torch.ones(n)} for n in (1, 2)], T)
    assert [len(one) for one in taken.prediction] == [1, 2]


def test_boxes_of_images_stay_a_list_of_dicts() -> None:
    taken = Keys().inputs(BOXES, BOXES)
    assert taken.prediction is BOXES
    assert taken.target is BOXES


def test_as_many_boxes_on_each_image_are_a_list_of_dicts_too() -> None:
    stacked = {"boxes": torch.rand(3, 2, 4), "scores": torch.rand(3, 2), "labels": torch.zeros(3, 2)}
    taken = Keys().inputs(stacked, stacked)
    assert [one["boxes"].shape for one in taken.prediction] == [(2, 4)] * 3
    assert torch.equal(taken.target[1]["labels"], stacked["labels"][1])


def of_two(predictions: Any, targets: Any) -> None: ...
def of_one(predictions: Any) -> None: ...
def optional(predictions: Any, target: Any = None) -> None: ...
def reversed_(y_true: Any, y_pred: Any) -> None: ...
def weighted(preds: Any, target: Any, weight: Any = None) -> None: ...


@pytest.mark.parametrize(
    ("function", "given", "expected"),
    [
        (of_two, Inputs(P, T), ((P, T), {})),
        (of_one, Inputs(P, T), ((P,), {})),
        (optional, Inputs(P, T), ((P, T), {})),
        (optional, Inputs(P, None), ((P,), {})),
        (reversed_, Inputs(P, T), ((T, P), {})),
        (weighted, Inputs(P, T, {"weight": IDS}), ((P, T), {"weight": IDS})),
        (weighted, Inputs(P, T), ((P, T), {})),
        (BinaryAccuracy().update, Inputs(P, T), ((P, T), {})),
        (MeanMetric().update, Inputs(P, T), ((P,), {})),
        (MeanMetric().update, Inputs(P, T, {"weight": IDS}), ((P,), {"weight": IDS})),
        (RetrievalMAP().update, Inputs(P, T, {"indexes": IDS}), ((P, T), {"indexes": IDS})),
        (KLDivergence().update, Keys().inputs({"p": P, "q": IDS}, None), ((P,), {"q": IDS})),
        (torch.nn.MSELoss(), Inputs(P, T), ((P, T), {})),
        (max, Inputs(P, T), ((P, T), {})),
    ],
)
def test_arguments_are_those_that_are_called_so(function: Any, given: Inputs, expected: Any) -> None:
    positions, names = arguments(positional(function), given)
    assert list(map(id, positions)) == list(map(id, expected[0]))
    assert names == expected[1]


def test_argument_that_nobody_has_is_named() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"it wants 'indexes' too, and the predictions have a, b\. To fix, .*'preds': \.\.\., 'indexes'",
    ):
        arguments(positional(RetrievalMAP().update), Inputs(P, T, {"a": P, "b": P}))
    with pytest.raises(ConfigurationError, match="there are no targets"):
        arguments(positional(of_two), Inputs(P, None))


def test_wrapper_has_the_arguments_of_what_it_wraps() -> None:
    wrapped = RetrievalMAP()
    assert update_of(MinMaxMetric(wrapped)) == wrapped.update
    assert update_of(MinMaxMetric(MinMaxMetric(wrapped)) + 1) == wrapped.update


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.tensor([[1.5, -2.0]]), "float32 [1, 2], from -2 to 1.5"),
        (torch.tensor([True, False]), "bool [2], from 0 to 1"),
        (torch.tensor(3), "int64 3"),
        (torch.empty(0, 3), "float32 [0, 3]"),
        (["a", "b"], "a list of 2, the first str 'a'"),
        ({"a": torch.tensor([1])}, "a dict of a: int64 [1], from 1 to 1"),
        ((torch.tensor([1]), 2), "a tuple of 0: int64 [1], from 1 to 1; 1: int 2"),
        (None, "none"),
    ],
)
def test_value_is_described_by_type_shape_and_range(value: Any, text: str) -> None:
    assert described(value) == text
