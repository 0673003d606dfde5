"""What does the progress bar show, and where?"""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer import progress_bar
from lightning_adapter.trainer.progress_bar import ProgressBar
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
    monkeypatch.setattr(progress_bar, "sys", SimpleNamespace(stderr=terminal))  # pytest puts its own back
    return terminal


def bar_of(progress: TrainingProgress, max_epochs: int = 3, enabled: bool = True) -> ProgressBar:
    return ProgressBar(progress, lambda: max_epochs, lambda: {"loss": 0.123456}, enabled)


def one_epoch(length: float = 4, max_epochs: int = 3, enabled: bool = True, trained_before: int = 0) -> None:
    progress = TrainingProgress(settings())
    progress.epoch_length_known(length)
    progress.batch.current.set_to(*[trained_before] * 4)
    progress.epoch.current.completed = 1
    bar = bar_of(progress, max_epochs, enabled)
    bar.epoch_start()
    bar.batch_end()
    bar.epoch_end()


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


def test_bar_that_was_not_asked_for_shows_nothing(terminal: Terminal) -> None:
    one_epoch(enabled=False)

    assert terminal.getvalue() == ""


def test_file_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(progress_bar, "sys", SimpleNamespace(stderr=written))

    one_epoch()

    assert written.getvalue() == ""


def test_batch_outside_of_an_epoch_shows_nothing(terminal: Terminal) -> None:
    bar = bar_of(TrainingProgress(settings()))

    bar.batch_end()
    bar.epoch_end()

    assert terminal.getvalue() == ""
