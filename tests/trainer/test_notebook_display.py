"""What does a notebook show while a run trains, and what stays in it?"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.display.display import Displays
from lightning_adapter.trainer.display.facts import Facts
from lightning_adapter.trainer.display.notebook import Cell
from trainer.parts import settings


class Browser:
    """An output of a cell, which keeps all that was shown in it."""

    def __init__(self) -> None:
        self.shown: list[Mapping[str, str]] = []
        self.made = 0
        self.broken: Exception | None = None

    def __call__(self, bundle: Mapping[str, str]) -> Browser:
        self.made += 1
        self.update(bundle, raw=True)
        return self

    def update(self, bundle: Mapping[str, str], *, raw: bool) -> None:
        assert raw
        if self.broken is not None:
            raise self.broken
        self.shown.append(bundle)

    @property
    def text(self) -> str:
        return self.shown[-1]["text/plain"]

    @property
    def html(self) -> str:
        return self.shown[-1]["text/html"]


class Run:
    """A run whose loop is the test, at a clock that the test moves."""

    def __init__(self, length: float = 4, max_epochs: int = 3, table: str | None = "metrics.csv") -> None:
        self.now = 100.0
        self.browser = Browser()
        self.progress = TrainingProgress(settings())
        self.progress.epoch_length_known(length)
        self.values: dict[str, float] = {"train_loss": 0.123456}
        self.asked = 0
        limits: Any = SimpleNamespace(max_epochs=max_epochs)
        self.fraction = 0.0
        facts = Facts(
            self.progress, limits, self._ask, self._ask, lambda: self.fraction, logging.getLogger("run"), table
        )
        self.cell = Cell(facts, self.browser, lambda: self.now)

    def _ask(self) -> Mapping[str, float]:
        self.asked += 1
        return dict(self.values)

    def begin_epoch(self) -> None:
        self.progress.advance_epoch_ready()
        self.progress.advance_epoch_started()
        self.cell.epoch_starts()

    def train(self, batches: int = 1, seconds: float = 1.0) -> None:
        for _ in range(batches):
            batch = self.progress.batch
            batch.advance_ready(False)
            batch.advance_started()
            batch.advance_processed()
            batch.advance_completed()
            self.now += seconds
            self.cell.batch_ends()

    def validate(self, best: str | None = None, seconds: float = 1.0, **values: float) -> None:
        self.cell.validation_starts(1, sanity=False)
        self.now += seconds
        self.cell.validation_batch_ends()
        self.cell.validation_ends()
        self.now += seconds
        self.cell.validated(values, best)

    def end_epoch(self) -> None:
        self.cell.epoch_ends()
        self.progress.advance_epoch_processed()
        self.progress.advance_epoch_completed()


def rows(text: str) -> list[list[str]]:
    """The table's, without its head."""
    return [line.split() for line in text.splitlines() if re.match(r" +\d", line)]


def test_output_is_one_and_shows_epoch_batch_values_speed_and_what_is_left() -> None:
    run = Run(max_epochs=3)
    run.begin_epoch()
    run.train(2, seconds=2.0)
    run.fraction = 1 / 4
    run.train(seconds=2.0)

    assert run.browser.made == 1
    text = "epoch 1/3  batch 3/4  train_loss 0.1235  0.5 it/s  2s left of the epoch  18s of the run"
    assert run.browser.text == text
    assert '<progress value="3" max="4"' in run.browser.html
    assert "train_loss 0.1235" in run.browser.html


def test_epoch_without_a_known_end_has_a_bar_without_one() -> None:
    run = Run(length=float("inf"), max_epochs=-1)
    run.begin_epoch()
    run.train(3)

    assert run.browser.text == "epoch 1  batch 3  train_loss 0.1235  1 it/s"
    assert "<progress style" in run.browser.html


def test_updates_come_at_most_twice_a_second_and_nothing_is_asked_in_between() -> None:
    run = Run(length=1000)
    run.begin_epoch()
    shown, asked = len(run.browser.shown), run.asked
    for _ in range(100):
        run.train(seconds=0.01)
        run.cell.reporting_step()
        run.cell.validation_batch_ends()

    assert len(run.browser.shown) - shown == 2
    assert run.asked - asked <= 4


def test_validation_has_a_bar_beneath_that_of_the_epoch_while_it_runs() -> None:
    run = Run()
    run.begin_epoch()
    run.train(2)
    run.cell.validation_starts(8, sanity=False)
    run.now += 1
    run.cell.validation_batch_ends()

    assert run.browser.text.splitlines()[1] == "validation  batch 1/8"
    assert '<progress value="1" max="8"' in run.browser.html
    run.cell.validation_ends()
    run.train()
    assert "validation" not in run.browser.text


def test_time_of_a_validation_is_not_the_speed_of_training() -> None:
    run = Run(length=100)
    run.begin_epoch()
    run.train(4)
    run.validate(seconds=50.0, val_loss=0.5)
    run.train(4)

    assert "1 it/s" in run.browser.text
    assert "1m32s left of the epoch" in run.browser.text


def test_each_validation_is_a_row_and_the_best_one_is_marked() -> None:
    run = Run()
    for value, best in ((0.5, "val_loss"), (0.25, "val_loss"), (0.75, None)):
        run.begin_epoch()
        run.train(4)
        run.validate(best, val_loss=value, val_acc=1 - value)
        run.end_epoch()
    run.begin_epoch()

    run.now += 1
    run.train()
    assert rows(run.browser.text) == [
        ["1/3", "4", "6s", "0.5", "0.5"],
        ["2/3", "8", "12s", "0.25", "(best)", "0.75"],
        ["3/3", "12", "18s", "0.75", "0.25"],
    ]
    bold = [row for row in run.browser.html.split("<tr>") if "bold" in row]
    assert len(bold) == 1
    assert "0.25 (best)" in bold[0]
    # what the table shows is not said again beside the bar
    run.values["val_loss"] = 0.75
    run.train()
    assert "val_loss" not in run.browser.text.splitlines()[-1]


