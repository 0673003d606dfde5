"""How do processes of `torch.distributed` exchange what they hold?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.nn.functional import all_gather as differentiable_all_gather
from torch.nn.parallel import DistributedDataParallel

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.strategies.base import Group, ReduceOperation, Step
from lightning_adapter.loop.strategies.distributed import DistributedStrategy, divide_
from lightning_adapter.loop.strategies.gradient_exchange import ExchangeAfterBackward, GradientExchange


class DDPStrategy(DistributedStrategy):
    """Processes of `torch.distributed`.

    Under automatic optimization with one optimizer the step runs inside the forward of DistributedDataParallel, as in
    Lightning, and gradients travel while backward still runs. In every other case (manual optimization, several
    optimizers) a reducer would be armed at the wrong moments; there an exchange follows each backward.
    """

    strategy_name = "ddp"

    def connect(self, automatic: bool, find_unused: bool) -> None:
        """Wrap the module where a wrapper can do the exchange.

        Args:
            automatic: one optimizer at most is stepped by the loop, once for each backward.
            find_unused: the loss need not depend on every parameter.
        """
        module = self.lightning_module
        # the wrapper refuses a module in which nothing requires a gradient
        if not automatic or not any(p.requires_grad for p in module.parameters()):
            super().connect(automatic, find_unused)
            return
        on_device = self.root_device.type != "cpu"
        # on a stream of its own, as Lightning's `DDPStrategy._setup_model` does: the wrapper's own copies are made there
        stream = torch.cuda.stream(torch.cuda.Stream()) if on_device else nullcontext()
        with stream:
            self.model = DistributedDataParallel(
                module,
                device_ids=[self.root_device.index] if on_device else None,
                find_unused_parameters=find_unused,
            )

    def _wrapper(self) -> DistributedDataParallel | None:
        return self.model if isinstance(self.model, DistributedDataParallel) else None

    def wrap_step(self, name: str, function: Step) -> Step:
        """`training_step` inside the wrapper's forward, so that the wrapper sees the backward that follows."""
        wrapper = self._wrapper()
        if wrapper is None or name != "training_step":
            return super().wrap_step(name, function)
        return _through_forward(wrapper, self.lightning_module, function)

    def block_backward_sync(self) -> AbstractContextManager[None]:
        """Differentiate without exchanging gradients: the batch only accumulates."""
        wrapper = self._wrapper()
        return super().block_backward_sync() if wrapper is None else wrapper.no_sync()

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""
        dist.all_reduce(tensor)
        return tensor

    def exchange_of(self, parameters: Sequence[Tensor]) -> GradientExchange:
        """What averages the gradients of these parameters over all processes."""
        return ExchangeAfterBackward(parameters, self.mean_gradients_)

    def mean_gradients_(self, tensor: Tensor) -> Tensor:
        """Average gradients in the arithmetic of DistributedDataParallel: divided first, then added up."""
        tensor.mul_(1.0 / self.world_size)
        return self.sum_(tensor)

    def broadcast_(self, tensor: Tensor) -> None:
        """Overwrite a tensor with that of rank 0."""
        dist.broadcast(tensor, 0)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of the same shape from all processes, by rank."""
        gathered = [torch.empty_like(tensor) for _ in range(self.world_size)]
        dist.all_gather(gathered, tensor)
        return gathered

    def barrier(self, name: str | None = None) -> None:
        """Wait for the other processes."""
        if dist.get_backend() == "nccl":
            dist.barrier(device_ids=[self.root_device.index])
        else:
            dist.barrier()

    def reduce(self, tensor: Tensor, group: Group = None, reduce_op: ReduceOperation = "mean") -> Tensor:
        """A tensor reduced over all processes, in place; "mean" and "avg", or any operation of torch's ReduceOp."""
        if not isinstance(tensor, Tensor):
            return tensor
        if not isinstance(reduce_op, str):
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM if reduce_op is None else reduce_op, group=group)
            return tensor
        # a sum that is divided, as Lightning's `_sync_ddp` does for gloo, which has no mean
        mean = reduce_op.lower() in ("mean", "avg")
        dist.all_reduce(
            tensor, op=dist.ReduceOp.SUM if mean else getattr(dist.ReduceOp, reduce_op.upper()), group=group
        )
        return divide_(tensor, dist.get_world_size(group)) if mean else tensor

    def all_gather(self, tensor: Tensor, group: Group = None, sync_grads: bool = False) -> Tensor:
        """Tensors of all processes stacked along a new first dimension."""
        with nullcontext() if sync_grads else torch.no_grad():
            gathered: tuple[Tensor, ...] = differentiable_all_gather(tensor.contiguous(), group)
            return torch.stack(gathered)


def _through_forward(wrapper: DistributedDataParallel, module: torch.nn.Module, function: Step) -> Step:
    """A step that goes through the wrapper's forward, as Lightning's `_ForwardRedirection` lets it.

    The module's `forward` is the step for as long as it takes to get there. What stood on the instance before, if anything
    did, is put back before the step begins, and also where the wrapper fails on its way.
    """
    attributes = vars(module)
    absent = object()

    def step(*args: object) -> object:
        own = attributes.get("forward", absent)

        def put_back() -> None:
            if own is absent:
                attributes.pop("forward", None)
            else:
                attributes["forward"] = own

        def inside(*inputs: object) -> object:
            put_back()  # the step itself calls the real one
            return function(*inputs)

        attributes["forward"] = inside
        try:
            return wrapper(*args)
        except RuntimeError as error:
            if "Expected to have finished reduction in the prior iteration" not in str(error):
                raise
            raise ConfigurationError(
                "The loss of the previous batch did not depend on all parameters of the module, and DDP waits for the "
                "gradients of all of them. If that is intended, set strategy='ddp_find_unused_parameters_true'; "
                f"otherwise remove the unused parameters or freeze them with requires_grad_(False). {error}"
            ) from error
        finally:
            put_back()

    return step
