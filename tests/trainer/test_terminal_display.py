"""What does a terminal show while a run trains?"""

from __future__ import annotations

import dataclasses
import io
import os
import termios
from collections.abc import Iterator

import pytest
import rich
import rich.progress
from tqdm import tqdm

from lightning_adapter.runs.screen_text import ScreenText
from lightning_adapter.trainer.display.display import Displays
from lightning_adapter.trainer.display.terminal import Bars
from lightning_adapter.versions.tqdm_private import open_bars
from trainer.shown_run import ShownRun


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.is_broken = False
        self._other_end, self._end = os.openpty()
        self.is_wide(80)

    def is_wide(self, columns: int) -> None:
        # tqdm leaves the last column free
        termios.tcsetwinsize(self._end, (24, columns + 1))

    def write(self, text: str) -> int:
        if self.is_broken:
            raise RuntimeError("as a stream of the user's own may")
        return super().write(text)

    def fileno(self) -> int:
        return self._end

    def isatty(self) -> bool:
        return True

    def close(self) -> None:
        os.close(self._end)
        os.close(self._other_end)
        super().close()

    @property
    def screen(self) -> list[str]:
        """The lines that can be read there."""
        screen = ScreenText()
        # the cursor stands on the first bar: go beneath the last one
        lines = [*screen.write(self.getvalue()), *screen.write("\n\n"), *screen.rest()]
        return [line for line in lines if line.strip()]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def run() -> ShownRun:
    return ShownRun(length=938, max_epochs=3)


def begun(run: ShownRun, terminal: Terminal) -> Bars:
    bars = Bars(run.facts, terminal, run.clock)
    run.begin_epoch()
    bars.epoch_starts()
    return bars


def half_an_epoch(run: ShownRun, bars: Bars) -> None:
    for _ in range(10):
        run.train(47, 0.6)
        run.fraction = run.progress.total_batches / 938 / 3
        bars.batch_ends()


def test_bar_has_batches_a_value_speed_and_both_times_in_eighty_columns(run: ShownRun, terminal: Terminal) -> None:
    bars = begun(run, terminal)
    half_an_epoch(run, bars)
    (line,) = terminal.screen
    assert len(line) <= 80
    assert line.startswith("Epoch 1/3  50%|")
    assert line.endswith("| 470/938  train_loss 0.1235  78.3 it/s  6s left  run 30s")
    bars.run_ends()


def test_time_left_of_a_resumed_run_is_told_from_what_it_has_trained_itself(run: ShownRun, terminal: Terminal) -> None:
    bars = Bars(run.facts, terminal, run.clock)  # displays are made before the checkpoint is read
    run.begin_epoch()
    run.train(400, 1)
    run.fraction = 0.5
    bars.epoch_starts()
    run.train(100, 10)
    run.fraction = 0.75
    bars.batch_ends()
    (line,) = terminal.screen
    assert line.endswith("| 500/938  train_loss 0.1235  10 it/s  44s left  run 10s")
    bars.run_ends()


@pytest.mark.parametrize("columns", [40, 60, 80, 160])
def test_parts_that_have_no_room_are_left_out(run: ShownRun, terminal: Terminal, columns: int) -> None:
    terminal.is_wide(columns)
    run.values = {f"a_long_name_{number}": 0.5 for number in range(6)}
    bars = begun(run, terminal)
    half_an_epoch(run, bars)
    (line,) = terminal.screen
    assert len(line) <= columns
    assert "470/938" in line
    assert line.count("a_long_name") == {40: 0, 60: 1, 80: 1, 160: 5}[columns]
    bars.run_ends()


def test_epoch_leaves_its_bar_with_its_last_values_and_the_best_marked(run: ShownRun, terminal: Terminal) -> None:
    terminal.is_wide(120)
    bars = begun(run, terminal)
    run.train(938, 10)
    run.values |= {"val_loss": 0.0474}
    bars.validated({"val_loss": 0.0474}, best="val_loss")
    bars.epoch_ends()
    (line,) = terminal.screen
    assert line.endswith("| 938/938  train_loss 0.1235  val_loss 0.0474 (best)  93.8 it/s  in 10s")
    assert terminal.getvalue().endswith("\n")


