"""Would the parity harness notice? Each case changes one thing and asks for the report."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from .harness import SECTIONS, Case, Entry, Run, differences, run_lightning
from .models import Data, Net


def train(build: Callable[[], Any] = Net, seed: int = 7, trace: bool = True, **arguments: Any) -> Run:
    run = run_lightning(Case(build, Data, {"max_epochs": 1, **arguments}, seed, trace, None))
    assert run.error is None
    return run


@pytest.fixture(scope="module")
def run() -> Run:
    return train()


def test_the_same_training_twice_is_equal(run: Run) -> None:
    assert differences(run, train()) == ""
    assert all(getattr(run, section) for section in SECTIONS)


def test_recording_changes_no_numbers(run: Run) -> None:
    assert differences(run, train(trace=False), ("weights", "metrics", "logger", "final")) == ""


def drop(entries: list[Entry]) -> None:
    del entries[3]


def add(entries: list[Entry]) -> None:
    entries.append(entries[-1])


def swap(entries: list[Entry]) -> None:
    entries[1], entries[4] = entries[4], entries[1]


def rename(entries: list[Entry]) -> None:
    entries[2].label += "?"


def change(entries: list[Entry]) -> None:
    entries[-1].facts["extra"] = 1


@pytest.mark.parametrize("mutate", [drop, add, swap, rename, change])
@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "final"])
def test_a_changed_section_is_reported(run: Run, section: str, mutate: Callable[[list[Entry]], None]) -> None:
    changed = copy.deepcopy(run)
    changed.who = "other"
    mutate(getattr(changed, section))
    report = differences(run, changed)
    assert report.startswith(f"{section}: entry ")
    assert "Lightning" in report and "other" in report


def test_one_bit_of_a_weight_is_reported_with_both_values(run: Run) -> None:
    changed = copy.deepcopy(run)
    weight = changed.weights[2].facts["net.0.weight"].view(-1)
    weight[0] = torch.nextafter(weight[0], torch.tensor(10.0))
    report = differences(run, changed)
    assert "weights: entry 2 differs" in report
    assert "net.0.weight: Lightning tensor(" in report


def test_a_fact_that_differs_is_named_with_its_hook(run: Run) -> None:
    changed = copy.deepcopy(run)
    entry = next(entry for entry in changed.trace if entry.label == "module.training_step")
    entry.facts["global_step"] += 1
    report = differences(run, changed)
    assert "at module.training_step:" in report
    assert "global_step: Lightning 0" in report


def test_nan_is_equal_to_nan_and_one_is_not_true() -> None:
    nan = [Entry("a", {"value": "nan"})]
    assert differences(Run("x", metrics=nan), Run("y", metrics=copy.deepcopy(nan))) == ""
    assert differences(Run("x", metrics=[Entry("a", {"v": 1})]), Run("y", metrics=[Entry("a", {"v": True})])) != ""


@pytest.mark.parametrize("options", [
    {"seed": 8}, {"max_epochs": 2}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.01},
    {"val_check_interval": 0.5}, {"log_every_n_steps": 1}, {"limit_train_batches": 5},
    {"build": lambda: Net(scheduler="step", interval="step")}, {"build": lambda: Net(dropout=0.21)},
], ids=["seed", "epochs", "accumulation", "clipping", "interval", "reports", "limit", "schedule", "dropout"])  # fmt: skip
def test_another_training_is_another_run(run: Run, options: dict) -> None:
    assert differences(run, train(**options)) != ""


class DrawsOnce(Net):
    def on_train_end(self) -> None:
        torch.rand(1)


def test_a_random_number_drawn_at_the_very_end_is_reported(run: Run) -> None:
    assert "random: entry" in differences(run, train(DrawsOnce))


class ForgetsAHook(Net):
    def on_train_epoch_end(self) -> None:
        self.net[1].eval()


def test_a_mode_left_behind_is_reported(run: Run) -> None:
    assert "modes" in differences(run, train(ForgetsAHook))
