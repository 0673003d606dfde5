"""A job of several ranks in one process: a thread each, a backend of plain sums, and Determined's context without sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_adapter.loop.precision import Precision
from lightning_adapter.loop.strategies.distributed import DistributedStrategy
from lightning_adapter.loop.strategies.gradient_exchange import ExchangeAfterBackward, GradientExchange
from lightning_adapter.versions import hosts

T = TypeVar("T")
HOST = hosts.importable_hosts()[0]
CPU = torch.device("cpu")


class Asked:
    """Notes what user code asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def manual_backward(self, loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:
        self.calls.append(("backward", loss, optimizer, args, kwargs))
        return loss

    def step_optimizer(self, optimizer: Any, closure: Any, **kwargs: Any) -> Any:
        self.calls.append(("step", optimizer, closure, kwargs))
        return "stepped"


class Job:
    """Where ranks leave what they exchange, and wait for each other."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=10)
        self.left: list[Any] = [None] * size

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.left[rank] = value
        self.barrier.wait()
        everything = list(self.left)
        self.barrier.wait()
        return everything


class Context:
    """Ranks and objects, as `determined.core.DistributedContext` has them; one rank alone exchanges with nobody."""

    def __init__(self, rank: int = 0, size: int = 1, job: Job | None = None) -> None:
        self.rank = self.local_rank = rank
        self.size = self.local_size = size
        self.cross_rank, self.cross_size = 0, 1
        self._job = job or Job(1)

    def allgather(self, value: Any) -> list[Any]:
        return self._job.exchange(self.rank, value)

    def broadcast(self, value: Any) -> Any:
        return self.allgather(value)[0]


class Threads(DistributedStrategy):
    """A backend between threads; counts its messages. Gradients travel when backward has ended."""

    def __init__(self, module: torch.nn.Module, context: Any) -> None:
        super().__init__(module, CPU, Precision("32-true"), HOST, Asked(), context)
        self.messages: list[tuple[str, int]] = []

    def _all(self, kind: str, tensor: Tensor) -> list[Tensor]:
        self.messages.append((kind, tensor.numel()))
        found: list[Tensor] = self.context.allgather(tensor.clone())
        return found

    def sum_(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(torch.stack(self._all("sum", tensor)).sum(0))

    def exchange_of(self, parameters: Sequence[Tensor]) -> GradientExchange:
        return ExchangeAfterBackward(parameters, self.mean_)

    def mean_(self, tensor: Tensor) -> Tensor:
        return torch.stack(self._all("mean", tensor)).mean(0)

    def broadcast_(self, tensor: Tensor) -> None:
        tensor.copy_(self._all("broadcast", tensor)[0])

    def gather(self, tensor: Tensor) -> list[Tensor]:
        return self._all("gather", tensor)


def on_ranks(function: Callable[[int, Any], T], size: int = 2) -> list[T]:
    """What a function returns on each rank; it is given the rank and its context, and the first error is raised."""
    job = Job(size)
    errors: list[BaseException] = []

    def run(rank: int) -> Any:
        try:
            return function(rank, Context(rank, size, job))
        except threading.BrokenBarrierError:
            return None  # another rank failed, and says why
        except Exception as error:
            errors.append(error)
            job.barrier.abort()
            return None

    with ThreadPoolExecutor(size) as pool:
        results = list(pool.map(run, range(size)))
    if errors:
        raise errors[0]
    return results
