"""Does a run behave as under Lightning where user code raises, or changes its mind, in an unusual place?"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torchmetrics

from lightning_adapter import LightningAdapter, fit
from parity.models import flavour
from two_ways import BoringModel, Fit, outcomes, weights
from two_ways import trial_of as trial_without_data

ours, theirs = flavour("pytorch_lightning", ours=True), flavour("pytorch_lightning", ours=False)
EPOCH = 6  # batches of Data


def trial_of(module: Callable[[], Any], **arguments: Any) -> type[LightningAdapter]:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, module(), ours.Data(), enable_model_summary=False, **arguments)

    return Trial


def under_lightning(make: Callable[[], Any], tmp_path: Path, **arguments: Any) -> Any:
    """Seeded as `fit(seed=3)` is: before the module is made, and not again."""
    pl.seed_everything(3)
    module = make()
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0, **arguments,
    )  # fmt: skip
    trainer.fit(module, theirs.Data())
    return module


class Sometimes(ours.Net):
    """Raises at the third batch of the first epoch."""

    trained: int

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 2 and self.current_epoch == 0:
            raise RuntimeError("out of memory")
        self.trained = getattr(self, "trained", 0) + 1
        return super().training_step(batch, batch_idx)


def test_trial_that_survives_an_error_of_a_step_goes_on_with_the_next_batch(tmp_path: Path) -> None:
    class Trial(trial_of(Sometimes)):  # type: ignore[misc]
        def train_batch(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            try:
                return super().train_batch(*args, **kwargs)  # type: ignore[no-any-return]
            except RuntimeError as error:
                assert "out of memory" in str(error)
                return {}

    trial = fit(Trial, max_epochs=2, run_dir=tmp_path / "run")
    assert trial.lightning_module.trained == 2 * EPOCH - 1


@pytest.mark.parametrize("hook", ["on_fit_start", "on_train_start", "on_train_batch_start"])
def test_error_in_a_hook_reaches_on_exception(hook: str, tmp_path: Path) -> None:
    told: list[str] = []

    class Raises(ours.Net):
        pass

    def raises(self: Any, *args: Any) -> None:
        raise KeyError(hook)

    setattr(Raises, hook, raises)

    class Listens(pl.Callback):
        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            told.append(str(exception))

    with pytest.raises(KeyError, match=hook):
        fit(trial_of(Raises, callbacks=[Listens()]), max_epochs=1, run_dir=tmp_path / "run")
    assert told == [f"'{hook}'"]


STOPPABLE = [
    "on_after_batch_transfer", "on_train_epoch_start", "on_train_batch_start", "training_step", "on_before_zero_grad",
    "on_after_backward", "lr_scheduler_step", "on_train_batch_end", "on_validation_start", "on_validation_epoch_start",
    "on_validation_batch_start", "validation_step", "on_validation_batch_end", "on_validation_epoch_end",
    "on_validation_end", "on_train_epoch_end", "on_train_end",
]  # fmt: skip


def stopped_in(hook: str, at: int) -> Callable[[Fit], list[str]]:
    """A run of a hook that raises StopIteration when it is called for the time `at`; returns which hooks ran, and where."""

    def situation(train: Fit) -> list[str]:
        told: list[str] = []

        class Stops(BoringModel):
            pass

        def recording(name: str) -> Callable[..., Any]:
            def method(self: Any, *args: Any, **kwargs: Any) -> Any:
                progress = self.trainer.fit_loop.epoch_loop.batch_progress
                told.append(f"{name} {self.trainer.current_epoch} {self.trainer.global_step} {progress.total.ready}")
                if name == hook and sum(word.startswith(f"{name} ") for word in told) == at:
                    raise StopIteration("of user code")
                return getattr(super(Stops, self), name)(*args, **kwargs)

            return method

        for name in STOPPABLE:
            setattr(Stops, name, recording(name))
        model = Stops()
        try:
            train(model, max_epochs=3, limit_train_batches=3, limit_val_batches=2, val_check_interval=2)
        except StopIteration as error:
            told.append(str(error))
        trainer = model.trainer
        return [
            *told,
            f"{trainer.current_epoch} {trainer.global_step}",
            f"{torch.cat([p.flatten() for p in model.parameters()]).sum():.3f}",
        ]

    def seeded(train: Fit) -> list[str]:
        pl.seed_everything(3)
        return situation(train)

    return seeded


@pytest.mark.parametrize(
    ("hook", "at"), [*((hook, 2) for hook in STOPPABLE), ("training_step", 1), ("on_train_end", 1)]
)
def test_stop_iteration_of_a_hook_ends_what_it_ends_in_lightning(hook: str, at: int, tmp_path: Path) -> None:
    theirs, ours = outcomes(tmp_path, stopped_in(hook, at))
    assert ours == theirs


@pytest.mark.parametrize("hook", ["setup", "on_fit_start", "on_sanity_check_start", "on_train_start"])
def test_stop_asked_for_before_training_trains_no_epoch(hook: str, tmp_path: Path) -> None:
    def situation(train: Fit) -> list[str]:
        told: list[str] = []

        class Stops(pl.Callback):
            def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
                told.append("epoch")

            def on_train_end(self, trainer: Any, pl_module: Any) -> None:
                told.append("on_train_end")

            def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
                told.append(f"on_fit_end {trainer.current_epoch} {trainer.global_step}")

        def stops(self: Any, trainer: Any, *args: Any, **kwargs: Any) -> None:
            trainer.should_stop = True

        setattr(Stops, hook, stops)
        train(BoringModel(), callbacks=[Stops()], max_epochs=2, limit_train_batches=2, num_sanity_val_steps=1)
        return told

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs


def test_epochs_without_a_batch_for_ever_are_ended_by_a_signal(tmp_path: Path) -> None:
    class Skips(BoringModel):
        epochs = 0

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int:
            return -1

        def on_train_epoch_end(self) -> None:
            self.epochs += 1
            if self.epochs == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            assert self.epochs < 100

    model = Skips()
    with pytest.raises(SystemExit) as raised:
        fit(trial_without_data(model, max_epochs=-1), run_dir=tmp_path / "run")
    assert raised.value.code == 143
    assert model.epochs <= 6


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_end", "on_train_epoch_end"])
@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_cause_of_an_error_is_kept(hook: str, error: type[Exception], tmp_path: Path) -> None:
    class Raises(ours.Net):
        pass

    def raises(self: Any, *args: Any) -> None:
        try:
            next(iter(()))
        except StopIteration as empty:
            raise error("no more") from empty

    setattr(Raises, hook, raises)
    with pytest.raises(error, match="no more") as caught:
        fit(trial_of(Raises), max_epochs=1, run_dir=tmp_path / "run")
    assert isinstance(caught.value.__cause__, StopIteration)


def test_error_while_another_is_handled_shows_both(tmp_path: Path) -> None:
    class Raises(ours.Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            try:
                raise KeyError("first")
            except KeyError:
                raise ValueError("second")  # noqa: B904

    with pytest.raises(ValueError, match="second") as caught:
        fit(trial_of(Raises), max_epochs=1, run_dir=tmp_path / "run")
    assert isinstance(caught.value.__context__, KeyError)
    assert not caught.value.__suppress_context__


def test_train_batch_that_a_trial_wraps_on_itself_is_called(tmp_path: Path) -> None:
    calls: list[int] = []

    class Trial(trial_of(ours.Net)):  # type: ignore[misc]
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            inner = self.train_batch

            def timed(*args: Any, **kwargs: Any) -> dict[str, Any]:
                calls.append(1)
                return inner(*args, **kwargs)  # type: ignore[no-any-return]

            self.train_batch = timed

    fit(Trial, max_epochs=1, run_dir=tmp_path / "run")
    assert len(calls) == EPOCH


def manual_from_the_start(base: type) -> type:
    class Turns(base):  # type: ignore[misc]
        def on_train_start(self) -> None:
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            loss = super().training_step(batch, batch_idx)
            self.manual_backward(loss)
            optimizer.step()
            return loss

    return Turns


def test_module_that_turns_to_manual_optimization_when_training_starts(tmp_path: Path) -> None:
    trial = fit(trial_of(manual_from_the_start(ours.Net)), max_epochs=1, seed=3, run_dir=tmp_path / "run")
    module = under_lightning(manual_from_the_start(theirs.Net), tmp_path, max_epochs=1)
    assert torch.equal(weights(trial.lightning_module), weights(module))
    assert trial.lightning_module.trainer.global_step == module.trainer.global_step == EPOCH


def test_validation_step_that_is_replaced_while_training_is_run(tmp_path: Path) -> None:
    class Replaces(ours.Net):
        def on_train_epoch_end(self) -> None:
            self.validation_step = lambda batch, batch_idx: self.log("other", torch.ones(()))

    trial = fit(trial_of(Replaces), max_epochs=2, run_dir=tmp_path / "run")
    assert trial.callback_metrics["other"] == 1.0


class KeepsPredictions(ours.Net):
    """Its metric is a list of predictions, each with its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torchmetrics.CatMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.seen.update(loss)
        return loss


def test_limit_in_mid_epoch_with_a_metric_that_holds_graphs_leaves_a_resume_point(tmp_path: Path) -> None:
    short = fit(trial_of(KeepsPredictions), max_epochs=-1, max_steps=EPOCH + 2, seed=3, run_dir=tmp_path / "short")
    assert short.lightning_module.seen.compute().shape == (EPOCH + 2,)

    trial = trial_of(KeepsPredictions)
    whole = fit(trial, max_epochs=2, seed=3, run_dir=tmp_path / "whole")
    resumed = fit(trial, max_epochs=2, seed=3, run_dir=tmp_path / "resumed", resume_from=tmp_path / "short")
    torch.testing.assert_close(
        resumed.lightning_module.seen.compute(), whole.lightning_module.seen.compute(), rtol=0, atol=0
    )