@pytest.mark.parametrize("columns", [80, 160])
def test_metric_that_ranks_checkpoints_is_shown_before_other_values_however_many(
    run: ShownRun, terminal: Terminal, columns: int
) -> None:
    terminal.is_wide(columns)
    bars = begun(run, terminal)
    run.train(938, 10)
    run.values |= {f"train/{number}": 0.5 for number in range(10)} | {"val/acc": 0.9, "val_loss": 0.0474}
    bars.validated({"val/acc": 0.9, "val_loss": 0.0474}, best="val_loss")
    bars.epoch_ends()
    (line,) = terminal.screen
    assert "| 938/938  train_loss 0.1235  val_loss 0.0474 (best)" in line


def test_validation_has_a_bar_beneath_that_goes_with_it(run: ShownRun, terminal: Terminal) -> None:
    bars = begun(run, terminal)
    run.train(938, 10)
    bars.batch_ends()
    bars.validation_starts(157, sanity=False)
    for _ in range(3):
        run.now += 1
        bars.validation_batch_ends()
    above, beneath = terminal.screen
    assert above.startswith("Epoch 1/3 100%|") and beneath.startswith("Validation   2%|") and "3/157" in beneath
    bars.validation_ends()
    bars.epoch_ends()
    (line,) = terminal.screen
    assert line.startswith("Epoch 1/3 100%|")


def test_sanity_check_leaves_nothing(run: ShownRun, terminal: Terminal) -> None:
    bars = Bars(run.facts, terminal, run.clock)
    bars.validation_starts(2, sanity=True)
    run.now += 1
    bars.validation_batch_ends()
    assert terminal.screen[0].startswith("Sanity check  50%|")
    bars.validation_ends()
    assert terminal.screen == []
    run.begin_epoch()
    bars.epoch_starts()
    bars.epoch_ends()
    assert terminal.screen[0].startswith("Epoch 1/3")


def test_unlimited_epochs_of_unknown_length_are_shown_without_an_end(terminal: Terminal) -> None:
    run = ShownRun(length=float("inf"), max_epochs=-1)
    bars = begun(run, terminal)
    run.train(7, 1)
    bars.batch_ends()
    assert terminal.screen == ["Epoch 1 batch 7  train_loss 0.1235  7 it/s"]
    bars.run_ends()


def test_run_that_an_error_ends_leaves_the_bar_on_a_line_of_its_own_and_asks_no_device(
    run: ShownRun, terminal: Terminal
) -> None:
    bars = begun(run, terminal)
    half_an_epoch(run, bars)
    bars.validation_starts(10, sanity=False)
    asked = run.asked
    run.now += 1
    bars.validation_batch_ends()
    bars.run_ends()
    bars.run_ends()
    assert [line.partition("|")[0] for line in terminal.screen] == ["Epoch 1/3  50%"]
    assert terminal.getvalue().endswith("\n")
    assert run.asked == asked


def test_bar_of_an_epoch_that_is_cut_short_has_its_last_batch_and_its_last_validation(
    run: ShownRun, terminal: Terminal
) -> None:
    terminal.is_wide(120)
    bars = begun(run, terminal)
    half_an_epoch(run, bars)
    run.values |= {"val_loss": 0.0474}
    bars.validated({"val_loss": 0.0474}, best="val_loss")
    run.train(2, 0.01)
    bars.batch_ends()
    bars.run_ends()
    (line,) = terminal.screen
    assert "| 472/938  train_loss 0.1235" in line and line.endswith("val_loss 0.0474 (best)")


def test_device_is_asked_ten_times_a_second(run: ShownRun, terminal: Terminal) -> None:
    bars = begun(run, terminal)
    for _ in range(500):
        run.train(1, 0.002)
        bars.batch_ends()
    assert 9 <= run.asked <= 12
    bars.run_ends()


