"""A run whose loop is the test, at a clock that the test moves, for displays to show."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.display.facts import Facts
from trainer.parts import settings


class ShownRun:
    """What a display asks.

    Attributes:
        now: the clock.
        asked: how often somebody has waited for the device.
        said: lines of the run's log.
    """

    def __init__(self, length: float = 100, max_epochs: int = 3) -> None:
        self.now = 1000.0
        self.progress = TrainingProgress(settings())
        self.progress.epoch_length_known(length)
        self.values: dict[str, float] = {"train_loss": 0.123456}
        self.logged: dict[str, float] = {}
        self.fraction = 0.0
        self.asked = 0
        self.said: list[logging.LogRecord] = []
        log = logging.Logger("run", logging.INFO)
        log.addHandler(SimpleNamespace(level=0, handle=self.said.append))  # type: ignore[arg-type]
        limits: Any = SimpleNamespace(max_epochs=max_epochs)
        self.facts = Facts(self.progress, limits, self._bar, lambda: dict(self.logged), lambda: self.fraction, log)

    def _bar(self) -> Mapping[str, float]:
        self.asked += 1
        return dict(self.values)

    def clock(self) -> float:
        return self.now

    def begin_epoch(self) -> None:
        self.progress.advance_epoch_ready()
        self.progress.advance_epoch_started()

    def train(self, batches: int, seconds: float) -> None:
        """Some batches, which take some time together."""
        self.now += seconds
        for _ in range(batches):
            self.progress.batch.advance_ready(False)
            self.progress.batch.advance_started()
            self.progress.batch.advance_processed()
            self.progress.batch.advance_completed()

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.said]
