"""Is the size of a batch that which Lightning infers, for whatever a batch may be?"""

from __future__ import annotations

import dataclasses
import warnings
from collections import OrderedDict, UserDict, namedtuple
from typing import Any

import pytest
import torch

from lightning_adapter.versions import hosts, lightning_loaders

HOST = hosts.host("pytorch_lightning")
Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Sample:
    x: torch.Tensor


def rows(count: int) -> torch.Tensor:
    return torch.zeros(count, 2)


BATCHES: dict[str, Any] = {
    "tensor": rows(3),
    "pair": (rows(3), rows(3)),
    "list": [rows(4), torch.zeros(4)],
    "dict": {"x": rows(5), "y": torch.zeros(5)},
    "ordered": OrderedDict(x=rows(5)),
    "mapping": UserDict(x=rows(6)),
    "named": Pair(rows(2), rows(2)),
    "nested": [rows(3), {"a": (rows(3),)}],
    "scalar": torch.tensor(1.0),
    "scalar among others": (torch.tensor(1.0), torch.tensor(2.0)),
    "scalar first": (torch.tensor(1.0), rows(3)),
    "strings": ["ab", "cd"],
    "with a string": (rows(3), "name"),
    "with None": (rows(3), None),
    "dataclass": Sample(rows(7)),
    "lengths": (rows(3), rows(2)),
    "empty rows": (rows(0), rows(0)),
    "empty": [],
    "number": 3,
    "nothing": None,
    "parameter": [torch.nn.Parameter(rows(3))],
}


def outcome(function: Any, *arguments: Any) -> tuple[Any, list[str]]:
    HOST.load("utilities.data").warning_cache.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found: Any = function(*arguments)
        except Exception as error:
            found = (type(error), str(error))
    return found, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("name", BATCHES)
def test_size_and_warnings_are_those_of_lightning(name: str) -> None:
    batch = BATCHES[name]
    theirs = outcome(HOST.load("utilities.data").extract_batch_size, batch)

    assert outcome(lightning_loaders.extract_batch_size, HOST, batch) == theirs


def test_usual_batches_are_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HOST.load("utilities.data"), "extract_batch_size", lambda batch: pytest.fail("asked"))

    for name in ("tensor", "pair", "list", "dict"):
        assert lightning_loaders.extract_batch_size(HOST, BATCHES[name]) >= 3
