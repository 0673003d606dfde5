"""Are all hooks called, in Lightning's order, on module, datamodule and callbacks, and do their results count?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from .harness import assert_parity, assert_same_error, since
from .models import GAN, Data, Manual, Net, pl, samples


def test_every_hook_of_a_plain_run_is_in_the_trace() -> None:
    run = assert_parity(lambda: Net(scheduler="step", interval="step"), Data, max_epochs=1)
    seen = {entry.label for entry in run.trace}
    for name in ("on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_before_backward",
                 "on_after_backward", "on_before_zero_grad", "on_before_optimizer_step", "on_train_batch_end",
                 "on_validation_start", "on_validation_batch_end", "on_train_epoch_end", "on_fit_end",
                 "setup", "teardown"):  # fmt: skip
        assert {f"module.{name}", f"callback.{name}"} <= seen
    assert {"datamodule.prepare_data", "datamodule.setup", "datamodule.teardown"} <= seen


@pytest.mark.parametrize("module", [Manual, GAN])
def test_hooks_in_manual_optimization(module: Any) -> None:
    assert_parity(module, Data, max_epochs=2, val_check_interval=0.5)


class TransfersOnModule(Net):
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return x + 1, y

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        x, y = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return 2 * x, y

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return (x - 3 + 0.01 * torch.randn_like(x), y) if self.trainer.training else (x, y)


@pytest.mark.parametrize("trace", [True, False])
def test_batch_transfer_hooks_of_the_module(trace: bool) -> None:
    assert_parity(TransfersOnModule, Data, trace=trace, max_epochs=2, num_sanity_val_steps=1)


class TransfersOnData(Data):
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return x * (1 + dataloader_idx), y

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return (x.roll(1, 0), y) if self.trainer.validating else (x, y)


class TransfersOnDataTwoSets(TransfersOnData):
    def val_dataloader(self) -> Any:
        return [DataLoader(samples(6, 1), 4), DataLoader(samples(6, 2), 4)]


@pytest.mark.parametrize("module", [Net, TransfersOnModule])
def test_batch_transfer_hooks_of_the_datamodule(module: Any) -> None:
    assert_parity(module, TransfersOnData, max_epochs=2)


def test_batch_transfer_hooks_see_the_dataloader_idx() -> None:
    class Takes(Net):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            self.log("val_loss", self.loss(batch))

    assert_parity(Takes, TransfersOnDataTwoSets, max_epochs=1)


class CountsLifeCycle(Data):
    """A datamodule whose set-up depends on how often it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def prepare_data(self) -> None:
        self.calls.append("prepare_data")

    def setup(self, stage: str | None = None) -> None:
        self.calls.append(f"setup {stage}")
        super().setup(stage)

    def train_dataloader(self) -> Any:
        self.calls.append("train_dataloader")
        return super().train_dataloader()

    def val_dataloader(self) -> Any:
        self.calls.append("val_dataloader")
        return super().val_dataloader()

    def teardown(self, stage: str | None = None) -> None:
        self.calls.append(f"teardown {stage}")


@pytest.mark.parametrize("options", [{}, {"num_sanity_val_steps": 1}, {"reload_dataloaders_every_n_epochs": 1}],
                         ids=str)  # fmt: skip
def test_life_cycle_of_the_datamodule(options: dict) -> None:
    assert_parity(Net, CountsLifeCycle, trace=False, max_epochs=3,
                  also=lambda module, callbacks: module.trainer.datamodule.calls, **options)  # fmt: skip


class DataDecidesTheModule(Net):
    """Builds its layers from what the datamodule found, as many projects do."""

    def setup(self, stage: str | None = None) -> None:
        width = len(self.trainer.datamodule.train_set)
        self.net = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))


def test_module_that_asks_the_datamodule_in_setup() -> None:
    assert_parity(DataDecidesTheModule, Data, max_epochs=2)


class OldStageSignature(Net):
    def setup(self, stage: str) -> None:
        assert stage == "fit"

    def teardown(self, stage: str) -> None:
        assert stage == "fit"


def test_setup_is_called_for_fit() -> None:
    assert_parity(OldStageSignature, Data, trace=False, max_epochs=1)


