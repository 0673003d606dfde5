"""What does a terminal show while a run trains?"""

from __future__ import annotations

import sys

from tqdm import tqdm

from lightning_adapter.trainer.display.display import Display
from lightning_adapter.trainer.display.facts import Facts


class Bars(Display):
    """One bar per epoch, with the values logged with `prog_bar=True`.

    The device is waited for only when the bar is drawn, at most ten times a second.

    Args:
        facts: of the run.
    """

    follows_batches = True

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._bar: tqdm[None] | None = None

    def epoch_starts(self) -> None:
        """Begin a bar."""
        progress, max_epochs = self._facts.progress, self._facts.settings.max_epochs
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

    def batch_ends(self) -> None:
        """One batch further."""
        if self._bar is not None and self._bar.update(1):
            self._show(self._bar)

    def epoch_ends(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._show(self._bar)
            self._bar.close()
            self._bar = None

    def run_ends(self) -> None:
        """Leave the bar as it is."""
        self.epoch_ends()

    def _show(self, bar: tqdm[None]) -> None:
        bar.set_postfix({name: f"{value:.4g}" for name, value in self._facts.bar_values().items()})
