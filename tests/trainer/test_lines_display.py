"""What stands in a run's log of its progress, and how often?"""

from __future__ import annotations

import pytest

from lightning_adapter.trainer.display.lines import Lines
from trainer.shown_run import ShownRun


@pytest.fixture
def run() -> ShownRun:
    run = ShownRun(length=3751, max_epochs=5)
    run.begin_epoch()
    return run


def lines_of(run: ShownRun, on_console: bool = True) -> Lines:
    lines = Lines(run.facts, on_console, run.clock)
    lines.epoch_starts()
    return lines


def test_line_has_position_values_speed_and_time_left(run: ShownRun) -> None:
    lines = lines_of(run)
    run.train(1200, 10)
    run.fraction = 0.05
    run.values = {"train_loss": 0.031, "v_num": 7}

    lines.reporting_step()

    assert run.lines == ["epoch 1/5  batch 1200/3751  train_loss 0.031  120 it/s  3m10s left"]


def test_resumed_run_counts_what_it_has_trained_itself_alone(run: ShownRun) -> None:
    lines = Lines(run.facts, True, run.clock)  # displays are made before the checkpoint is read
    run.train(3000, 20)
    run.fraction = 0.5
    lines.epoch_starts()
    run.train(100, 10)
    run.fraction = 0.75

    lines.reporting_step()

    assert run.lines == ["epoch 1/5  batch 3100/3751  train_loss 0.1235  10 it/s  10s left"]


def test_validation_has_a_line_of_its_own_with_the_best_marked(run: ShownRun) -> None:
    lines = lines_of(run)
    run.train(3751, 10)
    lines.reporting_step()
    run.values = {"train_loss": 0.02, "val_loss": 0.045, "lr": 0.1}
    lines.validation_starts(10, sanity=False)
    run.now += 1
    lines.validation_batch_ends()
    lines.validation_ends()

    lines.validated({"val_loss": 0.045, "val_acc": 0.9}, best="val_loss")

    assert run.lines[1] == (
        "epoch 1/5  batch 3751/3751  train_loss 0.02  lr 0.1  val_loss 0.045 (best)  val_acc 0.9  375 it/s"
    )


def test_line_of_a_validation_has_the_values_for_the_loggers_where_none_is_marked_for_the_bar(run: ShownRun) -> None:
    lines = lines_of(run)
    run.values, run.logged = {}, {"train_loss": 0.02}
    run.logged |= {"val_loss": 0.045}
    lines.validated({"val_loss": 0.045}, best="val_loss")
    assert run.lines == ["epoch 1/5  batch 0/3751  train_loss 0.02  val_loss 0.045 (best)"]


@pytest.mark.parametrize("where", ["values", "logged"])
def test_line_of_training_does_not_repeat_what_a_validation_has_said(run: ShownRun, where: str) -> None:
    lines = lines_of(run)
    run.values = {}
    setattr(run, where, {"train_loss": 0.02, "val_loss": 0.045})
    lines.validated({"val_loss": 0.045}, best="val_loss")
    run.train(100, 10)
    lines.reporting_step()
    assert run.lines[1] == "epoch 1/5  batch 100/3751  train_loss 0.02  10 it/s"


def test_value_that_both_training_and_validation_log_is_in_both_lines(run: ShownRun) -> None:
    lines = lines_of(run)
    run.values = {"loss": 0.045}
    lines.validated({"loss": 0.045}, best="loss")
    run.values = {"loss": 0.02}
    run.train(100, 10)
    lines.reporting_step()
    assert ["loss 0.045 (best)" in run.lines[0], "loss 0.02" in run.lines[1]] == [True, True]


def test_training_whose_bar_has_values_of_validations_alone_shows_those_for_the_loggers(run: ShownRun) -> None:
    lines = lines_of(run)
    run.values, run.logged = {"val_loss": 0.045}, {"train_loss": 0.02}
    lines.validated({"val_loss": 0.045}, best="val_loss")
    assert "train_loss 0.02  val_loss 0.045 (best)" in run.lines[0]


