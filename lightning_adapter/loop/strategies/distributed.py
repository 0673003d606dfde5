"""What do the processes of every backend share: ranks, decisions, the states of metrics, gradients where no wrapper sends them?"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from determined.core import DistributedContext
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.metric import jit_distributed_available

from lightning_adapter.errors import ConfigurationError, RanksDriftedError
from lightning_adapter.loop.precision import Precision
from lightning_adapter.loop.strategies.base import GradientSteps, Group, SingleDeviceStrategy, Step, T
from lightning_adapter.loop.strategies.exchange import broadcast_tensors, differing_parameters
from lightning_adapter.loop.strategies.gradient_exchange import GradientExchange
from lightning_adapter.versions import hosts


class DistributedStrategy(SingleDeviceStrategy, ABC):
    """What all backends share.

    Gradients are exchanged before anybody can read them: the mean over all processes, of every parameter that requires a
    gradient.

    Args:
        module: the LightningModule.
        device: where it trains.
        precision: the number format of the run.
        host: the Lightning package of the module.
        steps: what `manual_backward` and `LightningOptimizer.step` come to.
        context: Determined's distributed context, which knows the ranks and carries objects other than tensors.
    """

    is_distributed = True

    def __init__(
        self,
        module: torch.nn.Module,
        device: torch.device,
        precision: Precision,
        host: hosts.Host,
        steps: GradientSteps,
        context: DistributedContext,
    ) -> None:
        super().__init__(module, device, precision, host, steps)
        self.context = context
        self.world_size = context.size
        self.global_rank = context.rank
        self.local_rank = context.local_rank
        self.node_rank = context.cross_rank
        self.num_processes = context.local_size
        self.num_nodes = context.cross_size
        self._exchange: GradientExchange | None = None

    # --- what a backend brings: sums in place, copies from one rank to all, tensors of equal size from all ranks ----

    @abstractmethod
    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""

    @abstractmethod
    def exchange_of(self, parameters: Sequence[Tensor]) -> GradientExchange:
        """What averages the gradients of these parameters over all processes."""

    @abstractmethod
    def broadcast_(self, tensor: Tensor) -> None:
        """Overwrite a tensor with that of rank 0."""

    @abstractmethod
    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of the same shape from all processes, by rank."""

    # --- decisions ------------------------------------------------------------------------------------------------

    def broadcast(self, obj: T, src: int = 0) -> T:
        """The object of rank `src`."""
        if src == 0:
            found: T = self.context.broadcast(obj)
        else:
            found = self.context.allgather(obj if self.global_rank == src else None)[src]
        return found

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """True if all processes (or any of them) say so."""
        decisions = self.context.allgather(bool(decision))
        return decisions.count(True) == len(decisions) if all else True in decisions

    def any_rank(self, *flags: bool) -> list[bool]:
        """For each flag, whether any process has it set."""
        return [True in column for column in zip(*self.context.allgather(flags), strict=True)]

    def check_lengths(self, batches: float) -> None:
        """Compare the number of training batches over all processes.

        Raises:
            ConfigurationError: they differ, and one process would wait for the others.
        """
        lengths = self.context.allgather(batches)
        if any(length != lengths[0] for length in lengths):
            each = ", ".join(f"{length:g} on rank {rank}" for rank, length in enumerate(lengths))
            finite = [length for length in lengths if length != float("inf")]
            raise ConfigurationError(
                f"The processes have different numbers of training batches: {each}. They exchange gradients after each "
                "batch, so the shortest would keep the others waiting. Shard the loader evenly, leave that to the adapter with "
                f"use_distributed_sampler=True, or set limit_train_batches={min(finite):g}."
            )

    # --- parameters, buffers, gradients ---------------------------------------------------------------------------

    def connect(self, automatic: bool, find_unused: bool) -> None:
        """Give all processes the parameters and buffers of rank 0; gradients are averaged by `gradient_exchange`."""
        module = self.lightning_module
        parameters = list(module.parameters())
        broadcast_tensors([*(p.detach() for p in parameters), *module.buffers()], self.broadcast_)
        self._exchange = self.exchange_of(parameters)

    def wrap_step(self, name: str, function: Step) -> Step:
        """`training_step` with the buffers of rank 0, which is what DistributedDataParallel's forward sees to.

        Validation needs no exchange.
        """
        buffers = list(self.lightning_module.buffers()) if name == "training_step" else []
        if not buffers:
            return function

        def step(*args: object) -> object:
            broadcast_tensors(buffers, self.broadcast_)
            return function(*args)

        return step

    def broadcast_buffers(self) -> None:
        """Give all processes the buffers of rank 0: running means are those of each process's own batches."""
        broadcast_tensors(self.lightning_module.buffers(), self.broadcast_)

    def gradient_exchange(self) -> GradientExchange | None:
        """What differentiates, and averages gradients; None where a wrapper does it."""
        return self._exchange

    def block_backward_sync(self) -> AbstractContextManager[None]:
        """Differentiate without exchanging gradients: the batch only accumulates."""
        return nullcontext() if self._exchange is None else self._exchange.blocked()

    def check_parameters(self, batches: int) -> None:
        """Compare a checksum of each parameter over all processes.

        Args:
            batches: batches trained so far, for the message.

        Raises:
            RanksDriftedError: names the parameters that differ, and on which ranks.
        """
        named = list(self.lightning_module.named_parameters())
        drifted = differing_parameters(named, self.gather) if named else []
        if drifted:
            raise RanksDriftedError(
                f"After {batches} batches the processes no longer hold the same parameters. Different from rank 0's are:\n"
                + "\n".join(f"- {name} on rank {', '.join(map(str, ranks))}" for name, ranks in drifted)
                + "\nGradients that the module computes with loss.backward() instead of self.manual_backward(loss), "
                "parameters changed by hand, and branches on the rank are the usual causes. The last checkpoint was written "
                "while they were still equal; check_ranks_every=Batch(n) finds the batch."
            )

    # --- metrics --------------------------------------------------------------------------------------------------

    def gather_states(self, tensor: Tensor, group: Group = None) -> list[Tensor]:
        """Tensors of any shapes from all processes, for torchmetrics: a process may have seen no sample at all.

        torchmetrics' own `gather_all_tensors` needs equal numbers of dimensions and equal types, which the empty state of
        such a process has not. Here it gets type and trailing dimensions of the first state that holds something.
        """
        shapes: list[tuple[tuple[int, ...], torch.dtype]] = self.context.allgather((tuple(tensor.shape), tensor.dtype))
        like, dtype = next((each for each in shapes if 0 not in each[0]), (tuple(tensor.shape), tensor.dtype))
        sizes = [math.prod(shape) for shape, _ in shapes]
        padded = torch.zeros(max(*sizes, 1), dtype=dtype, device=tensor.device)
        padded[: tensor.numel()] = tensor.detach().reshape(-1).to(dtype)
        gathered = []
        for (shape, _), size, values in zip(shapes, sizes, self.gather(padded), strict=True):
            empty = (0, *like[1:]) if size == 0 and like else shape
            gathered.append(values[:size].reshape(shape if size else empty))
        return gathered

    def attach_metrics(self) -> None:
        """Let the torchmetrics objects of the module gather their states over all processes.

        `dist_sync_fn` and `distributed_available_fn` are the arguments that torchmetrics has for other backends; an object
        that was given its own keeps it.
        """
        for child in self.lightning_module.modules():
            if isinstance(child, Metric) and child.dist_sync_fn is None:
                child.dist_sync_fn = self.gather_states
                child.distributed_available_fn = _always

    def disconnect(self) -> None:
        """Leave the module as it was: what it computes later is of one process."""
        self.model = self.lightning_module
        if self._exchange is not None:
            self._exchange.close()
        for child in self.lightning_module.modules():
            if isinstance(child, Metric) and child.dist_sync_fn == self.gather_states:
                child.dist_sync_fn = None
                child.distributed_available_fn = jit_distributed_available


def _always() -> bool:
    return True


def divide_(tensor: Tensor, count: int) -> Tensor:
    """Make a mean of a sum, in place; of whole numbers it is cut off."""
    return tensor.div_(count) if torch.is_floating_point(tensor) else tensor.copy_(tensor / count)
