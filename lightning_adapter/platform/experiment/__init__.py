"""What does this experiment YAML ask for, and can a trial be built from it?

Every function is pure; all faults of one call are raised together. Which keys there are is in `schema`.
"""

from __future__ import annotations

from lightning_adapter.platform.experiment.hyperparameters import (
    Hyperparameters,
    as_written,
    global_batch_size_check,
    hyperparameters,
    nest,
    override,
)
from lightning_adapter.platform.experiment.periods import Periods, checkpoint_retention, periods, searcher_metric
from lightning_adapter.platform.experiment.ranges import is_range
from lightning_adapter.platform.experiment.reading import checked, load, parse_value, read
from lightning_adapter.platform.experiment.values import is_group, plain
from lightning_adapter.platform.experiment.variables import Device, environment_variables

__all__ = [
    "Device",
    "Hyperparameters",
    "Periods",
    "as_written",
    "checked",
    "checkpoint_retention",
    "environment_variables",
    "global_batch_size_check",
    "hyperparameters",
    "is_group",
    "is_range",
    "load",
    "nest",
    "override",
    "parse_value",
    "periods",
    "plain",
    "read",
    "searcher_metric",
]
