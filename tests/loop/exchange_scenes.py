"""What may happen to gradients while they are on their way: the same module and its backwards for threads and processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_adapter.loop.strategies.gradient_exchange import GradientExchange

#: Bytes at which each layer of `Net` is a bundle.
EACH_LAYER = 80


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
