"""What a user names as metrics is told apart by what it is, and a function by its arguments."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy, MulticlassF1Score
from torchmetrics.functional.classification import multiclass_accuracy

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.metric_objects import metric_objects

TARGET = "metrics.py:thing"


def names(found: object) -> tuple[list[str], list[str]]:
    objects = metric_objects(found, TARGET)
    return sorted(map(str, objects.collection or ())), sorted(objects.functions)


def function(predictions: Any, targets: Any) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (BinaryAccuracy(), (["BinaryAccuracy"], [])),
        (BinaryAccuracy, (["BinaryAccuracy"], [])),
        (MetricCollection([BinaryAccuracy()], prefix="test_"), (["test_BinaryAccuracy"], [])),
        ([MulticlassAccuracy(3), MulticlassF1Score(3)], (["MulticlassAccuracy", "MulticlassF1Score"], [])),
        ({"a": MulticlassAccuracy(3), "b": MulticlassAccuracy(3, top_k=2)}, (["a", "b"], [])),
        ({"a": MulticlassAccuracy(3), "f": function}, (["a"], ["f"])),
        ([function, BinaryAccuracy()], (["BinaryAccuracy"], ["function"])),
        (lambda: [BinaryAccuracy()], (["BinaryAccuracy"], [])),
        (lambda: function, ([], ["thing"])),
        (function, ([], ["thing"])),
        (functools.partial(multiclass_accuracy, num_classes=3), ([], ["thing"])),
        (torch.nn.MSELoss(), ([], ["thing"])),
        (torch.nn.MSELoss, ([], ["thing"])),
    ],
)
def test_metrics_and_functions_are_told_apart(found: object, expected: tuple[list[str], list[str]]) -> None:
    assert names(found) == expected


def fails() -> object:
    raise RuntimeError("no such file")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            "accuracy",
            "metrics.py:thing is 'accuracy' of type str. To fix, let metrics.py:thing be a torchmetrics Metric, a",
        ),
        ([], "metrics.py:thing is empty"),
        (
            {"a": 1, "b": None, "c": function},
            "'a' is 1 of type int; metrics.py:thing: 'b' is None of type NoneType. To fix",
        ),
        (lambda: 3, r"metrics.py:thing\(\) is 3 of type int"),
        (lambda predictions: 1, r"is a function with 1 arguments that it needs \(predictions\)"),
        (lambda a, b, c: 1, r"is a function with 3 arguments that it needs \(a, b, c\), where functools.partial could"),
        ([MulticlassAccuracy], "is a class that wants .*: write NAME = MulticlassAccuracy"),
        (
            fails,
            r"thing\(\) was called for metrics and failed: RuntimeError: no such file .*test_metric_objects.py, line",
        ),
        ([BinaryAccuracy(), BinaryAccuracy()], "both named BinaryAccuracy. To fix, name them in a dict"),
    ],
)
def test_anything_else_is_refused_in_words(found: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        metric_objects(found, TARGET)
