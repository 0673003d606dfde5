"""Which private names of torch are touched, why, and in which versions were they seen?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer
from torch.utils.data import DataLoader


def unscales_itself(optimizer: Optimizer) -> bool:
    """Whether an optimizer unscales gradients while it steps (`_step_supports_amp_scaling`, torch 2.1 to 2.13: fused Adam)."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def adopt_workers(loader: DataLoader[Any], other: DataLoader[Any]) -> None:
    """Give a loader the persistent workers of a copy of it (`DataLoader._iterator`, torch 2.1 to 2.13, holds them)."""
    loader._iterator = other._iterator


def read_indices_from(loader: DataLoader[Any], sampler: Iterable[Any]) -> None:
    """Let the persistent workers of a loader be sent the indices of another sampler from the next pass on.

    `_BaseDataLoaderIter._index_sampler` (torch 2.1 to 2.13) is iterated at each pass.
    """
    iterator: Any = loader._iterator
    iterator._index_sampler = sampler
