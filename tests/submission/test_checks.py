"""What would end an experiment on the cluster is told before there is one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lightning_adapter.submission.checks import Typed, faults_of, with_typed
from lightning_adapter.submission.entrypoint import read_entrypoint

FIT = "python3 -m lightning_adapter fit model_def:T"
TORCH = "python3 -m determined.launch.torch_distributed --"
TWO = {"resources": {"slots_per_trial": 2}}


def faults(config: dict[str, Any], entrypoint: str = FIT, **typed: Any) -> str:
    return "\n".join(faults_of(config, read_entrypoint(entrypoint), Typed(**typed)))


def hyperparameter(size: object, slots: int = 2) -> dict[str, Any]:
    return {"resources": {"slots_per_trial": slots}, "hyperparameters": {"global_batch_size": size}}


@pytest.mark.parametrize("entrypoint", [FIT, "python3 train.py"])
def test_several_slots_without_a_launcher_are_told_with_the_line_to_write(entrypoint: str) -> None:
    assert f"To fix, write entrypoint: {TORCH} {entrypoint}" in faults(TWO, entrypoint)


@pytest.mark.parametrize("entrypoint", [f"{TORCH} {FIT}", "model_def:T", "bash run.sh", "torchrun train.py"])
def test_several_slots_with_what_may_launch_are_fine(entrypoint: str) -> None:
    assert faults(TWO, entrypoint) == ""


def test_one_slot_needs_no_launcher() -> None:
    assert faults({}) == faults({"resources": {}}) == faults({"resources": {"slots_per_trial": 0}}) == ""


def test_two_launchers_are_told_by_name() -> None:
    told = faults(TWO, f"{TORCH} python3 -m determined.launch.horovod -- {FIT}")
    assert "has 2 launchers, determined.launch.torch_distributed and determined.launch.horovod" in told


@pytest.mark.parametrize(
    "searcher",
    [{"time_metric": "epochs", "max_time": 9}, {"max_length": {"epochs": 9}}, {"max_time": 9, "time_metric": "x"}],
)
def test_epochs_of_the_searcher_and_of_the_command_have_to_agree(searcher: dict[str, Any]) -> None:
    compares = searcher.get("time_metric") != "x"
    assert ("--max-epochs 5, and searcher.max_" in faults({"searcher": searcher}, max_epochs=5)) is compares
    assert faults({"searcher": searcher}, max_epochs=9) == faults({"searcher": searcher}) == ""


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (33, "2 processes cannot share evenly"),
        (64, ""),
        ("many", "counts the samples"),
        ({"type": "const", "val": 33}, "cannot share evenly"),
        ({"type": "categorical", "vals": [32, 33]}, "global_batch_size is 33, .* the range holds that value"),
        ({"type": "categorical", "vals": [32, 64]}, ""),
        ({"type": "int", "minval": 32, "maxval": 64}, "global_batch_size is 33, .* list sizes that fit"),
        ({"type": "int", "minval": 0, "maxval": 10**12}, "counts the samples"),
        ({"type": "log", "base": 2, "minval": 4, "maxval": 6}, "a range of type 'log', which draws fractions"),
    ],
)
def test_batch_size_that_slots_cannot_share_is_told(size: object, told: str) -> None:
    found = faults(hyperparameter(size), f"{TORCH} {FIT}")
    assert found == "" if told == "" else re.search(told, found)


def test_typed_batch_size_wins_over_the_file() -> None:
    assert faults(hyperparameter(33), f"{TORCH} {FIT}", hparams={"global_batch_size": 32}) == ""
    assert "cannot share" in faults(hyperparameter(32), f"{TORCH} {FIT}", hparams={"global_batch_size": 33})


def test_typed_hyperparameters_are_put_into_groups_and_in_the_place_of_ranges() -> None:
    said: dict[str, Any] = {"lr": {"type": "double", "minval": 0, "maxval": 1}, "a": {"b": 1, "c": 2}}
    said["d"] = {"type": "const", "val": {"type": "adam", "e": 1}}
    typed = {"lr": 0.1, "a": {"b": 3}, "d": {"e": 2}, "new": {"f": 4}}
    assert with_typed(said, typed) == {
        "lr": 0.1,
        "a": {"b": 3, "c": 2},
        "d": {"type": "const", "val": {"type": "adam", "e": 2}},
        "new": {"f": 4},
    }
