"""Which defaults do settings have that depend on each other?"""

from __future__ import annotations

from typing import Any

import pytest

from lightning_adapter.trainer.settings import Settings
from trainer.parts import HOST, arguments, settings


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 1000),
        ({"max_epochs": 0}, 0),
        ({"max_epochs": 3, "max_steps": 5}, 3),
        ({"max_steps": 5}, -1),
        ({"max_time": "00:00:00:10"}, -1),
    ],
)
def test_epochs_are_limited_where_nothing_else_ends_training(given: dict[str, Any], expected: int) -> None:
    assert settings(**given).max_epochs == expected


def test_timer_among_the_callbacks_ends_training() -> None:
    assert Settings(arguments(), HOST, has_timer=True).max_epochs == -1


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 0), ({"min_steps": 2}, 1), ({"min_epochs": 2, "min_steps": 2}, 2), ({"min_epochs": 0, "min_steps": 2}, 0)],
)
def test_least_number_of_epochs_is_one_where_steps_are_given_alone(given: dict[str, int], expected: int) -> None:
    assert settings(**given).min_epochs == expected


@pytest.mark.parametrize("algorithm", ["norm", "value", None])
def test_clipping_algorithm_is_lightnings_enum(algorithm: str | None) -> None:
    made = settings(gradient_clip_algorithm=algorithm).gradient_clip_algorithm

    if algorithm is None:
        assert made is None
    else:
        assert made is HOST.load("utilities.enums").GradClipAlgorithmType(algorithm)


def test_settings_that_callbacks_change_leave_the_arguments_alone() -> None:
    given = arguments(accumulate_grad_batches=2)
    made = Settings(given, HOST, has_timer=False)

    made.accumulate_grad_batches = 5

    assert given.accumulate_grad_batches == 2


def test_every_setting_is_taken_from_the_argument_of_its_name() -> None:
    distinct = {
        "max_epochs": 11, "min_epochs": 2, "max_steps": 13, "min_steps": 4, "accumulate_grad_batches": 5,
        "gradient_clip_val": 0.6, "limit_train_batches": 7, "limit_val_batches": 8,
        "limit_test_batches": 16, "limit_predict_batches": 17, "val_check_interval": 9,
        "check_val_every_n_epoch": 10, "num_sanity_val_steps": 12, "reload_dataloaders_every_n_epochs": 14,
        "log_every_n_steps": 15, "benchmark": True, "enable_progress_bar": False,
    }  # fmt: skip
    made = settings(**distinct)

    assert {name: getattr(made, name) for name in distinct} == distinct
    assert made.skip_backward is False


def test_overfitting_and_a_time_between_validations_are_kept() -> None:
    assert settings(overfit_batches=2).overfit_batches == 2
    assert settings(val_check_interval="00:00:01:00").val_check_time_interval == 60.0
    assert settings(fast_dev_run=2).fast_dev_run == 2
    assert settings(barebones=True).barebones is True
