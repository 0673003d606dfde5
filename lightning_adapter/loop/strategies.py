"""How do the processes of one run exchange what they hold: gradients, metrics, decisions?"""

from __future__ import annotations

import atexit
import importlib
import logging
import math
import os
import pathlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from determined.core import DistributedContext
from lightning_utilities.core.rank_zero import rank_zero_only
from torch import Tensor
from torch import distributed as dist
from torch.distributed.nn.functional import all_gather as differentiable_all_gather
from torch.nn.parallel import DistributedDataParallel
from torchmetrics import Metric
from torchmetrics.metric import jit_distributed_available

from lightning_adapter.errors import ConfigurationError, RanksDriftedError
from lightning_adapter.loop.precision import Precision
from lightning_adapter.versions import determined_private, hosts, lightning_private

logger = logging.getLogger("lightning_adapter")


class SingleProcess(lightning_private.StrategyPrivates):
    """What user code finds at `trainer.strategy` in one process: nothing to exchange.

    The names are those of Lightning's Strategy that modules and callbacks use.
    """

    handles_gradient_accumulation = False
    is_distributed = False
    exchanges = False
    restore_checkpoint_after_setup = False
    launcher = None
    world_size = 1
    global_rank = 0
    local_rank = 0
    node_rank = 0
    num_processes = 1
    num_nodes = 1

    def __init__(self, module: Any, device: torch.device, precision: Precision, host: hosts.Host) -> None:
        self.host = host
        self.lightning_module = module
        self.model = module
        self.root_device = device
        self.precision_plugin = precision
        self._optimizers: list[Any] = []
        self.lightning_optimizers: Any = []
        self.step_optimizer: Callable[..., Any] | None = None
        self.run_backward: Callable[..., Any] | None = None

    @property
    def optimizers(self) -> list[Any]:
        """The user's optimizers."""
        return self._optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Any]) -> None:
        self._optimizers = optimizers
        self.lightning_optimizers = lightning_private.lightning_optimizers(self.host, optimizers, self)

    @property
    def is_global_zero(self) -> bool:
        """True on the chief."""
        return self.global_rank == 0

    @property
    def precision(self) -> Precision:
        """Lightning's older name of `precision_plugin`."""
        return self.precision_plugin

    def barrier(self, name: str | None = None) -> None:
        """Wait for the other processes."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """The object of rank `src`."""
        return obj

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """A tensor reduced over all processes."""
        return tensor

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """True if all processes (or any of them) say so."""
        return decision

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Tensors of all processes stacked along a new first dimension; in one process the tensor itself."""
        return tensor

    def backward(self, loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Differentiate with the hooks around it; `LightningModule.manual_backward` comes here."""
        assert self.run_backward is not None
        if self.host.legacy:  # the index of the optimizer, which the optimizer tells itself
            args = args[1:]
        return self.run_backward(loss, optimizer, *args, **kwargs)

    def optimizer_step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Step an optimizer; `LightningOptimizer.step` comes here, in Lightning 1.x with the optimizer's index."""
        assert self.step_optimizer is not None
        closure = kwargs.pop("closure", None)
        for argument in args:
            if callable(argument):
                closure = argument
        return self.step_optimizer(optimizer, closure, **kwargs)

    def connect(self, automatic: bool, find_unused: bool) -> None:
        """Nobody to exchange gradients with."""

    def step(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`training_step` or `validation_step` as it is run."""
        return function

    def check_parameters(self, batches: int) -> None:
        """One process cannot drift from itself."""

    def disconnect(self) -> None:
        """Leave the module as it was."""

    def process_dataloader(self, loader: Any) -> Any:
        """The loader as this process iterates it."""
        return loader

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The module's parameters and buffers."""
        state: dict[str, Any] = self.lightning_module.state_dict()
        return state

    def remove_checkpoint(self, filepath: Any) -> None:
        """Delete a file that a ModelCheckpoint wrote."""
        if self.is_global_zero:
            pathlib.Path(filepath).unlink(missing_ok=True)

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Differentiate without exchanging gradients."""
        yield


# --- several processes ------------------------------------------------------------------------------------------------

#: Bytes of gradients or parameters that travel together: few messages, and no second copy of a large model.
_BUNDLE_BYTES = 32 * 2**20


def bundles(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type and device, in order, in portions that travel together."""
    open_bundles: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    sizes: dict[tuple[torch.dtype, torch.device], int] = {}
    for tensor in tensors:
        key = (tensor.dtype, tensor.device)
        bundle = open_bundles.setdefault(key, [])
        bundle.append(tensor)
        sizes[key] = sizes.get(key, 0) + tensor.numel() * tensor.element_size()
        if sizes[key] >= _BUNDLE_BYTES:
            yield open_bundles.pop(key)
            del sizes[key]
    yield from open_bundles.values()


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


class Processes(SingleProcess, ABC):
    """What all backends share: ranks, decisions, and the exchange of gradients where no wrapper does it.

    Gradients are exchanged right after backward, before anybody can read them: the mean over all processes, of every
    parameter that requires a gradient. Each message has the same layout on all ranks; a parameter that got no gradient
    here travels as zeros with a mark, so that branches that differ between ranks cannot mix up messages.
    """

    handles_gradient_accumulation = False
    is_distributed = True

    def __init__(
        self,
        module: Any,
        device: torch.device,
        precision: Precision,
        host: hosts.Host,
        context: DistributedContext,
    ) -> None:
        super().__init__(module, device, precision, host)
        self.control = context
        self.world_size = context.size
        self.global_rank = context.rank
        self.local_rank = context.local_rank
        self.node_rank = context.cross_rank
        self.num_processes = context.local_size
        self.num_nodes = context.cross_size
        self.exchanges = True
        self._blocked = False
        self._parameters: list[Tensor] = []

    # what a backend brings: sums in place, copies from one rank to all, tensors of equal size from all ranks

    @abstractmethod
    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""

    @abstractmethod
    def mean_gradients_(self, tensor: Tensor) -> Tensor:
        """Average gradients over all processes, in place or not."""

    @abstractmethod
    def broadcast_(self, tensor: Tensor) -> None:
        """Overwrite a tensor with that of rank 0."""

    @abstractmethod
    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of the same shape from all processes, by rank."""

    # --- what user code calls -------------------------------------------------------------------------------------

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """The object of rank `src`."""
        if src == 0:
            return self.control.broadcast(obj)
        return self.control.allgather(obj if self.global_rank == src else None)[src]

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """True if all processes (or any of them) say so."""
        decisions = self.control.allgather(bool(decision))
        return decisions.count(True) == len(decisions) if all else True in decisions

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Differentiate without exchanging gradients: the batch only accumulates."""
        before, self._blocked = self._blocked, True
        try:
            yield
        finally:
            self._blocked = before

    # --- decisions ------------------------------------------------------------------------------------------------

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether any process has it set."""
        return [True in column for column in zip(*self.control.allgather(flags), strict=True)]

    def check_lengths(self, batches: float) -> None:
        """Compare the number of training batches over all processes.

        Raises:
            ConfigurationError: they differ, and one process would wait for the others.
        """
        lengths = self.control.allgather(batches)
        if any(length != lengths[0] for length in lengths):
            each = ", ".join(f"{length:g} on rank {rank}" for rank, length in enumerate(lengths))
            finite = [length for length in lengths if length != float("inf")]
            raise ConfigurationError(
                f"The processes have different numbers of training batches: {each}. They exchange gradients after each "
                "batch, so the shortest would keep the others waiting. Shard the loader evenly, leave that to the adapter with "
                f"use_distributed_sampler=True, or set limit_train_batches={min(finite):g}."
            )

    # --- the module -----------------------------------------------------------------------------------------------

    def connect(self, automatic: bool, find_unused: bool) -> None:
        """Give all processes the parameters and buffers of rank 0, and see to it that gradients are exchanged.

        Args:
            automatic: a single optimizer is stepped by the adapter, once for each backward.
            find_unused: the loss need not depend on every parameter.
        """
        module = self.lightning_module
        self._parameters = list(module.parameters())
        self._broadcast_all([*(p.detach() for p in self._parameters), *module.buffers()])

    def step(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`training_step` as this backend runs it; validation needs no exchange."""
        buffers = list(self.lightning_module.buffers()) if name == "training_step" else []
        if not buffers:
            return function

        def step(*args: Any) -> Any:
            self._broadcast_all(buffers)
            return function(*args)

        return step

    def equal_buffers(self) -> None:
        """Give all processes the buffers of rank 0: running means are those of each process's own batches."""
        self._broadcast_all(list(self.lightning_module.buffers()))

    def _broadcast_all(self, tensors: list[Tensor]) -> None:
        with torch.no_grad():
            for bundle in bundles(tensors):
                flat = _flat(bundle)
                self.broadcast_(flat)
                for tensor, part in zip(bundle, flat.split([t.numel() for t in bundle]), strict=True):
                    tensor.copy_(part.view_as(tensor))

    # --- gradients ------------------------------------------------------------------------------------------------

    def exchange_gradients(self) -> None:
        """Average the gradients over all processes; the adapter calls it after each backward."""
        if self._blocked:
            return
        with torch.no_grad():
            for bundle in bundles([p for p in self._parameters if p.requires_grad]):
                self._exchange(bundle)

    def _exchange(self, parameters: list[Tensor]) -> None:
        gradients = [p.grad for p in parameters]
        if any(g is not None and g.is_sparse for g in gradients):
            raise ConfigurationError(
                "A parameter has a sparse gradient (torch.nn.Embedding(sparse=True)), which this exchange of gradients does "
                "not carry. Set sparse=False, or train with strategy='ddp' and automatic optimization with one optimizer."
            )
        complete = all(g is not None for g in gradients)
        # filled on the device where nothing is missing, since a copy to it would wait
        marks = torch.ones(len(parameters), dtype=parameters[0].dtype, device=parameters[0].device)
        if not complete:
            marks.copy_(torch.tensor([float(gradient is not None) for gradient in gradients]))
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
        flat = self.mean_gradients_(_flat([*parts, marks]))
        *means, marks = flat.split([*(p.numel() for p in parameters), len(parameters)])
        present = [1.0] * len(parameters) if complete else marks.tolist()
        for parameter, gradient, mean, mark in zip(parameters, gradients, means, present, strict=True):
            if gradient is not None:
                gradient.copy_(mean.view_as(gradient))
            elif mark:
                parameter.grad = mean.view_as(parameter).clone()

    # --- metrics --------------------------------------------------------------------------------------------------

    def reduce_metric(self, value: Tensor, group: Any, operation: str) -> Tensor:
        """What `self.log` reduces with."""
        reduced: Tensor = self.reduce(value, group, operation)
        return reduced

    def gather_states(self, tensor: Tensor, group: Any = None) -> list[Tensor]:
        """Tensors of any shapes from all processes, for torchmetrics: a process may have seen no sample at all."""
        shapes = self.control.allgather((tuple(tensor.shape), tensor.dtype))
        dtype = next((kind for shape, kind in shapes if 0 not in shape), tensor.dtype)
        sizes = [math.prod(shape) for shape, _ in shapes]
        padded = torch.zeros(max(*sizes, 1), dtype=dtype, device=tensor.device)
        padded[: tensor.numel()] = tensor.detach().reshape(-1).to(dtype)
        like = next((shape for shape, _ in shapes if 0 not in shape), tuple(tensor.shape))
        gathered = []
        for (shape, _), size, values in zip(shapes, sizes, self.gather(padded), strict=True):
            empty = (0, *like[1:]) if size == 0 and like else shape
            gathered.append(values[:size].reshape(shape if size else empty))
        return gathered

    def attach_metrics(self) -> None:
        """Let the torchmetrics objects of the module gather their states over all processes."""
        for child in self.lightning_module.modules():
            if isinstance(child, Metric) and child.dist_sync_fn is None:
                child.dist_sync_fn = self.gather_states
                child.distributed_available_fn = lambda: True

    def disconnect(self) -> None:
        """Leave the module as it was: what it computes later is of one process."""
        self.model = self.lightning_module
        for child in self.lightning_module.modules():
            if isinstance(child, Metric) and child.dist_sync_fn == self.gather_states:
                child.dist_sync_fn = None
                child.distributed_available_fn = jit_distributed_available

    # --- the guard ------------------------------------------------------------------------------------------------

    def check_parameters(self, batches: int) -> None:
        """Compare a checksum of each parameter over all processes.

        Args:
            batches: batches trained so far, for the message.

        Raises:
            RanksDriftedError: names the parameters that differ, and on which ranks.
        """
        named = list(self.lightning_module.named_parameters())
        if not named:
            return
        with torch.no_grad():
            sums = torch.stack([_checksum(parameter) for _, parameter in named])
            ranks = torch.stack(self.gather(sums)).cpu()
        different = ranks != ranks[0]
        drifted = [
            f"- {name} on rank {', '.join(str(rank) for rank in different[:, index].nonzero().flatten().tolist())}"
            for index, (name, _) in enumerate(named)
            if different[:, index].any()
        ]
        if drifted:
            raise RanksDriftedError(
                f"After {batches} batches the processes no longer hold the same parameters. Different from rank 0's are:\n"
                + "\n".join(drifted)
                + "\nGradients that the module computes with loss.backward() instead of self.manual_backward(loss), "
                "parameters changed by hand, and branches on the rank are the usual causes. The last checkpoint was written "
                "while they were still equal; check_ranks_every=Batch(n) finds the batch."
            )


def _checksum(parameter: Tensor) -> Tensor:
    """A sum over the bits of a tensor, the same in any order of addition."""
    real = torch.view_as_real(parameter) if parameter.is_complex() else parameter
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[real.element_size()]
    return real.detach().contiguous().view(-1).view(bits).sum(dtype=torch.int64)


class TorchProcesses(Processes):
    """Processes of `torch.distributed`.

    Under automatic optimization with one optimizer the step runs inside the forward of DistributedDataParallel, as in
    Lightning, and gradients travel while backward still runs. In every other case (manual optimization, several
    optimizers) a reducer would be armed at the wrong moments; there the exchange of `Processes` follows each backward.
    """

    def connect(self, automatic: bool, find_unused: bool) -> None:
        """Wrap the module where a wrapper can do the exchange."""
        module = self.lightning_module
        if not automatic or not any(p.requires_grad for p in module.parameters()):
            super().connect(automatic, find_unused)
            return
        on_device = self.root_device.type != "cpu"
        stream = torch.cuda.stream(torch.cuda.Stream()) if self.root_device.type == "cuda" else nullcontext()
        with stream:
            self.model = DistributedDataParallel(
                module,
                device_ids=[self.root_device.index] if on_device else None,
                find_unused_parameters=find_unused,
            )
        self.exchanges = False

    def step(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`training_step` inside the wrapper's forward, so that the wrapper sees the backward that follows."""
        if self.exchanges or name != "training_step":
            return super().step(name, function)
        wrapper, attributes = self.model, vars(self.lightning_module)
        absent = object()

        def step(*args: Any) -> Any:
            own = attributes.get("forward", absent)

            def put_back() -> None:
                if own is absent:
                    attributes.pop("forward", None)
                else:
                    attributes["forward"] = own

            def inside(*inputs: Any) -> Any:
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

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Differentiate without exchanging gradients."""
        if self.exchanges:
            with super().block_backward_sync():
                yield
        else:
            with self.model.no_sync():
                yield

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""
        dist.all_reduce(tensor)
        return tensor

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

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """A tensor reduced over all processes, in place; "mean" and "avg", or any operation of torch's ReduceOp."""
        if not isinstance(tensor, Tensor):
            return tensor
        if not isinstance(reduce_op, str):
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM if reduce_op is None else reduce_op, group=group)
            return tensor
        mean = reduce_op.lower() in ("mean", "avg")
        dist.all_reduce(
            tensor, op=dist.ReduceOp.SUM if mean else getattr(dist.ReduceOp, reduce_op.upper()), group=group
        )
        return _divide_(tensor, dist.get_world_size(group)) if mean else tensor

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Tensors of all processes stacked along a new first dimension."""
        with nullcontext() if sync_grads else torch.no_grad():
            return torch.stack(differentiable_all_gather(tensor.contiguous(), group))


class HorovodProcesses(Processes):
    """Processes of Horovod; a process set stands where torch has a group."""

    def __init__(self, *args: Any, fp16_compression: bool = False) -> None:
        super().__init__(*args)
        self.hvd = horovod_module()
        self.fp16_compression = fp16_compression

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""
        return self.hvd.allreduce_(tensor, op=self.hvd.Sum)  # type: ignore[no-any-return]

    def mean_gradients_(self, tensor: Tensor) -> Tensor:
        """Average gradients; with `fp16_compression` they travel in half precision."""
        if self.fp16_compression and tensor.dtype in (torch.float32, torch.float64):
            return self.hvd.allreduce_(tensor.half(), op=self.hvd.Average).to(tensor.dtype)  # type: ignore[no-any-return]
        return self.hvd.allreduce_(tensor, op=self.hvd.Average)  # type: ignore[no-any-return]

    def broadcast_(self, tensor: Tensor) -> None:
        """Overwrite a tensor with that of rank 0."""
        self.hvd.broadcast_(tensor, 0)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of the same shape from all processes, by rank."""
        return list(self.hvd.allgather(tensor.unsqueeze(0)).unbind(0))

    def barrier(self, name: str | None = None) -> None:
        """Wait for the other processes."""
        self.hvd.barrier()

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """A tensor reduced over all processes, in place: "mean", "avg", "sum", "min", "max", "product"."""
        if not isinstance(tensor, Tensor):
            return tensor
        name = "sum" if reduce_op is None else str(reduce_op).rpartition(".")[2].lower()
        operations = {"sum": "Sum", "mean": "Sum", "avg": "Sum", "min": "Min", "max": "Max", "product": "Product"}
        if name not in operations:
            raise ConfigurationError(f"Horovod cannot reduce with {reduce_op!r}. Use one of {', '.join(operations)}.")
        options = {} if group is None else {"process_set": group}
        scalar = tensor.ndim == 0
        values = tensor.reshape(1) if scalar else tensor
        values = self.hvd.allreduce(values, op=getattr(self.hvd, operations[name]), **options)
        tensor.copy_(values.reshape(tensor.shape))
        size = self.world_size if group is None else group.size()
        return _divide_(tensor, size) if name in ("mean", "avg") else tensor

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Tensors of all processes stacked along a new first dimension."""
        if sync_grads:
            return _HorovodGather.apply(tensor, self)  # type: ignore[no-any-return, no-untyped-call]
        with torch.no_grad():
            return torch.stack(self.gather(tensor.contiguous()))


class _HorovodGather(torch.autograd.Function):
    """Gathers; its gradient is the sum over all processes, as with torch (Horovod's own would be the mean)."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, processes: HorovodProcesses) -> Tensor:
        ctx.processes = processes
        return torch.stack(processes.gather(tensor.contiguous()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return ctx.processes.sum_(gradients[0].contiguous().clone())[ctx.processes.global_rank], None


def _divide_(tensor: Tensor, count: int) -> Tensor:
    return tensor.div_(count) if torch.is_floating_point(tensor) else tensor.copy_(tensor / count)


def strategy_of(
    name: str,
    module: Any,
    device: torch.device,
    precision: Precision,
    host: hosts.Host,
    context: Any,
    fp16_compression: bool,
    sync_batchnorm: bool,
) -> SingleProcess:
    """How the processes of this run exchange what they hold.

    Args:
        name: the argument `strategy`.
        context: Determined's distributed context.

    Raises:
        ConfigurationError: the job was started for another strategy than the one asked for.
    """
    if context.size == 1:
        return SingleProcess(module, device, precision, host)
    horovod = bool(os.environ.get(determined_private.HOROVOD_VARIABLE))
    faults = []
    if name == "horovod" and not horovod:
        faults.append(
            f"strategy='horovod' was asked for, but these {context.size} processes were not started by horovodrun. Start "
            "them with horovodrun (on a cluster: python3 -m determined.launch.horovod -- ...), or use strategy='auto'."
        )
    if name.startswith("ddp") and horovod:
        faults.append(
            f"strategy={name!r} was asked for, but these {context.size} processes were started by horovodrun. Start them "
            "with torchrun (on a cluster: python3 -m determined.launch.torch_distributed -- ...), or use strategy='auto'."
        )
    if fp16_compression and not horovod:
        faults.append(
            "fp16_compression=True is Horovod's compression of gradients, and this job runs torch DDP. Leave it out."
        )
    if sync_batchnorm and (horovod or device.type == "cpu"):
        where = "Horovod" if horovod else "CPU processes"
        faults.append(
            "sync_batchnorm=True needs torch DDP on CUDA devices, since torch's SyncBatchNorm has nothing else; this job has "
            f"{where}. Leave it out."
        )
    if faults:
        raise ConfigurationError("\n".join(faults))
    if horovod:
        return HorovodProcesses(module, device, precision, host, context, fp16_compression=fp16_compression)
    return TorchProcesses(module, device, precision, host, context)


# --- joining a job ----------------------------------------------------------------------------------------------------

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


def launcher() -> str | None:
    """Who started this process as one of several: "torch", "horovod", or None.

    Raises:
        ConfigurationError: the environment speaks of several processes but lacks what is needed to find them.
    """
    variables = os.environ
    if variables.get(determined_private.HOROVOD_VARIABLE) or int(variables.get("HOROVOD_SIZE", "1")) > 1:
        return "horovod"
    if variables.get(determined_private.TORCH_VARIABLE):
        return "torch"
    size = variables.get("WORLD_SIZE", "1")
    if not size.isdigit() or int(size) < 2:
        return None
    missing = [name for name in _TORCHRUN if name not in variables]
    if missing:
        raise ConfigurationError(
            f"WORLD_SIZE={size} says that this is one of {size} processes, but {', '.join(missing)} is not set. Start them "
            "with torchrun or horovodrun, or unset WORLD_SIZE to train in a single process."
        )
    return "torch"


def horovod_module() -> Any:
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


@contextmanager
def joined(managed: bool) -> Iterator[DistributedContext | None]:
    """Join the job that this process is part of, for the time of one `fit`.

    Args:
        managed: Determined's own `pytorch.init` makes the context; only what it reads is prepared.

    Yields:
        Determined's distributed context; None for a single process, and where Determined makes it.
    """
    backend = launcher()
    if backend is None:
        yield None
        return
    variable = determined_private.HOROVOD_VARIABLE if backend == "horovod" else determined_private.TORCH_VARIABLE
    before = os.environ.get(variable)
    os.environ[variable] = before or "1"
    try:
        if backend == "horovod":
            horovod_module()
            determined_private.require_horovod().init()
        # Lightning reads torchrun's variables alone, and at its import
        rank_zero_only.rank = rank = _rank(backend)  # type: ignore[attr-defined]
        with _chief_alone_tells(rank):
            yield None if managed else _context(backend)
    except Exception as error:
        size = os.environ.get("HOROVOD_SIZE" if backend == "horovod" else "WORLD_SIZE", "?")
        logger.error("rank %d of %s failed: %s: %s", _rank(backend), size, type(error).__name__, error)
        raise
    finally:
        if before is None:
            del os.environ[variable]


@contextmanager
def _chief_alone_tells(rank: int) -> Iterator[None]:
    """What the other processes have to say is what the chief says, errors excepted."""
    loggers = [logging.getLogger(name) for name in ("lightning_adapter", "determined")] if rank else []
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _rank(backend: str) -> int:
    return int(os.environ["RANK"]) if backend == "torch" else int(determined_private.require_horovod().rank())


def _context(backend: str) -> DistributedContext | None:
    """A context of Determined's on ports that are free, so that several jobs fit on one machine."""
    if backend == "horovod":
        hvd = determined_private.require_horovod()
        if hvd.size() == 1:
            return None
        ranks = [hvd.rank(), hvd.size(), hvd.local_rank(), hvd.local_size(), hvd.cross_rank(), hvd.cross_size()]
        address = os.environ.get("HOROVOD_HOSTNAME") or socket.gethostname()
        address, ports = hvd.broadcast_object((address, _free_ports() if hvd.rank() == 0 else []), root_rank=0)
    else:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
        ranks = [int(os.environ[name]) for name in names]
        if ranks[1] == 1:
            return None
        ranks.append(int(os.environ.get("GROUP_WORLD_SIZE", ranks[1] // ranks[3])))
        _check_devices(ranks[3])
        if not dist.is_initialized():
            _init_process_group(ranks[2])
        found: list[Any] = [_free_ports() if ranks[0] == 0 else None]
        dist.broadcast_object_list(found, 0)
        address, ports = os.environ["MASTER_ADDR"], found[0]
    return DistributedContext(
        rank=ranks[0],
        size=ranks[1],
        local_rank=ranks[2],
        local_size=ranks[3],
        cross_rank=ranks[4],
        cross_size=ranks[5],
        chief_ip=os.environ.get("DET_CHIEF_IP") or address,
        pub_port=ports[0],
        pull_port=ports[1],
    )


def _check_devices(processes: int) -> None:
    devices = torch.cuda.device_count()
    if 0 < devices < processes:
        raise ConfigurationError(
            f"This node has {processes} processes and {devices} CUDA device(s); each process needs one of its own. Start "
            f"{devices} process(es) per node (torchrun --nproc_per_node {devices}), or set CUDA_VISIBLE_DEVICES= to train on CPU."
        )


def _init_process_group(local_rank: int) -> None:
    if not torch.cuda.is_available():
        dist.init_process_group("gloo")
        return
    torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl", device_id=torch.device("cuda", local_rank))
    atexit.register(dist.destroy_process_group)


def _free_ports() -> list[int]:
    """Two ports that nobody listens on."""
    with socket.socket() as first, socket.socket() as second:
        for found in (first, second):
            found.bind(("", 0))
        return [first.getsockname()[1], second.getsockname()[1]]
