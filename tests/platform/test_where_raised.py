"""Is it noted on an exception that ends a run in which hook it was raised, in which epoch, with which batch?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import DummyLogger
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lightning_adapter import DETDM, DETLM, LightningAdapter, fit
from lightning_adapter.errors import ConfigurationError
from two_ways import QUIET


class Broken(Exception):
    """What user code raises."""


class Numbers(Dataset[torch.Tensor]):
    """Three batches of one sample; the second cannot be read, where that is wanted."""

    def __init__(self, broken: bool) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.broken and index == 1:
            raise Broken
        return torch.ones(2)


class Endless(IterableDataset[torch.Tensor]):
    """Nobody knows its length."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from (torch.ones(2), torch.ones(2))
        raise Broken


class Module(DETLM):
    """Raises an exception in one hook, at its nth call."""

    def __init__(self, hook: str = "", call: int = 1, train: Any = None, val: Any = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self._train, self._val = train or Numbers(False), val or Numbers(False)
        self.calls = 0
        if hook:
            inner = getattr(self, hook)

            def fails(self: Module, *args: Any, **kwargs: Any) -> Any:
                self.calls += 1
                if self.calls == call:
                    raise Broken
                return inner(*args, **kwargs)

            fails.__name__ = hook
            setattr(self, hook, fails.__get__(self))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch).sum()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch).sum())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return DataLoader(self._train)

    def val_dataloader(self) -> Any:
        return DataLoader(self._val)


class Tells(DummyLogger):
    """Cannot be reached."""

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        raise Broken


class Data(DETDM):
    """Cannot be set up."""

    def train_dataloader(self) -> Any:
        return DataLoader(Numbers(False))

    def setup(self, stage: str) -> None:
        raise Broken


