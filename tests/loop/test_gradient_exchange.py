"""Gradients that travel while backward still runs: the same numbers as after it, whatever backward does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.strategies import gradient_exchange
from lightning_adapter.loop.strategies.gradient_exchange import (
    ExchangeAfterBackward,
    GradientExchange,
    OverlappingExchange,
)

from .exchange_scenes import (
    EACH_LAYER,
    SCENES,
    Net,
    Scene,
    inputs,
    noted,
    once,
    reentrant_checkpoint_on_one_rank,
    several_backwards_before_a_step,
)
from .ranks import Threads, on_ranks

pytestmark = pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")

RANKS = 2


class Letters:
    """Messages by name between threads, in whatever order each rank sends them."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.sent: dict[tuple[str, int], list[torch.Tensor]] = {}  # by name, and how often it was sent before

    def send(self, key: tuple[str, int], tensor: torch.Tensor) -> None:
        with self.changed:
            self.sent.setdefault(key, []).append(tensor.clone())
            self.changed.notify_all()

    def mean(self, key: tuple[str, int]) -> torch.Tensor:
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.sent[key]) == RANKS, timeout=10):
                raise TimeoutError(f"only one rank has sent {key}")
            return torch.stack(self.sent[key]).mean(0)


class Post:
    """The messages of one rank.

    Attributes:
        events: the names that were sent, and what a test adds.
        waiting: names that were sent and not waited for.
    """

    def __init__(self, letters: Letters) -> None:
        self.letters = letters
        self.events: list[str] = []
        self.waiting: set[str] = set()

    def start_mean(self, tensor: torch.Tensor, name: str) -> Callable[[], torch.Tensor]:
        assert name not in self.waiting, "Horovod refuses a second message of a name that is on its way"
        key = (name, self.events.count(name))
        self.events.append(name)
        self.waiting.add(name)
        self.letters.send(key, tensor)

        def wait() -> torch.Tensor:
            self.waiting.remove(name)
            return self.letters.mean(key)

        return wait


