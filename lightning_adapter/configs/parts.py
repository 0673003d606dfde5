"""What does a configuration describe, whichever library's it is?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lightning_adapter.versions.types import LightningDataModule, LightningModule

#: A configuration as hyperparameters hold it: plain data, interpolations and links not resolved.
Tree: TypeAlias = dict[str, Any]
#: Name the class of a group, LightningCLI's and Hydra's.
CLASS_KEYS = ("class_path", "_target_")


@dataclass(frozen=True)
class Parts:
    """What was made of a configuration.

    Attributes:
        lightning_module: the module.
        datamodule: the datamodule; None where the module brings its own loaders.
        trainer_arguments: arguments of Lightning's Trainer that differ from its own defaults, callbacks and loggers made.
    """

    lightning_module: LightningModule
    datamodule: LightningDataModule | None = None
    trainer_arguments: dict[str, Any] = field(default_factory=dict)
