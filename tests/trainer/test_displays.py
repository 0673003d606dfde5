"""What are several displays of one run told, and what becomes of one that fails?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_adapter import fit
from lightning_adapter.loop import start
from lightning_adapter.trainer.display.display import Display, Displays
from two_ways import BoringModel, trial_of


class Noting(Display):
    """Notes what it is told; `fails_at` raises."""

    def __init__(self, follows_batches: bool = True, fails_at: str = "") -> None:
        self.follows_batches = follows_batches
        self.fails_at = fails_at
        self.told: list[Any] = []

    def _note(self, name: str, *args: object) -> None:
        self.told.append((name, *args) if args else name)
        if name == self.fails_at:
            raise OSError("the terminal is gone")

    def epoch_starts(self) -> None:
        self._note("epoch_starts")

    def batch_ends(self) -> None:
        self._note("batch_ends")

    def reporting_step(self) -> None:
        self._note("reporting_step")

    def epoch_ends(self) -> None:
        self._note("epoch_ends")

    def validation_starts(self, batches: float, sanity: bool) -> None:
        self._note("validation_starts", batches, sanity)

    def validation_batch_ends(self) -> None:
        self._note("validation_batch_ends")

    def validation_ends(self) -> None:
        self._note("validation_ends")

    def validated(self, values: Mapping[str, object], best: str | None) -> None:
        self._note("validated", values, best)

    def run_ends(self) -> None:
        self._note("run_ends")


def run_through(display: Display) -> None:
    display.epoch_starts()
    if display.follows_batches:
        display.batch_ends()
    display.reporting_step()
    display.validation_starts(3, False)
    display.validation_batch_ends()
    display.validation_ends()
    display.validated({"val_loss": 1.0}, None)
    display.epoch_ends()
    if display.follows_batches:
        display.batch_ends()
    display.run_ends()


@pytest.fixture
def said() -> list[logging.LogRecord]:
    return []


@pytest.fixture
def log(said: list[logging.LogRecord]) -> logging.Logger:
    log = logging.Logger("run", logging.INFO)
    log.addHandler(SimpleNamespace(level=0, handle=said.append))  # type: ignore[arg-type]
    return log


def test_each_is_told_all_and_of_batches_where_it_follows_them(log: logging.Logger) -> None:
    alone, following, other = Noting(), Noting(), Noting(follows_batches=False)
    run_through(alone)
    run_through(Displays([following, other], log))
    assert following.told == alone.told
    assert other.told == [each for each in alone.told if each != "batch_ends"]


@pytest.mark.parametrize("moment", ["epoch_starts", "batch_ends", "validation_batch_ends", "validated"])
def test_one_that_fails_is_said_once_and_ends_neither_the_run_nor_the_others(
    log: logging.Logger, said: list[logging.LogRecord], moment: str
) -> None:
    failing, other = Noting(fails_at=moment), Noting(follows_batches=False)
    displays = Displays([failing, other], log)
    run_through(displays)
    assert (failing.told[-1] == moment) or failing.told[-1][0] == moment
    assert other.told[-1] == "run_ends"
    assert not displays.follows_batches
    warning, where = said
    assert warning.levelno == logging.WARNING and "OSError: the terminal is gone" in warning.getMessage()
    assert where.exc_info is not None and getattr(where, "console", None) == "never"


def test_interrupt_in_a_display_interrupts(log: logging.Logger) -> None:
    class Interrupted(Display):
        def epoch_starts(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Displays([Interrupted()], log).epoch_starts()


def test_run_that_goes_on_within_an_epoch_tells_that_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    display = Noting()
    monkeypatch.setattr(start, "display_of", lambda facts, wanted: display)
    limits = {"limit_train_batches": 4, "limit_val_batches": 0}
    first = fit(trial_of(BoringModel(), max_steps=2, **limits), run_dir=tmp_path / "first")
    assert display.told == ["epoch_starts", "batch_ends", "batch_ends", "epoch_ends", "run_ends"]

    display.told.clear()
    fit(
        trial_of(BoringModel(), max_epochs=1, **limits),
        run_dir=tmp_path / "second",
        resume_from=first.latest_checkpoint,
    )
    assert display.told == ["epoch_starts", "batch_ends", "batch_ends", "epoch_ends", "run_ends"]