class LoadersNeedTheTrainer(Net):
    def train_dataloader(self) -> Any:
        return DataLoader(samples(4 * (2 + self.trainer.max_epochs)), 4, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(samples(6, self.trainer.max_epochs), 4)


def test_loaders_of_the_module_that_ask_the_trainer() -> None:
    assert_parity(LoadersNeedTheTrainer, max_epochs=2)


def test_validation_hooks_in_mid_epoch() -> None:
    assert_parity(Net, Data, max_epochs=2, val_check_interval=0.25, accumulate_grad_batches=2)


class OwnEvalMode(Net):
    """Keeps one layer awake during validation; Lightning calls its override instead of its own switching."""

    def on_validation_model_eval(self) -> None:
        super().on_validation_model_eval()
        self.net[3].train()

    def on_validation_model_train(self) -> None:
        super().on_validation_model_train()
        self.net[1].eval()


class OwnTrainMode(Net):
    def on_validation_model_train(self) -> None:
        self.train()
        self.net[1].eval()


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("module", [OwnEvalMode, OwnTrainMode])
def test_on_validation_model_eval_and_train_overrides(module: Any, trace: bool) -> None:
    assert_parity(module, Data, trace=trace, max_epochs=2, val_check_interval=0.5)


class OwnZeroGrad(Net):
    def on_validation_model_zero_grad(self) -> None:
        pass  # keeps the gradients during validation


@since("2.1")
def test_on_validation_model_zero_grad_override() -> None:
    assert_parity(OwnZeroGrad, Data, max_epochs=2, val_check_interval=0.5)


class GradientsInValidation(Net):
    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        with torch.enable_grad():
            x = batch[0].clone().requires_grad_()
            self(x).sum().backward()
        self.log("input_grad", x.grad.abs().mean())


def test_gradients_enabled_by_validation_step() -> None:
    assert_parity(GradientsInValidation, Data, max_epochs=2)


class ConfiguresCallbacks(Net):
    """Returns a callback; one of a class that the trainer was given replaces the trainer's."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def configure_callbacks(self) -> Any:
        return [Notes(self.calls, "module's")]


class Notes(pl.Callback):
    def __init__(self, calls: list[str], name: str) -> None:
        self.calls, self.name = calls, name

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.calls.append(f"{self.name} {trainer.current_epoch}")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        pl_module.net[0].weight.data.mul_(0.99)


class OtherNotes(Notes):
    pass


def test_configure_callbacks_adds() -> None:
    assert_parity(ConfiguresCallbacks, Data, max_epochs=2, also=lambda module, callbacks: module.calls)


def test_configure_callbacks_replaces_one_of_the_same_class() -> None:
    assert_parity(ConfiguresCallbacks, Data, max_epochs=2, also=lambda module, callbacks: module.calls,
                  callbacks=lambda: [Notes([], "trainer's"), OtherNotes([], "other")])  # fmt: skip


def test_configure_callbacks_replaces_one_of_a_base_class() -> None:
    class Derived(ConfiguresCallbacks):
        def configure_callbacks(self) -> Any:
            return [OtherNotes(self.calls, "module's")]

    assert_parity(Derived, Data, max_epochs=2, also=lambda module, callbacks: module.calls,
                  callbacks=lambda: [Notes([], "trainer's")])  # fmt: skip


def test_configure_callbacks_may_return_one_callback() -> None:
    class One(ConfiguresCallbacks):
        def configure_callbacks(self) -> Any:
            return Notes(self.calls, "one")

    assert_parity(One, Data, max_epochs=2, also=lambda module, callbacks: module.calls)


class Ordered(pl.Callback):
    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self.calls = name, calls

    @property
    def state_key(self) -> str:
        return self.name

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.calls.append(self.name)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.calls.append(self.name)


def test_order_of_several_callbacks() -> None:
    def callbacks() -> list:
        calls: list[str] = []
        return [Ordered(name, calls) for name in "abc"]

    assert_parity(Net, Data, max_epochs=1, callbacks=callbacks, also=lambda module, found: found[0].calls)


def test_one_callback_that_is_not_in_a_list() -> None:
    assert_parity(Net, Data, max_epochs=1, callbacks=lambda: Ordered("only", []),
                  also=lambda module, found: found[0].calls)  # fmt: skip


class PrintsAndReads(Net):
    """Uses what a module has from the trainer in the hooks where people use it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[Any] = []

    def on_train_start(self) -> None:
        self.seen.append(["start", self.trainer.num_training_batches, self.trainer.max_epochs])

    def on_train_epoch_start(self) -> None:
        self.seen.append([self.current_epoch, self.global_step, self.trainer.is_last_batch])

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append([batch_idx, self.global_step, self.trainer.is_last_batch, float(outputs["loss"])])
        self.seen.append([self.lr_schedulers().get_last_lr(), self.optimizers().param_groups[0]["lr"]])

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen.append(["val", batch_idx, dataloader_idx, float(outputs), self.trainer.sanity_checking])

    def on_train_end(self) -> None:
        self.seen.append(["end", self.current_epoch, self.global_step])


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 4}, {"num_sanity_val_steps": 1}], ids=str)
def test_what_the_module_sees_when_hooks_are_not_wrapped(options: dict) -> None:
    assert_parity(lambda: PrintsAndReads(scheduler="step", interval="step"), Data, trace=False, max_epochs=2,
                  also=lambda module, callbacks: module.seen, **options)  # fmt: skip


class FailsLate(Net):
    def on_train_epoch_end(self) -> None:
        raise KeyError("late failure")


class SeesException(pl.Callback):
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        raise RuntimeError(f"saw {type(exception).__name__} in epoch {trainer.current_epoch}")


def test_on_exception_of_a_callback_is_called() -> None:
    assert_same_error(FailsLate, Data, match="saw KeyError in epoch 0", max_epochs=2,
                      callbacks=lambda: [SeesException()])  # fmt: skip


class NoTrainingStep(pl.LightningModule):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)


def test_module_without_training_step_fails_as_in_lightning() -> None:
    assert_same_error(NoTrainingStep, Data, match="training_step", in_our_words=True, max_epochs=1)


def test_missing_train_dataloader_fails_as_in_lightning() -> None:
    assert_same_error(Net, match="train_dataloader", in_our_words=True, max_epochs=1)
