"""Under which names do annotations speak of Lightning's classes, whichever of the two packages is installed?

To a type checker they are those of pytorch_lightning. While the program runs they are `Any`: neither package may be
imported here, since a user may have only the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningDataModule, LightningModule
    from pytorch_lightning.core.optimizer import LightningOptimizer
    from pytorch_lightning.loggers import Logger
    from pytorch_lightning.utilities.types import LRSchedulerConfig
else:
    Callback = LightningDataModule = LightningModule = LightningOptimizer = Logger = Any
    LRSchedulerConfig = Any

__all__ = [
    "Batch",
    "BatchOutput",
    "Call",
    "Callback",
    "LRSchedulerConfig",
    "LightningDataModule",
    "LightningModule",
    "LightningOptimizer",
    "Loaders",
    "Logger",
    "StepOutput",
]

#: What `train_dataloader` and `val_dataloader` return: a loader, or loaders in a list, a dictionary or a CombinedLoader.
Loaders: TypeAlias = Any

#: What a loader gives and a step takes: whatever the user's `collate_fn` builds.
Batch: TypeAlias = Any

#: What `training_step` and `validation_step` may return: a loss, a mapping with further values, or None to skip a batch.
StepOutput: TypeAlias = Tensor | Mapping[str, Any] | None

#: What `on_train_batch_end` gets of a batch: the output of its step, or one of each optimizer that had its turn.
BatchOutput: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]

#: A hook or a step of the user's, whose arguments and return value only its author knows.
Call: TypeAlias = Callable[..., Any]
