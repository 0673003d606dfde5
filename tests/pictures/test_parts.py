"""Are the values of any batch found, with how each is had, and its target?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from lightning_adapter.pictures.parts import array_of, groups, size_of


class Named(NamedTuple):
    image: Any
    label: Any


@dataclass
class Data:
    signal: Any
    y: Any


X, Y = torch.rand(4, 3, 8, 8), torch.arange(4)


@pytest.mark.parametrize(
    ("batch", "names", "target"),
    [
        ((X, Y), ["batch[0]", "batch[1]"], "batch[1]"),
        ([X, Y], ["batch[0]", "batch[1]"], "batch[1]"),
        ({"image": X, "mask": Y}, ['batch["image"]', 'batch["mask"]'], 'batch["mask"]'),
        ({"label": Y, "mask": X}, ['batch["label"]', 'batch["mask"]'], 'batch["label"]'),
        (Named(X, Y), ["batch.image", "batch.label"], "batch.label"),
        (Data(X, Y), ["batch.signal", "batch.y"], "batch.y"),
        (X, ["batch"], None),
        ([X], ["batch[0]"], None),
        ({"a": X, "b": X}, ['batch["a"]', 'batch["b"]'], None),
        (([X, X], Y), ["batch[0][0]", "batch[0][1]", "batch[1]"], "batch[1]"),
        (["a", "b"], ["batch"], None),
        ([torch.rand(3, 5, 6), torch.rand(3, 7, 8)], ["batch"], None),
    ],
)
def test_values_of_one_level_are_one_group(batch: Any, names: list[str], target: str | None) -> None:
    (group,) = groups(batch)
    assert [part.name for part in group.parts] == names
    assert (group.target and group.target.name) == target


def test_nested_batches_are_groups_of_their_own() -> None:
    found = list(groups({"first": (X, Y), "second": [torch.rand(2, 30)], "alone": Y}))
    assert [[part.name for part in group.parts] for group in found] == [
        ['batch["alone"]'],
        ['batch["first"][0]', 'batch["first"][1]'],
        ['batch["second"][0]'],
    ]
    assert [group.target and group.target.name for group in found] == [None, 'batch["first"][1]', None]


def test_size_is_what_most_values_have() -> None:
    (group,) = groups({"x": X, "y": Y, "weights": torch.rand(9), "name": "data"})
    assert size_of(group.parts) == 4


def test_array_holds_the_first_samples_in_a_type_of_numpy() -> None:
    half = array_of(torch.ones(5, 2, dtype=torch.bfloat16, requires_grad=True), 3)
    assert half is not None
    assert half.shape == (3, 2)
    assert half.dtype == np.float32
    assert array_of([1, 2, 3], 2).tolist() == [1, 2]  # type: ignore[union-attr]
    for odd in ("text", None, torch.eye(3).to_sparse(), np.array(["a"]), [None], object()):
        assert array_of(odd) is None
