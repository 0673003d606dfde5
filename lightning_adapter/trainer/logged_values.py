"""Which values can be logged, and as tensors of which type are they kept?"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_adapter.versions.hosts import Host

#: What `self.log` takes: a number, a tensor of one element, or a torchmetrics Metric.
Loggable: TypeAlias = Tensor | Metric | float


def accumulation_dtype() -> torch.dtype:
    """The default floating point type, but never less than float32, as Lightning's `_get_default_dtype` says."""
    dtype = torch.get_default_dtype()
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def check_loggable(name: str, value: object) -> None:
    """Refuse what is neither a number, a tensor nor a Metric.

    Raises:
        ValueError: with Lightning's words.
    """
    if isinstance(value, (Tensor, Metric, numbers.Number)):
        return
    if isinstance(value, dict) and any(isinstance(entry, dict) for entry in value.values()):
        raise ValueError(f"`self.log({name}, {value})` was called, but nested dictionaries cannot be logged")
    raise ValueError(f"`self.log({name}, {value})` was called, but `{type(value).__name__}` values cannot be logged")


def number_to_tensor(name: str, value: float, device: torch.device) -> Tensor:
    """A number as a 0-d tensor on `device`, without waiting for it.

    Raises:
        ValueError: it is no number.
    """
    if not isinstance(value, numbers.Number):
        check_loggable(name, value)
    if device.type == "cpu":
        return torch.tensor(value, dtype=accumulation_dtype())
    # filling a new tensor needs no synchronisation, copying a number to the device does
    return torch.full((), float(value), dtype=accumulation_dtype(), device=device)


def single_element(name: str, value: Tensor) -> Tensor:
    """A tensor of one element without its dimensions.

    Raises:
        ValueError: it has another number of elements.
    """
    if value.numel() != 1:
        raise ValueError(
            f"`self.log({name}, {value})` was called, but the tensor must have a single element."
            f" You can try doing `self.log({name}, {value}.mean())`"
        )
    return value.squeeze()


def to_floating(host: Host, hook: str, name: str, value: Tensor) -> Tensor:
    """A tensor in a type that can be averaged, with a warning where it was no floating point number."""
    dtype = accumulation_dtype()
    if not torch.is_floating_point(value):
        host.warn(
            f"You called `self.log({name!r}, ...)` in your `{hook}` but the value needs to be floating to be reduced."
            f" Converting it to {dtype}."
            " You can silence this warning by converting the value to floating point yourself."
            " If you don't intend to reduce the value (for instance when logging the global step or epoch) then"
            f" you can use `self.logger.log_metrics({{{name!r}: ...}})` instead."
        )
    return value.to(dtype)


def to_scalars(metrics: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Tensors of one element become numbers; this waits for the device."""
    return {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
