"""What does every display of a run's progress know?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.settings import Settings


@dataclass(frozen=True)
class Facts:
    """What a display may ask, at any time.

    Attributes:
        progress: where the run stands.
        settings: its limits.
        bar_values: name to number of what is logged with `prog_bar=True`. Asking waits for the device.
        logged_values: name to number of what the loggers were given last. Asking waits for the device.
        fraction: how much of the run is done, from 0 to 1; 0 where nobody knows.
        log: of the run.
        table: name of the file that keeps all values; None where there is none.
    """

    progress: TrainingProgress
    settings: Settings
    bar_values: Callable[[], Mapping[str, float]]
    logged_values: Callable[[], Mapping[str, float]]
    fraction: Callable[[], float]
    log: logging.Logger
    table: str | None = None

    def epoch(self) -> str:
        """See `TrainingProgress.epoch_in_words`."""
        return self.progress.epoch_in_words(self.settings.max_epochs)
