"""Gradients that travel while backward still runs: the same numbers as after it, whatever backward does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.strategies import gradient_exchange
from lightning_adapter.loop.strategies.gradient_exchange import (
    ExchangeAfterBackward,
    GradientExchange,
    OverlappingExchange,
)

from .ranks import Threads, on_ranks

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


class Net(nn.Module):
    """Four layers; the last is one that a loss may leave out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.third = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)
        generator = torch.Generator().manual_seed(1)  # threads share torch's own
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.5, 0.5, generator=generator)

    def forward(self, x: torch.Tensor, other: bool = True) -> torch.Tensor:
        x = self.third(self.second(self.first(x).tanh()).tanh())
        return self.other(x).sum() if other else x.sum()


def inputs(rank: int) -> torch.Tensor:
    return torch.arange(8.0).reshape(2, 4) * (rank + 1) / 7


Scene = Callable[[Net, int, GradientExchange], None]


@pytest.fixture(autouse=True)
def small_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer is a bundle."""
    monkeypatch.setattr(gradient_exchange, "_FULL", 80)


def played(scene: Scene, overlapping: bool, net: Callable[[], Net] = Net) -> list[tuple[list[Any], Post]]:
    """The gradients after a scene, by rank, and what was sent."""
    letters = Letters()

    def run(rank: int, context: Any) -> tuple[list[Any], Post]:
        module, post = net(), Post(letters)
        parameters = list(module.parameters())
        exchange: GradientExchange = (
            OverlappingExchange(parameters, post.start_mean)
            if overlapping
            else ExchangeAfterBackward(parameters, Threads(module, context).mean_)
        )
        module.events = post.events
        scene(module, rank, exchange)
        exchange.close()
        return [None if p.grad is None else p.grad.detach().clone() for p in parameters], post

    return on_ranks(run, RANKS)


class _Noted(torch.autograd.Function):
    """Notes that backward has come here."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, events: list[str]) -> torch.Tensor:
        ctx.events = events
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        ctx.events.append("backward is at the first layer")
        return gradients[0], None


def once(net: Net, rank: int, exchange: GradientExchange) -> None:
    exchange.differentiate(net(inputs(rank)))


def noted(net: Net, rank: int, exchange: GradientExchange) -> None:
    hidden = _Noted.apply(net.first(inputs(rank)), net.events)  # type: ignore[no-untyped-call]
    exchange.differentiate(net.other(net.third(net.second(hidden))).sum())


def without_one_layer_on_one_rank(net: Net, rank: int, exchange: GradientExchange) -> None:
    exchange.differentiate(net(inputs(rank), other=rank == 0))


def without_one_layer_at_all(net: Net, rank: int, exchange: GradientExchange) -> None:
    exchange.differentiate(net(inputs(rank), other=False))


def layers_in_another_order_on_each_rank(net: Net, rank: int, exchange: GradientExchange) -> None:
    one, two = (net.second, net.third) if rank == 0 else (net.third, net.second)
    exchange.differentiate(two(one(net.first(inputs(rank)))).sum())


def several_backwards_before_a_step(net: Net, rank: int, exchange: GradientExchange) -> None:
    for part in inputs(rank):
        exchange.differentiate(net(part))


def accumulation(net: Net, rank: int, exchange: GradientExchange) -> None:
    with exchange.blocked():
        exchange.differentiate(net(inputs(rank)))
    exchange.differentiate(net(inputs(rank) + 1))


def own_backward_of_the_module(net: Net, rank: int, exchange: GradientExchange) -> None:
    for part in inputs(rank):
        net(part).backward()
    torch.nn.utils.clip_grad_value_(net.parameters(), 0.1)
    exchange.average()


def backward_of_user_code_before(net: Net, rank: int, exchange: GradientExchange) -> None:
    exchange.differentiate(net(inputs(rank)))
    net(inputs(rank) + 1).backward()  # with no exchange
    exchange.differentiate(net(inputs(rank) + 2))


def frozen_and_unfrozen(net: Net, rank: int, exchange: GradientExchange) -> None:
    net.third.requires_grad_(False)
    exchange.differentiate(net(inputs(rank)))
    net.third.requires_grad_(True)
    net.first.requires_grad_(False)
    exchange.differentiate(net(inputs(rank)))


