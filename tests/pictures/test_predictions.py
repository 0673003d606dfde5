"""Does a module predict without a trace, and is what it predicts compared with the target in the target's form?"""

from __future__ import annotations

import importlib
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_adapter.pictures.kinds import Kind
from lightning_adapter.pictures.predictions import by_sample, like_target, predict
from parity.harness import PACKAGE

pl = importlib.import_module(PACKAGE)


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.layers[0].eval()  # frozen by the user

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.log("seen", 1.0)
        return self.layers(x) + torch.rand(1) + random.random() + np.random.rand()


def states(module: nn.Module) -> list[Any]:
    modes = [part.training for part in module.modules()]
    weights = [value.tolist() for value in module.state_dict().values()]
    return [modes, weights, torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]


def test_predicting_leaves_no_trace() -> None:
    module = Net()
    before = states(module)
    value, note = predict(module, (torch.rand(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6)))
    assert (value.shape, value.requires_grad, note) == ((6, 3), False, "")
    assert states(module) == before
    assert "log" not in vars(module)


class BreaksInTheMiddle(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.layers(x)
        raise RuntimeError("no such shape\nin any case")


def test_a_module_that_cannot_predict_is_told_in_a_line_and_left_as_it_was() -> None:
    module = BreaksInTheMiddle()
    before = states(module)
    assert predict(module, torch.ones(6, 4)) == (None, "no predictions: RuntimeError: no such shape")
    assert states(module) == before


class ByStep(Net):
    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"loss": 1.0, "logits": batch["x"] * 2}


class OfNames(pl.LightningModule):
    def forward(self, a: torch.Tensor, b: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return (a - b) * scale


class TakesAll(pl.LightningModule):
    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(inputs.values()))


ONE, TWO = torch.ones(2), torch.full((2,), 2.0)


@pytest.mark.parametrize(
    ("module", "batch", "expected"),
    [
        (ByStep(), {"x": ONE}, [2, 2]),
        (OfNames(), {"b": ONE, "a": TWO, "other": ONE}, [1, 1]),
        (OfNames(), (TWO, ONE, ONE), [1, 1]),
        (TakesAll(), {"a": ONE, "b": TWO}, [[1, 1], [2, 2]]),
    ],
)
def test_a_module_is_called_with_what_it_takes(module: Any, batch: Any, expected: list[Any]) -> None:
    assert predict(module, batch).value.tolist() == expected


def test_a_module_without_either_method_says_so() -> None:
    assert "no predict_step() and no forward()" in predict(pl.LightningModule(), ONE).note


SCORES = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1]])


@pytest.mark.parametrize(
    ("values", "target", "kind", "expected"),
    [
        (SCORES, [1, 2], Kind.SCALARS, [1, 0]),
        ([[2.0], [-1.0]], [1, 0], Kind.SCALARS, [1, 0]),
        ([0.4, 0.6], [[0.0], [1.0]], Kind.SCALARS, [0, 1]),
        ([[2.5], [-1.0]], [1.5, 0.2], Kind.SCALARS, [2.5, -1.0]),
        ([4, 5], [4, 6], Kind.SCALARS, [4, 5]),
        ([[3.0, -2.0, 1.0]], [[1, 0, 0]], Kind.NUMBERS, [[1, 0, 1]]),
        (SCORES[None], [[1, 2]], Kind.NUMBERS, [[1, 0]]),
        (SCORES.T[None], [[1, 2]], Kind.NUMBERS, [[1, 0]]),
        ([[0.5, 0.25]], [[1.5, 0.2]], Kind.SERIES, [[0.5, 0.25]]),
        (SCORES.T.reshape(1, 3, 1, 2), [[[1, 2]]], Kind.MASKS, [[[1, 0]]]),
        ([[[[3.0, -1.0]]]], [[[[1.0, 0.0]]]], Kind.MASKS, [[[1, 0]]]),
        ([[[[3.0, -1.0]]]], [[[1, 0]]], Kind.MASKS, [[[1, 0]]]),
        (SCORES, [0.5, 0.25], Kind.SCALARS, None),
        (SCORES, [[1, 2], [3, 4]], Kind.NUMBERS, None),
        (SCORES, [1], Kind.SCALARS, None),
    ],
)
def test_prediction_takes_the_form_of_its_target(values: Any, target: Any, kind: Kind, expected: Any) -> None:
    found = like_target(np.asarray(values), np.asarray(target), kind)
    assert (None if found is None else found.tolist()) == expected


def test_scores_of_all_words_in_one_row_are_sorted_by_sample() -> None:
    assert by_sample(torch.rand(12, 5), 4).shape == (4, 3, 5)
    assert by_sample(torch.rand(4, 5), 4).shape == (4, 5)
