"""What does a terminal show while a run trains?"""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace

import pytest

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.display import terminal as terminal_display
from lightning_adapter.trainer.display.facts import Facts
from lightning_adapter.trainer.display.terminal import Bars
from trainer.parts import settings


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True

    @property
    def last_line(self) -> str:
        return [line for line in self.getvalue().replace("\n", "\r").split("\r") if line.strip()][-1]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(terminal_display, "sys", SimpleNamespace(stderr=terminal))  # pytest puts its own back
    return terminal


def facts_of(progress: TrainingProgress, max_epochs: int) -> Facts:
    values = {"loss": 0.123456}
    limits = SimpleNamespace(max_epochs=max_epochs)
    return Facts(progress, limits, lambda: values, lambda: values, lambda: 0.5, logging.getLogger("run"))  # type: ignore[arg-type]


def one_epoch(length: float = 4, max_epochs: int = 3, trained_before: int = 0) -> None:
    progress = TrainingProgress(settings())
    progress.epoch_length_known(length)
    progress.batch.current.set_to(*[trained_before] * 4)
    progress.epoch.current.completed = 1
    bars = Bars(facts_of(progress, max_epochs))
    bars.epoch_starts()
    bars.batch_ends()
    bars.epoch_ends()


def test_terminal_shows_epoch_batches_and_values(terminal: Terminal) -> None:
    one_epoch(trained_before=2)

    last = terminal.last_line
    assert "Epoch 2/3" in last
    assert "3/4" in last  # two from before a resume, and one
    assert "loss=0.1235" in last


def test_unlimited_epochs_of_unknown_length_are_shown_without_an_end(terminal: Terminal) -> None:
    one_epoch(length=float("inf"), max_epochs=-1)

    last = terminal.last_line
    assert "Epoch 2:" in last
    assert "1batch" in last