class WrongSignature(pl.Callback):
    """Takes what Lightning has never given."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any) -> None:  # type: ignore[override]
        """Never called."""


class FailsToo(pl.Callback):
    """Raises another exception when it is told of one."""

    def on_exception(self, *_: Any) -> None:
        raise KeyError("mine")


def noted(directory: Path, module: Any, data: Any = None, **arguments: Any) -> str:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, module, data, **{**QUIET, "max_epochs": 2, "log_every_n_steps": 1, **arguments})

    with pytest.raises((Broken, TypeError, KeyError)) as caught:
        fit(Trial, run_dir=directory)
    (note,) = caught.value.__notes__
    return note


@pytest.mark.parametrize(
    ("hook", "call", "where"),
    [
        ("configure_optimizers", 1, ""),
        ("on_train_start", 1, ""),
        ("on_train_epoch_start", 2, "epoch 2/2"),
        ("transfer_batch_to_device", 2, "epoch 1/2, batch 2/3"),
        ("training_step", 5, "epoch 2/2, batch 2/3"),
        ("on_train_batch_end", 3, "epoch 1/2, batch 3/3"),
        ("validation_step", 2, "epoch 1/2, validation batch 2/3"),
        ("transfer_batch_to_device", 5, "epoch 1/2, validation batch 2/3"),
        ("on_validation_epoch_end", 2, "epoch 2/2"),
        ("on_train_epoch_end", 1, "epoch 1/2"),
        ("on_train_end", 1, "after epoch 2/2"),
    ],
)
def test_hook_is_noted_with_the_epoch_and_the_batch(tmp_path: Path, hook: str, call: int, where: str) -> None:
    assert noted(tmp_path, Module(hook, call)) == ", ".join(filter(None, [f"raised in {hook} of Module", where]))


@pytest.mark.parametrize(
    ("hook", "call", "where"),
    [
        ("on_validation_epoch_end", 2, "epoch 1/2, after batch 2/3"),
        ("validation_step", 5, "epoch 1/2, after batch 2/3, validation batch 2/3"),
        ("validation_step", 8, "epoch 1/2, validation batch 2/3"),
    ],
)
def test_of_several_validations_in_an_epoch_it_is_noted_which_one(
    tmp_path: Path, hook: str, call: int, where: str
) -> None:
    note = noted(tmp_path, Module(hook, call), val_check_interval=1)
    assert note == f"raised in {hook} of Module, {where}"


def test_batch_that_cannot_be_fetched_is_noted(tmp_path: Path) -> None:
    note = noted(tmp_path / "training", Module(train=Numbers(broken=True)))
    assert note == "raised while batch 2/3 of epoch 1/2 was fetched"
    note = noted(tmp_path / "validation", Module(val=Numbers(broken=True)))
    assert note == "raised while validation batch 2/3 of epoch 1/2 was fetched"
    note = noted(tmp_path / "endless", Module(train=Endless()), max_epochs=-1, max_steps=9)
    assert note == "raised while batch 3 of epoch 1 was fetched"


def test_batch_of_the_sanity_check_is_noted_as_such(tmp_path: Path) -> None:
    note = noted(tmp_path, Module("validation_step", 2), num_sanity_val_steps=2)
    assert note == "raised in validation_step of Module, sanity check batch 2/2"


def test_function_of_the_users_that_is_no_hook_is_noted(tmp_path: Path) -> None:
    assert (
        noted(tmp_path / "logger", Module(), logger=Tells()) == "raised in log_metrics of Tells, epoch 1/2, batch 1/3"
    )
    assert noted(tmp_path / "data", Module(), Data()) == "raised in setup of Data"

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            raise Broken

    with pytest.raises(Broken) as caught:
        fit(Trial, run_dir=tmp_path / "constructor")
    assert caught.value.__notes__ == ["raised in __init__ of Trial"]


def test_hook_that_cannot_be_called_is_noted_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    line = WrongSignature.on_train_batch_end.__code__.co_firstlineno
    where = f"on_train_batch_end of WrongSignature ({Path(__file__).name}:{line}), epoch 1/2, batch 1/3"
    assert noted(tmp_path, Module(), callbacks=[WrongSignature()]) == f"raised in {where}"


def test_loss_without_gradient_is_noted_with_no_hook_of_ours(tmp_path: Path) -> None:
    class Detached(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx).detach()

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, Detached(), **QUIET)

    with pytest.raises(RuntimeError, match="does not require grad") as caught:
        fit(Trial, max_epochs=1, run_dir=tmp_path)
    assert caught.value.__notes__ == ["raised in backward, epoch 1/1, batch 1/3"]


def test_exception_of_a_hook_that_was_told_of_one_is_noted_too(tmp_path: Path) -> None:
    assert noted(tmp_path, Module("training_step"), callbacks=[FailsToo()]) == "raised in on_exception of FailsToo"


def test_notes_of_the_users_stay_before_ours(tmp_path: Path) -> None:
    class Notes(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            error = Broken()
            error.__notes__ = ["theirs"]
            raise error

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, Notes(), **QUIET)

    with pytest.raises(Broken) as caught:
        fit(Trial, max_epochs=1, run_dir=tmp_path)
    assert caught.value.__notes__ == ["theirs", "raised in training_step of Notes, epoch 1/1, batch 1/3"]


def test_words_of_the_package_need_no_note(tmp_path: Path) -> None:
    class Refuses(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ConfigurationError("not so")

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, Refuses(), **QUIET)

    with pytest.raises(ConfigurationError, match="not so") as caught:
        fit(Trial, max_epochs=1, run_dir=tmp_path)
    assert not hasattr(caught.value, "__notes__")


def test_test_of_a_trained_trial_notes_its_batch(tmp_path: Path) -> None:
    class Tested(Module):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                raise Broken

        test_dataloader = Module.val_dataloader

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, Tested(), **QUIET)

    trial = fit(Trial, max_epochs=1, run_dir=tmp_path)
    with pytest.raises(Broken) as caught:
        trial.test()
    assert caught.value.__notes__ == ["raised in test_step of Tested, test batch 2"]


def test_exception_that_takes_no_note_is_raised_as_it_is(tmp_path: Path) -> None:
    class Refuses(Exception):
        def add_note(self, note: str) -> None:
            raise RuntimeError

    class Own(Module):
        def on_train_epoch_start(self) -> None:
            raise Refuses

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, Own(), **{**QUIET, "max_epochs": 1})

    with pytest.raises(Refuses):
        fit(Trial, run_dir=tmp_path)
