"""Do the shortcuts past torch's own methods do what these do, and are they left where somebody would miss them?"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._C._profiler import _ExperimentalConfig
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter, _SingleProcessDataLoaderIter

from lightning_adapter.versions import torch_private


def stepped() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    layer = torch.nn.Linear(3, 2)
    layer(torch.ones(1, 3)).sum().backward()
    groups: list[dict[str, Any]] = [{"params": [layer.weight]}, {"params": [layer.bias]}]
    return layer, torch.optim.Adam(groups)


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


def test_regions_are_opened_where_a_daemon_may_ask_for_a_profile() -> None:
    program = """
import torch
from lightning_adapter.versions import torch_private
opened = []
class Region(torch.autograd.profiler.record_function):
    def __init__(self, name):
        opened.append(name)
        super().__init__(name)
torch.autograd.profiler.record_function = Region
optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
torch_private.zero_grad(optimizer)
torch_private.step(optimizer, lambda: None)
torch_private.next_batch(iter(torch.utils.data.DataLoader(range(2))))
print(len(opened))
"""
    for variables, regions in (({}, "0\n"), ({"KINETO_USE_DAEMON": "1"}, "3\n")):
        environment = {name: value for name, value in os.environ.items() if name != "KINETO_USE_DAEMON"}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment | variables
        )
        assert done.stdout == regions


def test_a_profiler_sees_the_region_that_torch_opens() -> None:
    _, optimizer = stepped()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch_private.zero_grad(optimizer)

    assert "Optimizer.zero_grad#Adam.zero_grad" in {event.key for event in profile.key_averages()}


Step = Callable[[torch.optim.Optimizer, Callable[[], Any]], Any]
STEPS: tuple[Step, ...] = (torch_private.step, lambda optimizer, closure: optimizer.step(closure=closure))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.LBFGS])
def test_a_step_is_that_of_the_optimizer(kind: Any) -> None:
    found = []
    for step in STEPS:
        torch.manual_seed(1)
        layer = torch.nn.Linear(3, 2)
        optimizer = kind(layer.parameters(), lr=0.1)
        grad_enabled: list[bool] = []

        def closure(
            layer: torch.nn.Linear = layer,
            optimizer: torch.optim.Optimizer = optimizer,
            grad_enabled: list[bool] = grad_enabled,
        ) -> torch.Tensor:
            grad_enabled.append(torch.is_grad_enabled())
            optimizer.zero_grad()
            loss: torch.Tensor = layer(torch.ones(4, 3)).square().sum()
            loss.backward()
            return loss

        losses = [step(optimizer, closure).item() for _ in range(3)]
        found.append((losses, grad_enabled, layer.weight.tolist(), layer.bias.tolist()))

    assert found[0] == found[1]


def test_hooks_of_a_step_are_run() -> None:
    found = []
    for step in STEPS:
        calls: list[str] = []

        def note(name: str, calls: list[str] = calls) -> Callable[..., None]:
            return lambda optimizer, args, kwargs: calls.append(f"{name} {len(args)} {sorted(kwargs)}")

        layer, optimizer = stepped()
        before = layer.weight.detach().clone()
        optimizer.register_step_pre_hook(note("pre"))
        optimizer.register_step_post_hook(note("post"))
        step(optimizer, lambda: None)
        _, optimizer = stepped()
        optimizer.register_step_post_hook(note("post alone"))
        step(optimizer, lambda: None)
        _, optimizer = stepped()
        # registered while it steps
        step(optimizer, functools.partial(optimizer.register_step_post_hook, note("late post")))
        handles = [
            register_optimizer_step_post_hook(note("post of all")),
            register_optimizer_step_pre_hook(note("pre of all")),
        ]
        step(optimizer, lambda: None)
        handles.pop().remove()
        step(optimizer, lambda: None)
        handles.pop().remove()
        found.append(calls)
        assert not torch.equal(layer.weight, before)

    assert found[0] == found[1]
    assert len(found[0]) == 9


def test_other_arguments_of_a_step_reach_it_and_its_hooks() -> None:
    seen: list[dict[str, Any]] = []

    class Scaled(torch.optim.SGD):
        def step(self, closure: Any = None, *, scale: float = 1.0) -> Any:
            seen.append({"closure": closure, "scale": scale})
            return super().step(closure)

    def closure() -> None:
        return None

    optimizer = Scaled([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    optimizer.register_step_post_hook(lambda optimizer, args, kwargs: seen.append(kwargs))
    torch_private.step(optimizer, closure, scale=0.5)

    assert seen[0] == seen[-1] == {"closure": closure, "scale": 0.5}


def test_a_scheduler_counts_the_steps(recwarn: pytest.WarningsRecorder) -> None:
    _, optimizer = stepped()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)

    torch_private.step(optimizer, lambda: None)
    scheduler.step()

    assert not recwarn.list  # it would say that nothing was stepped before


def test_an_optimizer_with_another_step_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Own(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            asked.append(type(self))
            return super().step(closure)

    layer, optimizer = stepped()
    before = layer.weight.detach().clone()
    torch_private.step(Own(layer.parameters(), lr=0.1), lambda: None)
    assert not torch.equal(layer.weight, before)
    plain: Any = torch.optim.SGD(layer.parameters(), lr=0.1)
    plain.step = lambda closure: asked.append("instance")
    torch_private.step(plain, lambda: None)

    class Around:
        def __getattr__(self, name: str) -> Any:
            asked.append("around")
            return getattr(optimizer, name)

    before = layer.weight.detach().clone()
    torch_private.step(Around(), lambda: None)  # type: ignore[arg-type]
    assert not torch.equal(layer.weight, before)
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self, closure: asked.append("class"))
    torch_private.step(torch.optim.SGD(layer.parameters(), lr=0.1), lambda: None)

    assert asked == [Own, "instance", "around", "class"]


def test_a_profiler_sees_the_region_of_a_step() -> None:
    _, optimizer = stepped()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch_private.step(optimizer, lambda: None)

    assert "Optimizer.step#Adam.step" in {event.key for event in profile.key_averages()}


class Stream(torch.utils.data.IterableDataset[int]):
    """Says that it is shorter than it is, or nothing."""

    def __init__(self, length: int | None) -> None:
        self.length = length

    def __iter__(self) -> Iterator[int]:
        return iter(range(6))

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError
        return self.length


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("dataset", [range(6), Stream(None)], ids=["indices", "stream"])
def test_batches_are_those_of_the_loader(dataset: Any, workers: int) -> None:
    def batches(take: Callable[[Iterator[Any]], Any]) -> tuple[list[list[int]], list[int]]:
        torch.manual_seed(1)
        loader = DataLoader(dataset, batch_size=2, num_workers=workers, shuffle=isinstance(dataset, range) or None)
        taken, yielded, iterator = [], [], iter(loader)
        with contextlib.suppress(StopIteration):
            while True:
                taken.append(take(iterator).tolist())
                yielded.append(iterator._num_yielded)
        return taken, yielded

    found = batches(torch_private.next_batch)

    assert found == batches(next)
    assert found[1] == [1, 2, 3]


def test_a_stream_that_is_longer_than_it_says_is_warned_of() -> None:
    loader = DataLoader(Stream(2), batch_size=1)
    len(loader)
    iterator = iter(loader)
    torch_private.next_batch(iterator)
    torch_private.next_batch(iterator)
    with pytest.warns(UserWarning, match="Length of IterableDataset"):
        torch_private.next_batch(iterator)


def test_what_is_no_pass_of_torch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Own(_SingleProcessDataLoaderIter):
        def __next__(self) -> Any:
            asked.append("subclass")
            return super().__next__()

    loader: DataLoader[int] = DataLoader(range(4))  # type: ignore[arg-type]  # has indices and a length
    torch_private.next_batch(Own(loader))
    assert torch_private.next_batch(iter([7])) == 7
    monkeypatch.setattr(_SingleProcessDataLoaderIter, "__next__", lambda self: asked.append("class"))
    torch_private.next_batch(iter(loader))
    monkeypatch.undo()
    monkeypatch.setattr(_BaseDataLoaderIter, "__next__", lambda self: asked.append("base class"))
    torch_private.next_batch(iter(loader))

    assert asked == ["subclass", "class", "base class"]


def test_function_of_a_package_whose_name_begins_like_torchs_is_not_torchs() -> None:
    folder = os.path.dirname(torch.__file__)

    def may_be_passed(file: str) -> bool:
        return torch_private._may_be_passed(types.FunctionType(compile("", file, "exec"), {}))

    assert may_be_passed(os.path.join(folder, "optim", "optimizer.py"))
    assert not may_be_passed(os.path.join(f"{folder}_xla", "optimizer.py"))
    assert not torch_private._may_be_passed(functools.partial(print))  # has no place at all


def test_a_profiler_sees_the_region_of_a_batch() -> None:
    iterator = iter(DataLoader(range(4)))  # type: ignore[arg-type]  # has indices and a length
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch_private.next_batch(iterator)

    assert any("DataLoader" in event.key for event in profile.key_averages())


def test_a_profiler_that_another_thread_has_started_for_all_sees_the_regions() -> None:
    everything = _ExperimentalConfig(profile_all_threads=True)
    profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], experimental_config=everything)
    _, optimizer = stepped()
    iterator = iter(DataLoader(range(4)))  # type: ignore[arg-type]  # has indices and a length

    in_a_thread(profile.start)
    torch_private.step(optimizer, lambda: None)
    torch_private.zero_grad(optimizer)
    torch_private.next_batch(iterator)
    in_a_thread(profile.stop)

    seen = {event.key.partition("#")[0] for event in profile.key_averages()}
    assert {"Optimizer.step", "Optimizer.zero_grad", "enumerate(DataLoader)"} <= seen


def in_a_thread(function: Callable[[], None]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
