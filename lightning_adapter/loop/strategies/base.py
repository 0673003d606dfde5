"""What does user code find at `trainer.strategy`, and what of it is there to do in a single process?"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.optim import Optimizer

from lightning_adapter.checkpoints import location
from lightning_adapter.checkpoints.file import save
from lightning_adapter.loop.precision import Precision, StepResult
from lightning_adapter.loop.strategies.gradient_exchange import GradientExchange
from lightning_adapter.versions import hosts, lightning_private
from lightning_adapter.versions.types import Batch, LRSchedulerConfig

T = TypeVar("T")

#: Some of the processes: torch's process group, or Horovod's process set.
Group: TypeAlias = Any

#: "mean" and "avg", or an operation of torch's ReduceOp, by name or as it is; None for a sum.
ReduceOperation: TypeAlias = str | dist.ReduceOp | None

#: `training_step` or `validation_step`, bound to its module.
Step: TypeAlias = Callable[..., Any]


class GradientSteps(Protocol):
    """Backward passes and optimizer steps with their hooks around them, for user code that asks for one."""

    def manual_backward(self, loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        """Differentiate the loss; further arguments go to `Tensor.backward`."""
        ...

    def step_optimizer(
        self, optimizer: Optimizer, closure: Callable[[], StepResult] | None, **kwargs: Any
    ) -> StepResult:
        """Step an optimizer; further arguments go to its `step`."""
        ...


class SingleDeviceStrategy(lightning_private.StrategyPrivates):
    """What user code finds at `trainer.strategy` in one process: nothing to exchange.

    The names are those of Lightning's Strategy that modules and callbacks use.

    Args:
        module: the LightningModule.
        device: where it trains.
        precision: the number format of the run.
        host: the Lightning package of the module.
        steps: what `manual_backward` and `LightningOptimizer.step` come to.
    """

    strategy_name = "single_device"
    handles_gradient_accumulation = False
    is_distributed = False
    restore_checkpoint_after_setup = False
    launcher = None
    world_size = 1
    global_rank = 0
    local_rank = 0
    node_rank = 0
    num_processes = 1
    num_nodes = 1

    def __init__(
        self,
        module: torch.nn.Module,
        device: torch.device,
        precision: Precision,
        host: hosts.Host,
        steps: GradientSteps,
    ) -> None:
        self.host = host
        self.lightning_module = module
        self.model: torch.nn.Module = module
        self.root_device = device
        self.precision_plugin = precision
        self.steps = steps
        self._optimizers: list[Optimizer] = []
        self.lightning_optimizers = []
        self._make_optimizers: Callable[[], None] | None = None

    # --- what user code reads and calls ---------------------------------------------------------------------------

    @property
    def optimizers(self) -> list[Optimizer]:
        """The user's optimizers."""
        return self._optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Optimizer]) -> None:
        # as Lightning's setter does: what `LightningModule.optimizers()` returns follows
        self._optimizers = optimizers
        self.lightning_optimizers = lightning_private.lightning_optimizers(self.host, optimizers, self)

    def optimizers_are_made_by(self, make: Callable[[], None]) -> None:
        """It is known how optimizers and schedulers are made, at first and whenever user code asks for it."""
        self._make_optimizers = make

    def setup_optimizers(self, trainer: object) -> None:
        """Ask `configure_optimizers` again, as modules do that have unfrozen parameters; what it returns is used from now on.

        Raises:
            RuntimeError: the run has not come to its optimizers yet.
        """
        if self._make_optimizers is None:
            raise RuntimeError(
                "strategy.setup_optimizers() was called before the run has made its optimizers. Call it in on_train_start() or"
                " later."
            )
        self._make_optimizers()

    @property
    def lr_scheduler_configs(self) -> list[LRSchedulerConfig]:
        """The schedulers' configurations."""
        configs: list[LRSchedulerConfig] = self._trainer().lr_scheduler_configs
        return configs

    @lr_scheduler_configs.setter
    def lr_scheduler_configs(self, configs: list[LRSchedulerConfig]) -> None:
        self._trainer().lr_scheduler_configs = configs

    def _trainer(self) -> Any:
        return self.lightning_module.trainer

    @property
    def accelerator(self) -> Any:
        """Lightning's object for the kind of device."""
        return lightning_private.accelerator(self.host, self.root_device)

    def setup_environment(self) -> None:
        """Nothing to do: Determined has started the processes."""

    def batch_to_device(self, batch: Batch, device: torch.device | None = None, dataloader_idx: int = 0) -> Batch:
        """A batch on the device, through the transfer hooks; user code that fetches batches itself comes here."""
        return lightning_private.transfer_batch(
            self.lightning_module, batch, self.root_device if device is None else device, dataloader_idx
        )

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state of an optimizer."""
        own: Any = lightning_private.unwrap_optimizer(optimizer)
        state: dict[str, Any] = own.state_dict()
        return state

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | os.PathLike[str], storage_options: object = None
    ) -> None:
        """Write a checkpoint file on the chief; its content is user code's, mostly what `dump_checkpoint` returned."""
        if self.is_global_zero:
            save(filepath, checkpoint)

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

    def broadcast(self, obj: T, src: int = 0) -> T:
        """The object of rank `src`."""
        return obj

    def reduce(self, tensor: Tensor, group: Group = None, reduce_op: ReduceOperation = "mean") -> Tensor:
        """A tensor reduced over all processes; what is no tensor is given back as it is."""
        return tensor

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """True if all processes (or any of them) say so."""
        return decision

    def all_gather(self, tensor: Tensor, group: Group = None, sync_grads: bool = False) -> Tensor:
        """Tensors of all processes stacked along a new first dimension; in one process the tensor itself."""
        return tensor

    def backward(self, loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        """Differentiate with the hooks around it; `LightningModule.manual_backward` comes here."""
        if self.host.quirks.numbers_optimizers:  # the index comes along, which the optimizer tells itself
            args = args[1:]
        return self.steps.manual_backward(loss, optimizer, *args, **kwargs)

    def optimizer_step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> StepResult:
        """Step an optimizer; `LightningOptimizer.step` comes here, in Lightning 1.x with the optimizer's index."""
        closure = kwargs.pop("closure", None)
        for argument in args:
            if callable(argument):
                closure = argument
        return self.steps.step_optimizer(optimizer, closure, **kwargs)

    def process_dataloader(self, loader: T) -> T:
        """The loader as this process iterates it."""
        return loader

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The module's parameters and buffers."""
        return self.lightning_module.state_dict()

    def remove_checkpoint(self, filepath: str | os.PathLike[str]) -> None:
        """Delete a file that a ModelCheckpoint wrote, here or at a URL."""
        if self.is_global_zero:
            location.remove(filepath)

    def block_backward_sync(self) -> AbstractContextManager[None]:
        """Differentiate without exchanging gradients, as Lightning does for a batch that only accumulates."""
        return nullcontext()

    # --- what the loop calls --------------------------------------------------------------------------------------

    def connect(self, automatic: bool, find_unused: bool) -> None:
        """Give all processes the parameters and buffers of rank 0, and see to it that gradients are exchanged.

        Args:
            automatic: one optimizer at most is stepped by the loop, once for each backward.
            find_unused: the loss need not depend on every parameter.
        """

    def disconnect(self) -> None:
        """Leave the module as it was: what it computes later is of one process."""

    def wrap_step(self, name: str, function: Step) -> Step:
        """`training_step` or `validation_step`, which `name` says, as this strategy runs it."""
        return function

    def gradient_exchange(self) -> GradientExchange | None:
        """What differentiates and averages; None where nobody waits for gradients, or a wrapper sends them."""
        return None

    def any_rank(self, *flags: bool) -> list[bool]:
        """For each flag, whether any process has it set."""
        return list(flags)

    def check_lengths(self, batches: float) -> None:
        """Compare the number of training batches over all processes.

        Raises:
            ConfigurationError: they differ, and one process would wait for the others.
        """

    def check_parameters(self, batches: int) -> None:
        """Compare the parameters over all processes, bit for bit.

        Args:
            batches: batches trained so far, for the message.

        Raises:
            RanksDriftedError: names the parameters that differ, and on which ranks.
        """

    def broadcast_buffers(self) -> None:
        """Give all processes the buffers of rank 0: running means are those of each process's own batches."""

    def attach_metrics(self) -> None:
        """Let the torchmetrics objects of the module gather their states over all processes."""