@pytest.mark.parametrize(("table", "where"), [("metrics.csv", "in metrics.csv"), (None, "not shown")])
def test_long_table_has_its_end_and_the_best_row_and_says_where_the_others_are(table: str | None, where: str) -> None:
    run = Run(table=table)
    run.begin_epoch()
    for number in range(100):
        run.train()
        run.validate("val_loss" if number == 4 else None, val_loss=float(number))

    shown = rows(run.browser.text)
    assert [row[1] for row in shown] == ["5", *map(str, range(86, 101))]
    assert shown[0][-1] == "(best)"
    assert f"84 earlier validations: {where}" in run.browser.text
    assert f"84 earlier validations: {where}" in run.browser.html


def test_wide_table_has_its_first_columns_and_that_of_the_best_value() -> None:
    run = Run()
    run.begin_epoch()
    run.train(4)
    run.validate("val_20", **{f"val_{number}": float(number) for number in range(30)})

    run.train()
    assert run.browser.text.split("\n")[0].split()[3:] == [*(f"val_{number}" for number in range(9)), "val_20"]
    assert "20 (best)" in run.browser.text
    assert "\n20 other values: in metrics.csv\n" in run.browser.text


def test_names_and_values_that_are_no_html_are_shown_as_they_are() -> None:
    run = Run()
    run.values = {"<b>&": 0.5}
    run.begin_epoch()
    run.train()
    run.validate(**{"<i>\n": 0.25})

    run.train()
    assert "<b>" not in run.browser.html
    assert "&lt;b&gt;&amp; 0.5" in run.browser.html
    assert "<i>" not in run.browser.html
    assert "<i>\\n" in run.browser.text


def test_finished_run_leaves_its_table_and_how_long_it_took() -> None:
    run = Run(max_epochs=1)
    run.begin_epoch()
    run.train(4)
    run.validate("val_loss", seconds=0.01, val_loss=0.5)
    run.end_epoch()
    run.progress.finish()
    run.cell.run_ends()
    run.cell.run_ends()

    assert run.browser.text.splitlines()[-1] == "trained in 4s: epoch 1/1, 4 batches"
    assert rows(run.browser.text) == [["1/1", "4", "4s", "0.5", "(best)"]]
    assert "<progress" not in run.browser.html


def test_paused_run_shows_the_values_of_its_last_batch() -> None:
    run = Run()
    run.begin_epoch()
    run.train(2)
    run.values["train_loss"] = 0.5
    run.train(seconds=0.01)
    run.cell.run_ends()

    assert run.browser.text.startswith("epoch 1/3  batch 3/4  train_loss 0.5  ")


def test_interrupted_run_stays_where_it_was_and_asks_no_device_that_may_be_gone() -> None:
    run = Run()
    run.begin_epoch()
    run.train(2)
    asked = run.asked
    run.train(seconds=0.01)
    try:
        raise RuntimeError("CUDA error")
    except RuntimeError:
        run.cell.run_ends()

    bar, end = run.browser.text.splitlines()
    assert bar.startswith("epoch 1/3  batch 3/4  train_loss 0.1235  ")
    assert "left" not in bar
    assert end == "ended by RuntimeError after 2s"
    assert '<progress value="3" max="4"' in run.browser.html
    assert run.asked == asked


def test_run_that_somebody_has_stopped_says_how_far_it_is() -> None:
    run = Run()
    run.begin_epoch()
    run.train(2)
    run.cell.run_ends()
    assert run.browser.text.splitlines()[-1] == "stopped after 2s: epoch 1/3, 2 batches"


def test_ctrl_c_interrupts_a_run() -> None:
    run = Run()
    run.begin_epoch()
    run.train(2)
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        run.cell.run_ends()
    assert run.browser.text.splitlines()[-1] == "interrupted after 2s"


def test_output_that_fails_is_said_once_and_the_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    run, other = Run(length=100), Run(length=100)
    both: Any = Displays([run.cell, other.cell], logging.getLogger("lightning_adapter"))
    both.epoch_starts()
    assert both.follows_batches
    run.browser.broken = RuntimeError("the comm is gone")
    for each in (run, other):
        each.now += 10
    with caplog.at_level(logging.INFO):
        both.batch_ends()
        both.validation_starts(1, False)
        both.validation_batch_ends()
        both.run_ends()

    seen, in_file = caplog.records
    assert "goes on: RuntimeError: the comm is gone" in seen.getMessage() and seen.levelno == logging.WARNING
    assert (seen.console, in_file.console) == ("always", "never")  # type: ignore[attr-defined]
    assert in_file.exc_info is not None and both.follows_batches
    assert "stopped after " in other.browser.text


def test_sanity_check_that_is_soon_over_shows_nothing_before_the_first_epoch() -> None:
    run = Run()
    run.cell.validation_starts(2, sanity=True)
    run.cell.validation_batch_ends()
    run.cell.validation_ends()
    assert run.browser.shown == []
    run.begin_epoch()
    assert run.browser.text == "epoch 1/3  batch 0/4  train_loss 0.1235"


def test_long_sanity_check_has_a_bar() -> None:
    run = Run()
    run.cell.validation_starts(8, sanity=True)
    run.now += 1
    run.cell.validation_batch_ends()
    assert run.browser.text.splitlines()[-1] == "sanity check  batch 1/8"