def toggled_in_turn(net: Net, rank: int, exchange: GradientExchange) -> None:
    for trained in (net.first, net.third, net.first, net.third):
        net.requires_grad_(False)
        trained.requires_grad_(True)
        net.zero_grad()
        exchange.differentiate(net(inputs(rank)))


def graph_that_is_kept(net: Net, rank: int, exchange: GradientExchange) -> None:
    loss = net(inputs(rank))
    exchange.differentiate(loss, retain_graph=True)
    exchange.differentiate(loss)


def gradient_penalty(net: Net, rank: int, exchange: GradientExchange) -> None:
    x = inputs(rank).requires_grad_()
    (slope,) = torch.autograd.grad(net(x), x, create_graph=True)
    exchange.differentiate(slope.pow(2).sum() + net(x))


def graph_of_the_gradients(net: Net, rank: int, exchange: GradientExchange) -> None:
    exchange.differentiate(net(inputs(rank)), create_graph=True)
    exchange.differentiate(net(inputs(rank) + 1))


def some_inputs_only(net: Net, rank: int, exchange: GradientExchange) -> None:
    exchange.differentiate(net(inputs(rank)), inputs=list(net.third.parameters()))


def parameter_that_is_used_twice(net: Net, rank: int, exchange: GradientExchange) -> None:
    exchange.differentiate(net.second(net.second(net.first(inputs(rank)))).sum())


def reentrant_checkpoint_of_a_layer_that_is_used_twice(net: Net, rank: int, exchange: GradientExchange) -> None:
    hidden = checkpoint(net.other, net.first(inputs(rank)), use_reentrant=True)
    exchange.differentiate(net.other(net.third(net.second(hidden))).sum())


def reentrant_checkpoint_on_one_rank(net: Net, rank: int, exchange: GradientExchange) -> None:
    hidden = net.first(inputs(rank))
    hidden = checkpoint(net.other, hidden, use_reentrant=True) if rank == 1 else net.other(hidden)
    exchange.differentiate(net.other(net.third(net.second(hidden))).sum())


def hook_that_writes_into_a_gradient_that_has_left(net: Net, rank: int, exchange: GradientExchange) -> None:
    def double(*_: object) -> None:
        assert net.other.weight.grad is not None
        net.other.weight.grad.mul_(2)

    net.second.weight.register_hook(double)
    exchange.differentiate(net(inputs(rank)))


def hook_that_puts_another_gradient(net: Net, rank: int, exchange: GradientExchange) -> None:
    def replace(*_: object) -> None:
        net.other.weight.grad = torch.full_like(net.other.weight, rank + 0.5)

    net.second.weight.register_hook(replace)
    exchange.differentiate(net(inputs(rank)))


def clipped_as_they_arrive(net: Net, rank: int, exchange: GradientExchange) -> None:
    once(net, rank, exchange)  # hooks are registered afterwards
    net.zero_grad()

    def clip(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad.data.clamp_(-0.1, 0.1)

    for parameter in net.parameters():
        parameter.register_post_accumulate_grad_hook(clip)
    once(net, rank, exchange)


def backward_that_raises_midway_and_is_tried_again(net: Net, rank: int, exchange: GradientExchange) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    for _ in range(2):
        broken = net.first(inputs(rank))
        broken.register_hook(fail)
        with pytest.raises(ZeroDivisionError):
            exchange.differentiate(net.other(net.third(net.second(broken))).sum())
    net.zero_grad()
    net.third.requires_grad_(False)  # messages are others, of the same names
    exchange.differentiate(net(inputs(rank) + 1))


pytestmark = pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")

SCENES: list[Scene] = [
    once,
    noted,
    without_one_layer_on_one_rank,
    without_one_layer_at_all,
    layers_in_another_order_on_each_rank,
    several_backwards_before_a_step,
    accumulation,
    own_backward_of_the_module,
    backward_of_user_code_before,
    frozen_and_unfrozen,
    toggled_in_turn,
    graph_that_is_kept,
    gradient_penalty,
    graph_of_the_gradients,
    some_inputs_only,
    parameter_that_is_used_twice,
    reentrant_checkpoint_of_a_layer_that_is_used_twice,
    reentrant_checkpoint_on_one_rank,
    hook_that_writes_into_a_gradient_that_has_left,
    hook_that_puts_another_gradient,
    clipped_as_they_arrive,
    backward_that_raises_midway_and_is_tried_again,
]


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