@pytest.fixture(autouse=True)
def small_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer is a bundle."""
    monkeypatch.setattr(gradient_exchange, "_FULL", EACH_LAYER)


def played(scene: Scene, overlapping: bool, net: Callable[[], Net] = Net) -> list[tuple[list[Any], Post]]:
    """The gradients after a scene, by rank, and what was sent."""
    letters = Letters()

    def run(rank: int, context: Any) -> tuple[list[Any], Post]:
        module, post = net(), Post(letters)
        parameters = list(module.parameters())
        exchange: GradientExchange = (
            OverlappingExchange(parameters, post.start_mean, list(module.modules()))
            if overlapping
            else ExchangeAfterBackward(parameters, Threads(module, context).mean_)
        )
        module.events = post.events
        scene(module, rank, exchange)
        exchange.close()
        return [None if p.grad is None else p.grad.detach().clone() for p in parameters], post

    return on_ranks(run, RANKS)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_gradients_are_those_of_an_exchange_after_backward(scene: Scene) -> None:
    for (found, post), (expected, _) in zip(played(scene, True), played(scene, False), strict=True):
        assert [g is None for g in found] == [g is None for g in expected]
        for one, other in zip(found, expected, strict=True):
            assert one is None or torch.equal(one, other)
        assert not post.waiting


def test_bundles_leave_while_backward_runs_and_the_first_parameters_after_it() -> None:
    for _, post in played(noted, True):
        names = [f"lightning_adapter.gradients.{number}" for number in range(4)]
        assert post.events == [*names[:3], "backward is at the first layer", names[3]]


def test_gradient_that_another_hook_may_change_waits_for_the_end() -> None:
    def scene(net: Net, rank: int, exchange: GradientExchange) -> None:
        net.third.weight.register_post_accumulate_grad_hook(lambda parameter: None)
        noted(net, rank, exchange)

    for _, post in played(scene, True):
        before = post.events[: post.events.index("backward is at the first layer")]
        assert before == ["lightning_adapter.gradients.0", "lightning_adapter.gradients.2"]


def test_nothing_travels_again_where_nothing_has_changed() -> None:
    for _, post in played(several_backwards_before_a_step, True):
        assert [post.events.count(name) for name in sorted(set(post.events))] == [2] * 4


def test_bundle_that_changed_on_one_rank_travels_again_from_both() -> None:
    for _, post in played(reentrant_checkpoint_on_one_rank, True):
        assert [post.events.count(name) for name in sorted(set(post.events))] == [2, 1, 1, 1]


def test_names_are_those_of_the_batch_before() -> None:
    def scene(net: Net, rank: int, exchange: GradientExchange) -> None:
        for _ in range(5):
            once(net, rank, exchange)

    for _, post in played(scene, True):
        assert len(set(post.events)) == 4


def test_small_model_is_one_message_and_has_no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_exchange, "_FULL", 2**20)

    def scene(net: Net, rank: int, exchange: GradientExchange) -> None:
        noted(net, rank, exchange)
        assert not any(p._post_accumulate_grad_hooks for p in net.parameters())  # type: ignore[attr-defined]

    for _, post in played(scene, True):
        assert post.events == ["backward is at the first layer", "lightning_adapter.gradients.0"]


def test_gradient_written_by_way_of_data_in_a_backward_hook_is_kept() -> None:
    def scene(net: Net, rank: int, exchange: GradientExchange) -> None:
        def halve(*_: Any) -> None:
            for parameter in net.parameters():
                if parameter.grad is not None:
                    parameter.grad.data.mul_(0.5)

        net.first.register_full_backward_hook(halve)
        exchange.differentiate(net(inputs(rank)))

    for (found, _), (expected, _) in zip(played(scene, True), played(scene, False), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_nothing_leaves_early_where_all_modules_have_a_backward_hook() -> None:
    net, sent, seen = Net(), [], []

    def start_mean(tensor: torch.Tensor, name: str) -> Callable[[], torch.Tensor]:
        sent.append(name)
        return lambda: tensor

    handle = nn.modules.module.register_module_full_backward_hook(lambda *_: seen.append(len(sent)))
    try:
        OverlappingExchange(list(net.parameters()), start_mean).differentiate(net(inputs(0)))
    finally:
        handle.remove()
    assert seen
    assert not any(seen)


def test_closed_exchange_leaves_parameters_without_hooks() -> None:
    net = Net()
    exchange = OverlappingExchange(list(net.parameters()), lambda tensor, name: lambda: tensor)
    exchange.differentiate(net(inputs(0)))
    assert all(p._post_accumulate_grad_hooks for p in net.other.parameters())  # type: ignore[attr-defined]
    exchange.close()
    assert not any(p._post_accumulate_grad_hooks for p in net.parameters())  # type: ignore[attr-defined]


def test_module_in_which_nothing_is_trained_sends_nothing() -> None:
    net = Net().requires_grad_(False)
    exchange = OverlappingExchange(list(net.parameters()), lambda tensor, name: pytest.fail("a message"))
    exchange.differentiate(torch.ones((), requires_grad=True) * 2)


def test_plans_of_many_choices_are_not_all_kept() -> None:
    net = Net()
    parameters = list(net.parameters())
    exchange = OverlappingExchange(parameters, lambda tensor, name: lambda: tensor)
    for number in range(2 ** len(parameters)):
        for bit, parameter in enumerate(parameters):
            parameter.requires_grad_(bool(number >> bit & 1))
        exchange.average()
    assert exchange._plan_of.cache_info().currsize == gradient_exchange._CHOICES


@pytest.mark.parametrize("last", [True, False])
def test_sparse_gradient_is_refused_also_while_backward_runs(last: bool) -> None:
    embedding, linear = nn.Embedding(30, 2, sparse=True), nn.Linear(2, 30)
    layers: list[nn.Module] = [embedding, linear] if last else [linear, embedding]
    exchange = OverlappingExchange(
        [p for layer in layers for p in layer.parameters()], lambda tensor, name: lambda: tensor
    )
    loss = linear(embedding(torch.tensor([1]))).sum()
    with pytest.raises(ConfigurationError, match=r"sparse gradient .*Set sparse=False"):
        exchange.differentiate(loss)
