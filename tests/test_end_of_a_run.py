"""Who is told how a run ended: callbacks, datamodule, loggers and the trainer, after an exception wherever it was raised?"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import determined
import pytest
import pytorch_lightning as pl
import torch
from determined import pytorch
from pytorch_lightning.loggers import CSVLogger

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.errors import ConfigurationError
from two_ways import BoringDataModule, BoringModel, Fit, outcomes, trial_of

ONE_BATCH = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1}
OF_MODULE = [
    "prepare_data", "setup", "configure_model", "configure_callbacks", "configure_optimizers", "on_fit_start",
    "on_train_start", "training_step", "validation_step", "on_validation_epoch_end",
    "on_train_epoch_end", "on_train_end", "on_fit_end", "teardown",
]  # fmt: skip
OF_DATA = ["prepare_data", "setup", "train_dataloader", "teardown"]


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    """Lightning's Trainer turns SIGINT off once it was interrupted."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


class Told:
    """What a run's callback, datamodule and logger heard of its end."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def logger(self, directory: Path) -> CSVLogger:
        words = self.words

        class Log(CSVLogger):
            def finalize(self, status: str) -> None:
                words.append(f"logger {status}")

        return Log(str(directory))

    def callback(self) -> pl.Callback:
        words = self.words

        class Listens(pl.Callback):
            def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
                assert pl_module.trainer is trainer
                words.append(f"callback {type(exception).__name__}, interrupted={trainer.interrupted}")

            def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
                words.append(f"teardown, interrupted={trainer.interrupted}")

        return Listens()

    def datamodule(self) -> pl.LightningDataModule:
        words = self.words

        class Data(BoringDataModule):
            def on_exception(self, exception: BaseException) -> None:
                words.append(f"datamodule {type(exception).__name__}")

        return Data()


def raising(error: BaseException) -> Callable[..., Any]:
    def raises(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise error

    return raises


def ending(error: BaseException, hook: str, tmp_path: Path, of_data: bool = False) -> Callable[[Fit], list[str]]:
    """A run whose hook raises."""

    def situation(train: Fit) -> list[str]:
        told = Told()
        data, model = told.datamodule(), BoringModel()
        owner: Any = data if of_data else model
        owner.__class__ = type(type(owner).__name__, (type(owner),), {hook: raising(error)})
        try:
            train(model, data, callbacks=[told.callback()], logger=told.logger(tmp_path), **ONE_BATCH)
        except BaseException as raised:
            told.words.append(f"raised {type(raised).__name__}")
        state = model.trainer.state
        return [*told.words, f"{state.status} {state.stage}"]

    return situation


@pytest.mark.parametrize("hook", OF_MODULE)
def test_error_in_a_hook_of_the_module_ends_the_run_as_in_lightning(hook: str, tmp_path: Path) -> None:
    theirs, ours = outcomes(tmp_path, ending(ValueError("of user code"), hook, tmp_path))
    assert ours == theirs
    assert {"callback ValueError, interrupted=True", "datamodule ValueError", "logger failed"} < set(ours)


@pytest.mark.parametrize("hook", OF_DATA)
def test_error_in_a_hook_of_the_datamodule_ends_the_run_as_in_lightning(hook: str, tmp_path: Path) -> None:
    theirs, ours = outcomes(tmp_path, ending(ValueError("of user code"), hook, tmp_path, of_data=True))
    assert ours == theirs


def test_mock_in_the_place_of_the_datamodules_hook_is_told(tmp_path: Path) -> None:
    def situation(train: Fit) -> int:
        model, data = BoringModel(), BoringDataModule()
        model.training_step = raising(ValueError("of user code")).__get__(model)
        data.on_exception = Mock()
        with pytest.raises(ValueError, match="of user code"):
            train(model, data, **ONE_BATCH)
        return data.on_exception.call_count

    assert outcomes(tmp_path, situation) == (1, 1)


@pytest.mark.parametrize("hook", ["setup", "on_train_start", "on_train_end", "on_fit_end", "teardown"])
def test_stop_iteration_at_the_ends_of_a_run_is_raised_as_it_was(hook: str, tmp_path: Path) -> None:
    theirs, ours = outcomes(tmp_path, ending(StopIteration("of user code"), hook, tmp_path))
    assert ours == theirs
    assert "raised StopIteration" in ours


@pytest.mark.parametrize("hook", ["setup", "training_step"])
def test_keyboard_interrupt_ends_the_program_as_in_lightning(hook: str, tmp_path: Path) -> None:
    theirs, ours = outcomes(tmp_path, ending(KeyboardInterrupt(), hook, tmp_path))
    assert ours[:-1] == theirs[:-1]
    assert ours[-2] == "raised SystemExit"


def test_module_that_cannot_be_trained_is_told_to_callbacks_too(tmp_path: Path) -> None:
    def situation(train: Fit) -> list[str]:
        told = Told()

        class NoOptimizers(pl.LightningModule):
            def training_step(self, batch: Any, batch_idx: int) -> None:
                pass

            def train_dataloader(self) -> Any:
                return [1]

        with pytest.raises(Exception, match=r"configure_optimizers\(\)"):
            train(NoOptimizers(), told.datamodule(), callbacks=[told.callback()], **ONE_BATCH)
        return [word.partition(",")[2] or word.partition(" ")[0] for word in told.words]

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs


def test_run_that_is_over_says_so(tmp_path: Path) -> None:
    def situation(train: Fit) -> list[str]:
        told, model = Told(), BoringModel()
        train(model, told.datamodule(), callbacks=[told.callback()], logger=told.logger(tmp_path), **ONE_BATCH)
        return [*told.words, f"{model.trainer.state.status} {model.trainer.state.stage}"]

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs


# --- within the handling of another error -----------------------------------------------------------------------------


def test_run_that_is_made_while_an_error_is_handled_ends_well(tmp_path: Path) -> None:
    def situation(train: Fit) -> list[str]:
        told = Told()
        try:
            raise RuntimeError("out of memory")
        except RuntimeError:
            train(
                BoringModel(), told.datamodule(), callbacks=[told.callback()], logger=told.logger(tmp_path), **ONE_BATCH
            )
        return told.words

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs
    assert ours[-1] == "logger success"


def test_run_that_is_made_while_refused_hyperparameters_are_handled_leaves_checkpoints(tmp_path: Path) -> None:
    try:
        raise determined.InvalidHP("too large")
    except determined.InvalidHP:
        trial = fit(trial_of(BoringModel(), **ONE_BATCH), run_dir=tmp_path / "run")
    assert trial.latest_checkpoint is not None


def test_hyperparameters_refused_in_a_step_leave_no_checkpoint(tmp_path: Path) -> None:
    class Refuses(BoringModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise determined.InvalidHP("too large")

    with pytest.raises(ConfigurationError, match="too large"):
        fit(trial_of(Refuses(), **ONE_BATCH), run_dir=tmp_path / "run")
    assert not any((tmp_path / "run" / "checkpoints").iterdir())


# --- under Determined's own Trainer -----------------------------------------------------------------------------------


def under_determined(trial_class: type[LightningAdapter]) -> None:
    with pytorch.init() as context:
        pytorch.Trainer(trial_class(context), context).fit(max_length=pytorch.Batch(1))


@pytest.fixture
def local_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.mark.usefixtures("local_store")
def test_under_determineds_trainer_a_run_within_a_handler_ends_well(tmp_path: Path) -> None:
    told = Told()
    try:
        raise RuntimeError("out of memory")
    except RuntimeError:
        under_determined(
            trial_of(BoringModel(), callbacks=[told.callback()], logger=told.logger(tmp_path), **ONE_BATCH)
        )
    assert told.words == ["teardown, interrupted=False", "logger success"]


@pytest.mark.usefixtures("local_store")
@pytest.mark.parametrize("hook", ["setup", "on_fit_start", "training_step", "on_fit_end", "teardown"])
def test_under_determineds_trainer_an_error_is_told_too(hook: str, tmp_path: Path) -> None:
    told = Told()
    model = type("Model", (BoringModel,), {hook: raising(ValueError("of user code"))})()
    trial = trial_of(model, callbacks=[told.callback()], logger=told.logger(tmp_path), **ONE_BATCH)
    with pytest.raises(ValueError, match="of user code"):
        under_determined(trial)
    assert told.words[-2:] == ["callback ValueError, interrupted=True", "logger failed"]


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "word", "status"),
    [(signal.SIGTERM, "callback SIGTERMException", 143), (signal.SIGINT, "callback KeyboardInterrupt", 130)],
)
def test_signal_is_told_to_callbacks_and_ends_the_program(
    number: signal.Signals, word: str, status: int, tmp_path: Path
) -> None:
    told, seen = Told(), []

    class Model(BoringModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1:
                os.kill(os.getpid(), number)
            return super().training_step(batch, batch_idx)

        def on_train_batch_end(self, *args: Any) -> None:
            seen.append(self.trainer.received_sigterm)

    trial = trial_of(Model(), callbacks=[told.callback()], logger=told.logger(tmp_path), max_epochs=1)
    with pytest.raises(SystemExit) as raised:
        fit(trial, run_dir=tmp_path / "run")
    assert raised.value.code == status
    assert told.words == [f"{word}, interrupted=True", "logger failed"]
    assert seen == [False, number is signal.SIGTERM]
    assert any((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize("hook", ["on_train_end", "on_fit_end", "teardown"])
def test_signal_in_a_last_hook_ends_the_program_once_the_run_is_complete(
    hook: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Late(pl.Callback):
        pass

    setattr(Late, hook, lambda *args, **_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as raised:
        fit(trial_of(BoringModel(), callbacks=[Late()], **ONE_BATCH), run_dir=tmp_path / "run")
    assert raised.value.code == 143
    assert "SIGTERM came when all was trained: the run is complete." in capsys.readouterr().out


def test_generator_of_the_user_that_ends_early_is_an_error_as_in_lightning(tmp_path: Path) -> None:
    class Counts(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[torch.Tensor]:
            numbers = iter([torch.ones(32)] * 3)
            while True:
                yield next(numbers)

    def situation(train: Fit) -> tuple[str, str]:
        model = BoringModel()
        model.train_dataloader = lambda: torch.utils.data.DataLoader(Counts(), 2)
        with pytest.raises(RuntimeError) as raised:
            train(model, max_epochs=1)
        return str(raised.value), type(raised.value.__cause__).__name__

    assert outcomes(tmp_path, situation) == (("generator raised StopIteration", "StopIteration"),) * 2
