"""Which strategy does this job need, and was it started for the one that was asked for?"""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from determined.core import DistributedContext

from lightning_adapter.arguments import Arguments
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.precision import Precision
from lightning_adapter.loop.strategies.base import GradientSteps, SingleDeviceStrategy
from lightning_adapter.loop.strategies.ddp import DDPStrategy
from lightning_adapter.loop.strategies.horovod import HorovodStrategy
from lightning_adapter.versions import determined_private, hosts


def select_strategy(
    arguments: Arguments,
    module: torch.nn.Module,
    device: torch.device,
    precision: Precision,
    host: hosts.Host,
    steps: GradientSteps,
    context: DistributedContext,
) -> SingleDeviceStrategy:
    """The strategy of this run.

    Args:
        arguments: the trainer arguments; `strategy`, `fp16_compression` and `sync_batchnorm` are read.
        module: the LightningModule.
        device: where it trains.
        precision: the number format of the run.
        host: the Lightning package of the module.
        steps: what `manual_backward` and `LightningOptimizer.step` come to.
        context: Determined's distributed context.

    Raises:
        ConfigurationError: the job was started for another strategy than the one asked for; all faults in one message.
    """
    if context.size == 1:
        return SingleDeviceStrategy(module, device, precision, host, steps)
    horovod = bool(os.environ.get(determined_private.HOROVOD_VARIABLE))
    faults = list(_faults(arguments, device, context.size, horovod))
    if faults:
        raise ConfigurationError("\n".join(faults))
    if horovod:
        return HorovodStrategy(
            module, device, precision, host, steps, context, fp16_compression=arguments.fp16_compression
        )
    return DDPStrategy(module, device, precision, host, steps, context)


def _faults(arguments: Arguments, device: torch.device, processes: int, horovod: bool) -> Iterator[str]:
    name = arguments.strategy
    if name == "horovod" and not horovod:
        yield (
            f"strategy='horovod' was asked for, but these {processes} processes were not started by horovodrun. Start "
            "them with horovodrun (on a cluster: python3 -m determined.launch.horovod -- ...), or use strategy='auto'."
        )
    if name.startswith("ddp") and horovod:
        yield (
            f"strategy={name!r} was asked for, but these {processes} processes were started by horovodrun. Start them "
            "with torchrun (on a cluster: python3 -m determined.launch.torch_distributed -- ...), or use strategy='auto'."
        )
    if arguments.fp16_compression and not horovod:
        yield "fp16_compression=True is Horovod's compression of gradients, and this job runs torch DDP. Leave it out."
    if arguments.sync_batchnorm and (horovod or device.type == "cpu"):
        where = "Horovod" if horovod else "CPU processes"
        yield (
            "sync_batchnorm=True needs torch DDP on CUDA devices, since torch's SyncBatchNorm has nothing else; this job has "
            f"{where}. Leave it out."
        )
