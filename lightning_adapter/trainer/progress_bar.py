"""What does a terminal show while a run trains?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from tqdm.auto import tqdm

from lightning_adapter.loop.progress import TrainingProgress


class ProgressBar:
    """One bar per epoch on a terminal, with the values logged with `prog_bar=True`; nothing elsewhere.

    The device is waited for only when the bar is drawn, at most ten times a second.

    Args:
        progress: where the run stands.
        max_epochs: returns the number of epochs, -1 where there is no limit.
        values: returns what is logged for the bar.
        enabled: whether it was asked for, and this process is to show it.
    """

    def __init__(
        self,
        progress: TrainingProgress,
        max_epochs: Callable[[], int],
        values: Callable[[], Mapping[str, float]],
        enabled: bool,
    ) -> None:
        self._progress = progress
        self._max_epochs = max_epochs
        self._values = values
        self.enabled = enabled and sys.stderr.isatty()
        self._bar: tqdm[None] | None = None

    def epoch_start(self) -> None:
        """Begin a bar."""
        if not self.enabled:
            return
        progress, max_epochs = self._progress, self._max_epochs()
        batches = progress.num_training_batches
        last = "" if max_epochs == -1 else f"/{max_epochs}"
        self._bar = tqdm(
            total=None if batches == float("inf") else int(batches),
            initial=progress.batch.current.completed,
            desc=f"Epoch {progress.current_epoch + 1}{last}",
            unit="batch",
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def batch_end(self) -> None:
        """One batch further."""
        if self._bar is not None and self._bar.update(1):
            self._show(self._bar)

    def epoch_end(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._show(self._bar)
            self._bar.close()
            self._bar = None

    def _show(self, bar: tqdm[None]) -> None:
        bar.set_postfix({name: f"{value:.4g}" for name, value in self._values().items()})
