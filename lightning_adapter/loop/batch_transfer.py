"""What brings a batch to the device, and through which hooks? As `_call_strategy_hook("batch_to_device")`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.loop.precision import Precision
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.types import Batch

_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")

#: From a batch and the index of its loader to the batch on the device.
Transfer = Callable[[Batch, int], Batch]


def batch_transfer(hooks: Hooks, precision: Precision, device: torch.device) -> Transfer | None:
    """The transfer of this run; None if there is nothing to do.

    Where module and datamodule override one of the three hooks, the datamodule's is called, as `_DataHookSelector` has it.
    """
    host = hooks.host
    if not any(hooks.replaced(name) or hooks.overridden_in_data(name) for name in _HOOKS):
        if device.type == "cpu":
            return None if precision.dtype is None else lambda batch, _: precision.convert_input(batch)
        return lambda batch, _: lightning_private.move_data_to_device(host, precision.convert_input(batch), device)
    owners = [hooks.datamodule if hooks.overridden_in_data(name) else hooks.module for name in _HOOKS]
    before, move, after = (getattr(owner, name) for owner, name in zip(owners, _HOOKS, strict=True))
    run = hooks.run

    def transfer(batch: Batch, dataloader_idx: int) -> Batch:
        batch = precision.convert_input(batch)
        batch = run(_HOOKS[0], before, batch, dataloader_idx)
        batch = run(_HOOKS[1], move, batch, device, dataloader_idx)
        return run(_HOOKS[2], after, batch, dataloader_idx)

    return transfer
