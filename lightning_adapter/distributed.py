"""How do the processes of one run exchange what they hold: gradients, metrics, decisions?"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lightning_adapter import compat
from lightning_adapter.precision import Precision


class SingleProcess:
    """What user code finds at `trainer.strategy` in one process: nothing to exchange.

    The names are those of Lightning's Strategy that modules and callbacks use.
    """

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

    def __init__(self, module: Any, device: torch.device, precision: Precision, host: compat.Host) -> None:
        self.host = host
        self.lightning_module = module
        self.model = module
        self.root_device = device
        self.precision_plugin = precision
        self._optimizers: list[Any] = []
        self._lightning_optimizers: list[Any] = []
        self.step_optimizer: Callable[..., Any] | None = None
        self.run_backward: Callable[..., Any] | None = None

    @property
    def optimizers(self) -> list[Any]:
        """The user's optimizers."""
        return self._optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Any]) -> None:
        self._optimizers = optimizers
        self._lightning_optimizers = compat.lightning_optimizers(self.host, optimizers, self)

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

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:  # noqa: A002 - Lightning's name
        """True if all processes (or any of them) say so."""
        return decision

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Tensors of all processes stacked along a new first dimension; in one process the tensor itself."""
        return tensor

    def backward(self, loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Differentiate with the hooks around it; `LightningModule.manual_backward` comes here."""
        assert self.run_backward is not None
        return self.run_backward(loss, optimizer, *args, **kwargs)

    def optimizer_step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Step an optimizer; `LightningOptimizer.step` comes here, in Lightning 1.x with the optimizer's index."""
        assert self.step_optimizer is not None
        closure = kwargs.pop("closure", None)
        for argument in args:
            if callable(argument):
                closure = argument
        return self.step_optimizer(optimizer, closure, **kwargs)

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
