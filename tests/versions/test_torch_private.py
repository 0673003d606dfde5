"""Do the shortcuts past torch's own methods do what these do, and are they left where somebody would miss them?"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from lightning_adapter.versions import torch_private


def stepped() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    layer = torch.nn.Linear(3, 2)
    layer(torch.ones(1, 3)).sum().backward()
    return layer, torch.optim.Adam([{"params": [layer.weight]}, {"params": [layer.bias]}])


def test_gradients_are_none_afterwards() -> None:
    layer, optimizer = stepped()

    torch_private.zero_grad(optimizer)

    assert layer.weight.grad is None
    assert layer.bias.grad is None


def test_an_optimizer_with_another_zero_grad_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Own(torch.optim.SGD):
        def zero_grad(self, set_to_none: bool = True) -> None:
            asked.append(type(self))

    layer, _ = stepped()
    torch_private.zero_grad(Own(layer.parameters(), lr=0.1))
    plain: Any = torch.optim.SGD(layer.parameters(), lr=0.1)
    plain.zero_grad = lambda: asked.append("instance")
    torch_private.zero_grad(plain)
    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", lambda self: asked.append("class"))
    torch_private.zero_grad(torch.optim.SGD(layer.parameters(), lr=0.1))

    assert asked == [Own, "instance", "class"]
    assert layer.weight.grad is not None


def test_an_optimizer_that_hands_all_on_to_another_is_asked() -> None:
    layer, optimizer = stepped()

    class Around:
        def __getattr__(self, name: str) -> Any:
            return getattr(optimizer, name)

    torch_private.zero_grad(Around())  # type: ignore[arg-type]

    assert layer.weight.grad is None


def test_what_somebody_has_put_there_before_the_package_was_imported_is_asked() -> None:
    program = """
import torch
torch.optim.Optimizer.zero_grad = lambda self: print("asked")
from lightning_adapter.versions import torch_private
torch_private.zero_grad(torch.optim.SGD([torch.zeros(1, requires_grad=True)]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "asked\n"


def test_a_profiler_sees_the_region_that_torch_opens() -> None:
    _, optimizer = stepped()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch_private.zero_grad(optimizer)

    assert "Optimizer.zero_grad#Adam.zero_grad" in {event.key for event in profile.key_averages()}