def test_bar_gives_way_to_one_of_user_code_that_moves_with_the_batches(run: ShownRun, terminal: Terminal) -> None:
    over_folds = tqdm(total=3, file=terminal, desc="folds")
    bars = begun(run, terminal)
    half_an_epoch(run, bars)
    assert any(line.startswith("Epoch 1/3") for line in terminal.screen)
    theirs = tqdm(total=938, file=terminal, desc="theirs")
    for _ in range(3):
        run.train(10, 1)
        theirs.update(10)
        bars.batch_ends()
    assert not any(line.startswith("Epoch") for line in terminal.screen)
    bars.epoch_ends()
    bars.epoch_starts()
    run.train(10, 1)
    bars.batch_ends()
    assert not any(line.startswith("Epoch") for line in terminal.screen)
    theirs.close()
    over_folds.close()


@pytest.mark.parametrize("moment", ["epoch_starts", "batch_ends", "validation_batch_ends", "epoch_ends", "run_ends"])
def test_bars_that_fail_are_not_drawn_again_by_what_is_printed(run: ShownRun, terminal: Terminal, moment: str) -> None:
    bars = Bars(run.facts, terminal, run.clock)
    shown = Displays([bars], run.facts.log)
    run.begin_epoch()
    if moment != "epoch_starts":
        shown.epoch_starts()
        half_an_epoch(run, bars)
        shown.validation_starts(10, sanity=False)
        run.now += 1
    terminal.is_broken = True
    getattr(shown, moment)()
    assert not open_bars()
    assert [line.partition(":")[2] for line in run.lines][:1] == [" RuntimeError: as a stream of the user's own may"]
    with tqdm.external_write_mode(file=terminal):
        """What a line of the user's is printed in."""
    terminal.is_broken = False
    before = terminal.getvalue()
    with tqdm.external_write_mode(file=terminal):
        """The same."""
    assert terminal.getvalue() == before


def test_bar_gives_way_to_one_of_rich(run: ShownRun, terminal: Terminal) -> None:
    bars = begun(run, terminal)
    half_an_epoch(run, bars)
    with rich.progress.Progress(console=rich.get_console(), auto_refresh=False):
        run.train(10, 1)
        bars.batch_ends()
        assert terminal.screen == []
    bars.epoch_ends()
    bars.epoch_starts()
    assert terminal.screen == []


def test_line_that_stays_stands_above_a_bar_over_several_runs(run: ShownRun, terminal: Terminal) -> None:
    over_folds = tqdm(total=3, file=terminal, desc="folds", ncols=60)
    bars = begun(run, terminal)
    run.train(938, 10)
    bars.epoch_ends()
    above, beneath = terminal.screen
    assert above.startswith("Epoch 1/3 100%|") and beneath.startswith("folds:")
    over_folds.close()


def test_bar_stands_where_the_batches_are_while_a_validation_runs(run: ShownRun, terminal: Terminal) -> None:
    bars = begun(run, terminal)
    run.train(938, 0.01)  # sooner than a bar is drawn again
    bars.batch_ends()
    asked = run.asked
    bars.validation_starts(10, sanity=False)
    assert "938/938" in terminal.screen[0]
    assert run.asked == asked
    bars.run_ends()


@pytest.mark.parametrize("columns", [70, 77])
def test_bar_becomes_narrow_before_the_time_left_goes(run: ShownRun, terminal: Terminal, columns: int) -> None:
    terminal.is_wide(columns)
    run.values = {"train_loss": 0.00915412, "val_loss": 0.5}
    bars = begun(run, terminal)
    half_an_epoch(run, bars)
    (line,) = terminal.screen
    assert len(line) <= columns
    assert ("run 30s" in line) is (columns == 77), line
    assert "val_loss" not in line
    bars.run_ends()


@pytest.mark.parametrize(("seconds", "times"), [(0.001, 5), (0.1, 1)])
def test_bar_that_takes_long_to_draw_is_drawn_seldom(
    run: ShownRun, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, seconds: float, times: int
) -> None:
    bars = begun(run, terminal)
    ask = run.values.copy

    def wait_for_the_device() -> dict[str, float]:
        run.now += seconds
        run.asked += 1
        return ask()

    bars._facts = dataclasses.replace(run.facts, bar_values=wait_for_the_device)
    run.train(1, 1)
    bars.batch_ends()
    run.asked = 0
    for _ in range(101):
        run.train(1, 0.01)
        bars.batch_ends()
    assert run.asked == times
    bars.run_ends()
