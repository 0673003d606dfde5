"""Which input is a model exported with?"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.export.example import Example, of_batch, of_module

FIRST = "the first validation batch"
X, Y = torch.randn(4, 3), torch.arange(4)


class OneInput(pl.LightningModule):
    """Takes x, and something that need not be given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return self.layer(x)


class TwoInputs(OneInput):
    """Needs two."""

    def forward(self, x: Tensor, y: Tensor) -> Any:  # type: ignore[override]
        return self.layer(x) + y[:, None]


class ByName(OneInput):
    """As a model of a library's: names of the tokenizer's."""

    def forward(self, **inputs: Tensor) -> Any:  # type: ignore[override]
        return self.layer(inputs["x"])


class KeywordOnly(OneInput):
    """Takes nothing by position."""

    def forward(self, *, x: Tensor, scale: float = 1.0) -> Any:  # type: ignore[override]
        return self.layer(x) * scale


class Whole(OneInput):
    """Takes the batch as it is."""

    def forward(self, batch: dict[str, Tensor]) -> Any:  # type: ignore[override]
        return self.layer(batch["image"])


class Named(NamedTuple):
    """A batch."""

    label: Tensor
    x: Tensor


def given(example: Example) -> dict[str, Any]:
    return {**dict(zip(example.names, example.args, strict=True)), **example.kwargs}


@pytest.mark.parametrize(
    ("module", "batch", "names"),
    [
        (OneInput(), X, ["x"]),
        (OneInput(), (X, Y), ["x"]),
        (OneInput(), [X, Y, Y], ["x"]),
        (OneInput(), {"label": Y, "x": X}, ["x"]),
        (OneInput(), Named(Y, X), ["x"]),
        (OneInput(), ({"x": X, "other": Y}, Y), ["x"]),
        (TwoInputs(), (X, Y, Y), ["x", "y"]),
        (ByName(), {"x": X, "labels": Y}, ["x", "labels"]),
        (KeywordOnly(), {"x": X}, ["x"]),
    ],
)
def test_batch_gives_what_forward_takes_of_it(module: pl.LightningModule, batch: Any, names: list[str]) -> None:
    found = given(of_batch(module, batch, FIRST))
    assert list(found) == names
    assert torch.equal(found["x"], X)


def test_batch_goes_whole_to_a_forward_that_has_none_of_its_names() -> None:
    example = of_batch(Whole(), {"image": X, "label": Y}, FIRST)
    assert list(example.args[0]) == ["image", "label"]
    assert [name for name, _ in example.tensors] == ["batch_image", "batch_label"]


@pytest.mark.parametrize("batch", [X, (X,), {"a": X}])
def test_batch_with_less_than_forward_needs_is_told_with_what_to_write(batch: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"TwoInputs\.forward.*self\.example_input_array ="):
        of_batch(TwoInputs(), batch, FIRST)


@pytest.mark.parametrize("value", [X, (X,), {"x": X}])
def test_example_input_array_wins_in_each_of_its_forms(value: Any) -> None:
    module = OneInput()
    module.example_input_array = value
    example = of_module(module)
    assert example is not None
    assert torch.equal(example.args[0], X)
    assert (example.kwargs, example.origin) == ({}, "example_input_array")


def test_example_input_array_that_forward_does_not_take_is_told() -> None:
    module = OneInput()
    module.example_input_array = {"image": X}
    with pytest.raises(
        ConfigurationError, match=re.escape("does not take the input that is there (example_input_array)")
    ):
        of_module(module)


def test_input_gets_the_type_of_the_weights_which_is_said() -> None:
    example = of_batch(OneInput().bfloat16(), (X, Y), FIRST)
    assert example.args[0].dtype is torch.bfloat16
    assert "as bfloat16, which the weights are" in example.origin


def test_other_batch_sizes_repeat_samples_and_leave_what_has_no_batch() -> None:
    example = Example((X, torch.ones(3)), {}, ("x", "weights"), FIRST)
    assert torch.equal(example.of_batch_size(6).args[0], X[[0, 1, 2, 3, 0, 1]])
    assert len(example.of_batch_size(1).args[0]) == 1
    assert len(example.of_batch_size(6).args[1]) == 3
