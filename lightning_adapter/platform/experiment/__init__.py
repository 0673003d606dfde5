"""What does this experiment YAML ask for, and can a trial be built from it?

Every function is pure; all faults of one call are raised together. Which keys there are is in `schema`.
"""

from __future__ import annotations

from lightning_adapter.platform.experiment.hyperparameters import global_batch_size_check, hyperparameters, nest
from lightning_adapter.platform.experiment.periods import Periods, checkpoint_retention, periods, searcher_metric
from lightning_adapter.platform.experiment.reading import parse_value, read

__all__ = [
    "Periods",
    "checkpoint_retention",
    "global_batch_size_check",
    "hyperparameters",
    "nest",
    "parse_value",
    "periods",
    "read",
    "searcher_metric",
]
