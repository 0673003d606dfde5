"""What does user code find at `self.trainer` about processes, devices, precision and optimizers?"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch.optim import Optimizer

from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.hosts import Host


class Precision(Protocol):
    """What the trainer shows of the number format."""

    precision: str
    scaler: Any


class Strategy(Protocol):
    """What the trainer shows of the strategy."""

    model: torch.nn.Module
    optimizers: list[Optimizer]
    precision_plugin: Any
    root_device: torch.device
    world_size: int
    global_rank: int
    local_rank: int
    node_rank: int
    num_processes: int
    num_nodes: int

    @property
    def is_global_zero(self) -> bool:
        """True on the chief."""


class StrategyView:
    """The strategy's facts under the names that Lightning's Trainer has for them.

    Args:
        host: the Lightning package.
        strategy: of the run.

    Attributes:
        strategy: what user code finds at `trainer.strategy`.
    """

    def __init__(self, host: Host, strategy: Strategy) -> None:
        self.host = host
        self.strategy = strategy

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return int(self.strategy.world_size)

    @property
    def global_rank(self) -> int:
        """This process among all."""
        return int(self.strategy.global_rank)

    @property
    def local_rank(self) -> int:
        """This process among those of its node."""
        return int(self.strategy.local_rank)

    @property
    def node_rank(self) -> int:
        """This node among all."""
        return int(self.strategy.node_rank)

    @property
    def num_devices(self) -> int:
        """Devices per node."""
        return int(self.strategy.num_processes)

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return int(self.strategy.num_nodes)

    @property
    def device_ids(self) -> list[int]:
        """Indices of this node's devices."""
        return list(range(self.num_devices))

    @property
    def is_global_zero(self) -> bool:
        """True on the chief."""
        return bool(self.strategy.is_global_zero)

    @property
    def precision(self) -> Any:
        """Lightning's name of the number format."""
        return lightning_private.precision_name(self.host, self.strategy.precision_plugin.precision)

    @property
    def accelerator(self) -> Any:
        """Lightning's object for the kind of device."""
        return lightning_private.accelerator(self.host, self.strategy.root_device)

    @property
    def precision_plugin(self) -> Any:
        """The number format's object."""
        return lightning_private.as_precision_plugin(self.host, self.strategy.precision_plugin)

    @property
    def scaler(self) -> Any:
        """The GradScaler of "16-mixed", else None."""
        return self.strategy.precision_plugin.scaler

    @property
    def model(self) -> torch.nn.Module:
        """The module, wrapped where several processes exchange gradients through a wrapper."""
        return self.strategy.model

    @property
    def optimizers(self) -> list[Optimizer]:
        """The user's optimizers."""
        return self.strategy.optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Optimizer]) -> None:
        self.strategy.optimizers = optimizers

    @property
    def distributed_sampler_kwargs(self) -> dict[str, int] | None:
        """What a DistributedSampler needs here; None in one process."""
        if self.world_size == 1:
            return None
        return {"num_replicas": self.world_size, "rank": self.global_rank}
