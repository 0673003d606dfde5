"""Bundles, gradients that are missing, and checksums."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.strategies import exchange

from .ranks import Threads, on_ranks


def numbers(count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.arange(count, dtype=dtype)


def test_bundles_keep_types_apart_and_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_BUNDLE_BYTES", 100)
    a, b, c = numbers(2), numbers(3, torch.float64), numbers(4)
    found = list(exchange.bundles([a, b, c]))
    assert [[id(each) for each in bundle] for bundle in found] == [[id(a), id(c)], [id(b)]]


def test_bundle_travels_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_BUNDLE_BYTES", 16)
    found = list(exchange.bundles([numbers(2), numbers(2), numbers(1), numbers(9)]))
    assert [[each.numel() for each in bundle] for bundle in found] == [[2, 2], [1, 9]]


def test_broadcast_copies_every_shape_from_rank_zero() -> None:
    def run(rank: int, context: Any) -> list[torch.Tensor]:
        strategy = Threads(torch.nn.Identity(), context)
        tensors = [torch.full((2, 3), float(rank)), torch.full((), float(rank)), torch.full((2,), rank)]
        exchange.broadcast_tensors(tensors, strategy.broadcast_)
        return tensors

    for tensors in on_ranks(run):
        assert [tuple(each.shape) for each in tensors] == [(2, 3), (), (2,)]
        assert all(bool((each == 0).all()) for each in tensors)


def averaged(gradients: list[list[float | None]]) -> tuple[list[list[Any]], list[list[tuple[str, int]]]]:
    """Gradients of parameters after the exchange, by rank, and the messages; None where there is no gradient."""

    def run(rank: int, context: Any) -> tuple[list[Any], list[tuple[str, int]]]:
        strategy = Threads(torch.nn.Identity(), context)
        parameters = [torch.zeros(2, requires_grad=True) for _ in gradients[rank]]
        for parameter, value in zip(parameters, gradients[rank], strict=True):
            parameter.grad = None if value is None else torch.full((2,), value)
        with torch.no_grad():
            exchange.unpack(parameters, strategy.mean_(exchange.pack(parameters)))
        return [None if p.grad is None else p.grad.tolist() for p in parameters], strategy.messages

    results = on_ranks(run, len(gradients))
    return [found for found, _ in results], [messages for _, messages in results]


def test_gradients_are_the_mean_of_all_ranks() -> None:
    found, _ = averaged([[1.0, 4.0], [3.0, -4.0]])
    assert found == [[[2.0, 2.0], [0.0, 0.0]]] * 2


def test_gradient_that_one_rank_lacks_counts_as_zero_and_no_message_is_mixed_up() -> None:
    found, messages = averaged([[1.0, None, 8.0], [3.0, 6.0, None]])
    assert found == [[[2.0, 2.0], [3.0, 3.0], [4.0, 4.0]]] * 2
    assert messages[0] == messages[1] == [("mean", 3 * 2 + 3)]


def test_gradient_that_all_ranks_lack_stays_absent() -> None:
    found, _ = averaged([[1.0, None], [3.0, None]])
    assert found == [[[2.0, 2.0], None]] * 2


def test_rank_without_any_gradient_gets_those_of_the_others() -> None:
    found, _ = averaged([[2.0], [None]])
    assert found == [[[1.0, 1.0]]] * 2


def test_sparse_gradient_is_refused() -> None:
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ConfigurationError, match=r"sparse gradient .*Set sparse=False"):
        exchange.pack([embedding.weight])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int8, torch.complex64])
def test_checksum_finds_one_changed_bit(dtype: torch.dtype) -> None:
    one = numbers(64).to(dtype)
    other = one.clone()
    other.view(torch.int8)[0] ^= 1
    assert exchange.checksum(one) == exchange.checksum(one.clone())
    assert exchange.checksum(one) != exchange.checksum(other)


def test_checksum_tells_signed_zeros_apart_and_takes_any_layout() -> None:
    assert exchange.checksum(torch.tensor([0.0])) != exchange.checksum(torch.tensor([-0.0]))
    square = numbers(4).reshape(2, 2)
    assert exchange.checksum(square.T) == exchange.checksum(square)
