"""Is code that may stop training in mid epoch recognized?"""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import pytest

from lightning_adapter.loop.stops_in_batch import may_stop_in_batch
from loop.parts import HOST

pl = HOST.pl


class Plain(pl.LightningModule):
    """Asks for nothing."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", 1.0)


class Stops(pl.LightningModule):
    """Asks to stop in a step."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.should_stop = True


class Inherits(Stops):
    """Asks in what it inherits."""


class Nested(pl.LightningModule):
    """Asks in a function within a method."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        def stop() -> None:
            self.trainer.should_stop = True

        return stop


def passed_on(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class Wrapped(pl.LightningModule):
    """Asks in a decorated method."""

    @passed_on
    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.should_stop = True


class Callback(pl.Callback):
    """Asks from a callback."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.should_stop = True


@pytest.mark.parametrize(
    ("module", "expected"), [(Plain, False), (Stops, True), (Inherits, True), (Nested, True), (Wrapped, True)]
)
def test_module_that_names_should_stop_may_stop(module: type, expected: bool) -> None:
    assert may_stop_in_batch(HOST, module(), []) is expected


def test_function_set_on_an_instance_is_looked_at() -> None:
    module = Plain()

    def stop() -> None:
        module.trainer.should_stop = True

    vars(module)["on_train_batch_end"] = stop

    assert may_stop_in_batch(HOST, module, [])


def test_callback_that_names_should_stop_may_stop() -> None:
    assert may_stop_in_batch(HOST, Plain(), [pl.Callback(), Callback()])


def test_timer_may_stop_and_lightnings_other_callbacks_do_between_epochs() -> None:
    assert may_stop_in_batch(HOST, Plain(), [pl.callbacks.Timer(timedelta(seconds=1))])
    assert not may_stop_in_batch(HOST, Plain(), [pl.callbacks.EarlyStopping("loss")])
