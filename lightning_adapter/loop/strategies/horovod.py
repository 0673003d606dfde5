"""How do processes of Horovod exchange what they hold?"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from determined.core import DistributedContext
from torch import Tensor

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.precision import Precision
from lightning_adapter.loop.strategies.base import GradientSteps, Group, ReduceOperation
from lightning_adapter.loop.strategies.distributed import DistributedStrategy, divide_
from lightning_adapter.loop.strategies.gradient_exchange import GradientExchange, OverlappingExchange
from lightning_adapter.versions import hosts

#: Names of reductions, and Horovod's operation that does them; a mean is a sum that is divided here.
_OPERATIONS = {"sum": "Sum", "mean": "Sum", "avg": "Sum", "min": "Min", "max": "Max", "product": "Product"}


def horovod_module() -> ModuleType:
    """`horovod.torch`.

    Raises:
        ConfigurationError: Horovod is not installed, or was built for another torch.
    """
    try:
        return importlib.import_module("horovod.torch")
    except ImportError as error:
        raise ConfigurationError(
            f"horovod.torch cannot be imported ({error}). Build it for the installed torch with `make horovod` or "
            "`python scripts/build_horovod.py`, or start the job with torchrun."
        ) from error


class HorovodStrategy(DistributedStrategy):
    """Processes of Horovod; a process set stands where torch has a group.

    Horovod's own DistributedOptimizer would wait for the means while an optimizer steps, after hooks and clipping have read
    the gradients. Here they are waited for when backward has ended.
    """

    strategy_name = "horovod"

    def __init__(
        self,
        module: torch.nn.Module,
        device: torch.device,
        precision: Precision,
        host: hosts.Host,
        steps: GradientSteps,
        context: DistributedContext,
        fp16_compression: bool = False,
    ) -> None:
        super().__init__(module, device, precision, host, steps, context)
        self.hvd = horovod_module()
        self.fp16_compression = fp16_compression

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""
        total: Tensor = self.hvd.allreduce_(tensor, op=self.hvd.Sum)
        return total

    def exchange_of(self, parameters: Sequence[Tensor]) -> GradientExchange:
        """What averages the gradients of these parameters over all processes."""
        return OverlappingExchange(parameters, self.start_mean_of_gradients, list(self.lightning_module.modules()))

    def start_mean_of_gradients(self, tensor: Tensor, name: str) -> Callable[[], Tensor]:
        """Send gradients, with `fp16_compression` in half precision; returns what waits for their mean.

        The name is that of step to step: what the processes have agreed on for a name, they need not agree on again. Without
        one Horovod makes up a new one for each message.
        """
        compressed = self.fp16_compression and tensor.dtype in (torch.float32, torch.float64)
        handle = self.hvd.allreduce_async_(tensor.half() if compressed else tensor, name=name, op=self.hvd.Average)

        def wait() -> Tensor:
            mean: Tensor = self.hvd.synchronize(handle)
            return mean.to(tensor.dtype)

        return wait

    def broadcast_(self, tensor: Tensor) -> None:
        """Overwrite a tensor with that of rank 0; the name is that of step to step, as a gradient's."""
        self.hvd.broadcast_(tensor, 0, name=f"lightning_adapter.broadcast.{tensor.dtype}")

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of the same shape from all processes, by rank."""
        return list(self.hvd.allgather(tensor.unsqueeze(0)).unbind(0))

    def barrier(self, name: str | None = None) -> None:
        """Wait for the other processes."""
        self.hvd.barrier()

    def reduce(self, tensor: Tensor, group: Group = None, reduce_op: ReduceOperation = "mean") -> Tensor:
        """A tensor reduced over all processes, in place: "mean", "avg", "sum", "min", "max", "product".

        Raises:
            ConfigurationError: another operation was asked for.
        """
        if not isinstance(tensor, Tensor):
            return tensor
        name = "sum" if reduce_op is None else str(reduce_op).rpartition(".")[2].lower()
        if name not in _OPERATIONS:
            raise ConfigurationError(f"Horovod cannot reduce with {reduce_op!r}. Use one of {', '.join(_OPERATIONS)}.")
        options = {} if group is None else {"process_set": group}
        scalar = tensor.ndim == 0
        values = tensor.reshape(1) if scalar else tensor
        values = self.hvd.allreduce(values, op=getattr(self.hvd, _OPERATIONS[name]), **options)
        tensor.copy_(values.reshape(tensor.shape))
        size = self.world_size if group is None else group.size()
        return divide_(tensor, size) if name in ("mean", "avg") else tensor

    def all_gather(self, tensor: Tensor, group: Group = None, sync_grads: bool = False) -> Tensor:
        """Tensors of all processes stacked along a new first dimension."""
        if sync_grads:
            gathered: Tensor = _Gather.apply(tensor, self)  # type: ignore[no-untyped-call]
            return gathered
        with torch.no_grad():
            return torch.stack(self.gather(tensor.contiguous()))


class _Gather(torch.autograd.Function):
    """Gathers; its gradient is the sum over all processes, as with torch (Horovod's own would be the mean)."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, strategy: HorovodStrategy) -> Tensor:
        ctx.strategy = strategy
        return torch.stack(strategy.gather(tensor.contiguous()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        strategy: HorovodStrategy = ctx.strategy
        return strategy.sum_(gradients[0].contiguous().clone())[strategy.global_rank], None