def test_lines_are_seconds_apart_and_a_minute_in_a_long_run(run: ShownRun) -> None:
    lines = lines_of(run)
    for _ in range(100):  # a hundred seconds
        run.train(10, 1)
        lines.reporting_step()
    assert len(run.lines) == 20  # the first at once, then one each five seconds

    run.now += 100_000
    lines.reporting_step()
    before = len(run.lines)
    for _ in range(180):
        run.train(1, 1)
        lines.reporting_step()
    assert len(run.lines) - before == 3


def test_device_is_asked_for_lines_alone(run: ShownRun) -> None:
    lines = lines_of(run)
    for _ in range(50):
        run.train(1, 0.01)
        lines.reporting_step()
    assert run.asked == len(run.lines) == 1


def test_long_validation_says_how_far_it_is_and_a_short_one_nothing(run: ShownRun) -> None:
    lines = lines_of(run)
    lines.validation_starts(1000, sanity=False)
    for batch in range(1, 13):
        run.now += 1
        lines.validation_batch_ends()
        assert len(run.lines) == (batch >= 5) + (batch >= 10)
    assert "validation 5/1000" in run.lines[0]
    assert "validation 10/1000" in run.lines[1]


def test_time_of_a_validation_and_of_the_hooks_after_it_is_none_of_training(run: ShownRun) -> None:
    lines = lines_of(run)
    run.train(100, 10)
    lines.reporting_step()
    lines.validation_starts(10, sanity=False)
    run.now += 100
    lines.validation_ends()
    run.now += 50
    lines.validated({"val_loss": 0.5}, best=None)
    run.train(100, 10)
    lines.reporting_step()
    assert ["10 it/s" in line for line in run.lines] == [True, True, True]


def test_epoch_of_unknown_length_and_a_run_without_end_have_no_ends() -> None:
    run = ShownRun(length=float("inf"), max_epochs=-1)
    run.begin_epoch()
    lines = lines_of(run)
    run.train(7, 1)
    lines.reporting_step()
    assert run.lines == ["epoch 1  batch 7  train_loss 0.1235  7 it/s"]


def test_values_for_loggers_alone_are_shown_where_none_is_marked_for_the_bar(run: ShownRun) -> None:
    run.values, run.logged = {}, {f"value{number}": 1.0 for number in range(20)}
    lines = lines_of(run)
    run.train(1, 1)
    lines.reporting_step()
    assert run.lines[0].count("value") == 8


def test_validation_of_a_hundred_values_names_the_best_and_counts_the_rest(run: ShownRun) -> None:
    lines = lines_of(run)
    lines.validated({f"m{number}": 1.0 for number in range(100)}, best="m99")
    assert "m99 1 (best)" in run.lines[0] and "and 80 more" in run.lines[0]


def test_lines_beside_a_bar_are_for_the_file_alone(run: ShownRun) -> None:
    for on_console in (True, False):
        lines_of(run, on_console).validated({}, best=None)
    assert [getattr(record, "console", None) for record in run.said] == [None, "never"]
    assert "validated, nothing was logged" in run.lines[0] or "train_loss" in run.lines[0]


def test_names_with_line_ends_stay_in_their_line(run: ShownRun) -> None:
    lines_of(run).validated({"a\nb": 1.0}, best=None)
    assert len(run.lines[0].splitlines()) == 1


def test_first_line_comes_at_once_also_after_a_sanity_check(run: ShownRun) -> None:
    lines = lines_of(run)
    lines.validation_starts(2, sanity=True)
    lines.validation_batch_ends()
    lines.validation_ends()
    run.train(10, 0.1)
    lines.reporting_step()
    assert len(run.lines) == 1 and "batch 10/3751" in run.lines[0]
