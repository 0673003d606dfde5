"""Is somebody told once that what a step returned was not logged, and nobody else?"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric

from lightning_adapter.loop.unlogged import UnloggedReturns
from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.trainer.metadata import MetadataParser
from loop.parts import HOST, HookParts, hook_parts

pl = HOST.pl

Log = Callable[..., None]
LOSS = torch.tensor(0.25)
ACCURACY = torch.tensor(0.5)


class Run:
    """A step that logs what it is told to, and whoever looks at what it returns."""

    def __init__(self, step: str = "validation_step", module: Any = None, at_epoch_end: tuple[str, ...] = ()) -> None:
        self.step = step
        self.parts: HookParts = hook_parts(module or pl.LightningModule())
        self.connector = LoggerConnector(
            self.parts.running,
            MetadataParser(HOST, self.parts.hooks.module, lambda: True),
            torch.device("cpu"),
            sync=None,
        )
        logged = self.connector.training
        if step == "validation_step":
            self.connector.validation_starts()
            logged = self.connector.validation
        self.unlogged = UnloggedReturns(step, self.parts.hooks, logged, at_epoch_end)

    def batch(self, output: Any, **logged: Any) -> None:
        self.connector.on_batch_start(torch.zeros(4))
        self.logs(self.step, **logged)
        self.unlogged.look(output)
        self.connector.on_batch_end()

    def logs(self, hook: str, **logged: Any) -> None:
        for name, value in logged.items():
            self.parts.hooks.run(hook, self.connector.log, name, value)

    def told(self, epoch_over: bool = True) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.unlogged.reported(epoch_over)
        return [str(warning.message) for warning in caught]


def test_returned_numbers_that_are_not_logged_are_named_once_with_what_to_write() -> None:
    run = Run()
    run.batch({"val_loss": LOSS, "accuracy": 0.5, "predictions": torch.zeros(4), "epoch_is_odd": True, "name": "x"})
    (message,) = run.told()
    assert message.startswith("validation_step returns val_loss, accuracy without logging them.")
    assert 'write self.log("val_loss", ...) in validation_step' in message
    run.batch({"other": LOSS})
    assert run.told() == []


def test_the_one_that_is_not_logged_is_named_alone() -> None:
    run = Run()
    run.batch({"val_loss": LOSS, "accuracy": ACCURACY}, val_loss=LOSS)
    (message,) = run.told()
    assert message.startswith("validation_step returns accuracy without logging it.")


@pytest.mark.parametrize(
    ("output", "logged"),
    [
        ({"loss": LOSS}, {"val_loss": LOSS}),
        (LOSS, {"val_loss": LOSS}),
        (LOSS, {"accuracy": ACCURACY}),
        ({"accuracy": LOSS}, {"accuracy": ACCURACY}),
        ({"loss": LOSS.double() * (1 + 1e-6)}, {"val_loss": LOSS}),
        ({"loss": torch.tensor(float("nan"))}, {"val_loss": torch.tensor(float("nan"))}),
        (None, {}),
        ({}, {}),
        ({"predictions": torch.zeros(4), "log": {"loss": LOSS}}, {}),
        ([1.0, 2.0], {}),
    ],
    ids=[
        "same value", "bare, same value", "bare, something else logged", "same name", "rounded", "nan", "none", "nothing",
        "no numbers", "list",
    ],
)  # fmt: skip
def test_nothing_is_said_of_what_was_logged_in_some_way(output: Any, logged: dict[str, torch.Tensor]) -> None:
    run = Run()
    run.batch(output, **logged)
    assert run.told() == []


def test_value_of_a_metric_object_is_logged_under_any_name() -> None:
    module = pl.LightningModule()
    module.metric = MeanMetric()
    run = Run(module=module)
    run.batch({"loss": module.metric(LOSS)}, mean_loss=module.metric)
    assert run.told() == []


def test_another_hook_that_logs_may_log_it_in_a_form_of_its_own() -> None:
    run = Run()
    run.batch({"val_loss": LOSS, "accuracy": ACCURACY})
    run.connector.evaluation_epoch_end()
    run.logs("on_validation_epoch_end", mean_loss=ACCURACY * 3)
    assert run.told() == []


def test_bare_loss_is_missed_where_nothing_is_logged_at_all() -> None:
    run = Run()
    run.batch(LOSS)
    (message,) = run.told()
    assert message.startswith("validation_step returns loss without logging it.")


@pytest.mark.parametrize("outputs", [{"loss": LOSS}, [{"loss": LOSS}, {"loss": ACCURACY}]], ids=["one", "optimizers"])
def test_loss_of_training_is_missed_where_nothing_is_logged_at_all(outputs: Any) -> None:
    silent, logs = Run("training_step"), Run("training_step")
    silent.batch(outputs)
    logs.batch(outputs, accuracy=torch.tensor(0.9))
    (message,) = silent.told(epoch_over=False)
    assert message.startswith("training_step returns loss without logging it.")
    assert logs.told(epoch_over=False) == []


def test_hook_at_the_epochs_end_is_waited_for() -> None:
    class Module(pl.LightningModule):
        def on_train_epoch_end(self) -> None:
            pass

    run = Run("training_step", Module(), at_epoch_end=("on_train_epoch_end",))
    run.batch({"loss": LOSS, "accuracy": ACCURACY})
    assert run.told(epoch_over=False) == []
    (message,) = run.told(epoch_over=True)
    assert message.startswith("training_step returns loss, accuracy without logging them.")


def test_nothing_is_settled_before_a_first_batch_was_seen() -> None:
    run = Run("training_step")
    assert run.told() == []  # a run that goes on in the middle of an epoch
    run.batch({"loss": LOSS})
    assert len(run.told()) == 1


def test_many_names_are_counted() -> None:
    run = Run()
    run.batch({f"m{index}": LOSS for index in range(10)})
    (message,) = run.told()
    assert "returns m0, m1, m2, m3, m4, m5, m6, m7 and 2 more without" in message
