"""Do optimizers, schedulers and closures step when and how Lightning lets them step?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from .harness import assert_parity, assert_same_error, since, until
from .models import GAN, Data, Manual, Net, pl

SGD = torch.optim.SGD
StepLR = torch.optim.lr_scheduler.StepLR


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("scheduler", ["step", "cosine", "lambda", "sequential", "chained"])
def test_scheduler_per_interval(scheduler: str, interval: str) -> None:
    assert_parity(lambda: Net(scheduler=scheduler, interval=interval), Data, max_epochs=3)


@pytest.mark.parametrize("frequency", [2, 4, 5])
@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_scheduler_frequency(interval: str, frequency: int) -> None:
    assert_parity(lambda: Net(scheduler="step", interval=interval, frequency=frequency), Data, max_epochs=5)


def test_scheduler_per_step_with_accumulation() -> None:
    assert_parity(lambda: Net(scheduler="step", interval="step"), Data, max_epochs=2, accumulate_grad_batches=4)


def test_scheduler_frequency_with_accumulation_counts_batches() -> None:
    assert_parity(lambda: Net(scheduler="step", interval="step", frequency=4), Data, max_epochs=2,
                  accumulate_grad_batches=2)  # fmt: skip


def test_scheduler_per_epoch_when_max_steps_ends_in_mid_epoch() -> None:
    assert_parity(lambda: Net(scheduler="step"), Data, max_steps=8)


@pytest.mark.parametrize("options", [
    {"max_epochs": 2},
    {"max_steps": 8},
    {"max_epochs": 2, "accumulate_grad_batches": 4},
    {"max_epochs": 2, "limit_train_batches": 0.5},
])  # fmt: skip
def test_one_cycle_over_the_estimated_number_of_steps(options: dict) -> None:
    assert_parity(lambda: Net(scheduler="onecycle", interval="step"), Data, **options)


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_plateau_on_a_training_metric(interval: str) -> None:
    assert_parity(lambda: Net(scheduler="plateau", interval=interval, monitor="train_loss"), Data, max_epochs=4)


def test_plateau_on_a_validation_metric() -> None:
    assert_parity(lambda: Net(scheduler="plateau", monitor="val_loss"), Data, max_epochs=5)


def test_plateau_on_a_validation_metric_every_second_epoch() -> None:
    assert_parity(lambda: Net(scheduler="plateau", monitor="val_loss", frequency=2), Data, max_epochs=5,
                  check_val_every_n_epoch=2)  # fmt: skip


def test_plateau_per_step_after_validation_in_mid_epoch() -> None:
    assert_parity(lambda: Net(scheduler="plateau", interval="step", frequency=3, monitor="val_loss"), Data,
                  max_epochs=2, val_check_interval=3)  # fmt: skip


def test_plateau_on_a_metric_logged_at_epoch_end() -> None:
    class LogsAtEnd(Net):
        def on_train_epoch_end(self) -> None:
            self.log("late", float(self.current_epoch))

    assert_parity(lambda: LogsAtEnd(scheduler="plateau", monitor="late"), Data, max_epochs=4)


def test_plateau_without_the_metric_and_strict_false_skips() -> None:
    assert_parity(lambda: Net(scheduler="plateau", monitor="absent", strict=False), Data, max_epochs=2)


def test_plateau_without_the_metric_and_strict_fails_as_in_lightning() -> None:
    assert_same_error(lambda: Net(scheduler="plateau", monitor="absent"), Data,
                      match="conditioned on metric absent", max_epochs=2)  # fmt: skip


def test_plateau_without_monitor_fails_as_in_lightning() -> None:
    assert_same_error(lambda: Net(scheduler="plateau"), Data, match="monitor", in_our_words=True, max_epochs=2)


class FromFunction(Net):
    """Its `configure_optimizers` is the function it is given."""

    def __init__(self, configure: Callable[[Any], Any]) -> None:
        super().__init__()
        self.configure = configure

    def configure_optimizers(self) -> Any:
        return self.configure(self)


def sgd(module: Any, lr: float = 0.1) -> torch.optim.Optimizer:
    return SGD(module.parameters(), lr)


def with_steps(module: Any) -> tuple[torch.optim.Optimizer, Any]:
    optimizer = sgd(module)
    return optimizer, StepLR(optimizer, 1, 0.5)


def as_dict(module: Any) -> Any:
    optimizer, scheduler = with_steps(module)
    return {"optimizer": optimizer, "lr_scheduler": scheduler}


def as_dict_with_options(module: Any) -> Any:
    optimizer, scheduler = with_steps(module)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "mine"}}


def as_two_lists(module: Any) -> Any:
    optimizer, scheduler = with_steps(module)
    return [optimizer], [scheduler]


def as_two_lists_with_options(module: Any) -> Any:
    optimizer, scheduler = with_steps(module)
    return [optimizer], [{"scheduler": scheduler, "interval": "step", "frequency": 2}]


def as_two_lists_with_two_schedulers(module: Any) -> Any:
    optimizer, scheduler = with_steps(module)
    return [optimizer], [scheduler, {"scheduler": StepLR(optimizer, 1, 0.9), "interval": "step"}]


def as_plateau_in_two_lists(module: Any) -> Any:
    optimizer = sgd(module)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
    return [optimizer], [{"scheduler": plateau, "monitor": "val_loss", "reduce_on_plateau": True}]


def as_plateau_with_monitor_beside(module: Any) -> Any:
    optimizer = sgd(module)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
    return {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "val_loss"}


def as_parameter_groups(module: Any) -> Any:
    return torch.optim.AdamW(
        [
            {"params": module.net[0].parameters(), "lr": 0.01, "weight_decay": 0.1},
            {"params": [*module.net[1].parameters(), *module.net[4].parameters()]},
        ],
        lr=0.1,
    )


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize(
    "configure",
    [
        sgd,
        lambda module: [sgd(module)],
        lambda module: (sgd(module),),
        lambda module: {"optimizer": sgd(module)},
        lambda module: ([sgd(module)], []),
        as_dict,
        lambda module: [as_dict(module)],
        lambda module: (as_dict(module),),
        as_dict_with_options,
        as_two_lists,
        as_two_lists_with_options,
        as_two_lists_with_two_schedulers,
        as_plateau_in_two_lists,
        as_plateau_with_monitor_beside,
        as_parameter_groups,
    ],
    ids=[
        "optimizer", "list", "tuple", "dict", "no_schedulers", "dict_scheduler", "list_of_dict", "tuple_of_dict",
        "dict_options", "two_lists", "two_lists_options", "two_schedulers", "plateau_lists", "plateau_monitor",
        "parameter_groups",
    ],
)  # fmt: skip
def test_forms_of_configure_optimizers(configure: Callable[[Any], Any], trace: bool) -> None:
    assert_parity(lambda: FromFunction(configure), Data, trace=trace, max_epochs=3)


def test_configure_optimizers_that_returns_none_trains_nothing() -> None:
    assert_parity(lambda: FromFunction(lambda module: None), Data, max_epochs=2)


def test_configure_optimizers_that_returns_nonsense_fails_as_in_lightning() -> None:
    assert_same_error(
        lambda: FromFunction(lambda module: 3), Data, match="nknown configuration", in_our_words=True, max_epochs=1
    )


def test_unknown_interval_fails_as_in_lightning() -> None:
    assert_same_error(
        lambda: Net(scheduler="step", interval="batch"), Data, match="interval", in_our_words=True, max_epochs=1
    )


def test_scheduler_of_a_foreign_optimizer_fails_as_in_lightning() -> None:
    def foreign(module: Any) -> Any:
        return [sgd(module)], [StepLR(sgd(module), 1)]

    assert_same_error(lambda: FromFunction(foreign), Data, match="wasn't returned", in_our_words=True, max_epochs=1)


@since("2.0")
def test_two_optimizers_in_automatic_optimization_fail_as_in_lightning() -> None:
    class Two(Net):
        def configure_optimizers(self) -> Any:
            return [sgd(self), sgd(self)]

    # a module for Lightning 1.x takes `optimizer_idx`; one that does not is as wrong here as there
    assert_same_error(Two, Data, match="optimizers", in_our_words=True, max_epochs=1)


class CustomScheduler:
    """Not a scheduler of torch, so Lightning asks the module to step it."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.count = 0

    def advance(self) -> None:
        self.count += 1
        self.optimizer.param_groups[0]["lr"] = 0.1 / (1 + self.count)

    def step(self) -> None:
        raise AssertionError("the module steps this one")

    def state_dict(self) -> dict:
        return {"count": self.count}

    def load_state_dict(self, state: dict) -> None:
        self.count = state["count"]


class StepsItsScheduler(Net):
    def configure_optimizers(self) -> Any:
        optimizer = sgd(self)
        return [optimizer], [{"scheduler": CustomScheduler(optimizer), "interval": "step"}]

    def lr_scheduler_step(self, scheduler: Any, *args: Any) -> None:
        scheduler.advance()


@pytest.mark.parametrize("trace", [True, False])
def test_custom_scheduler_with_lr_scheduler_step(trace: bool) -> None:
    assert_parity(StepsItsScheduler, Data, trace=trace, max_epochs=2, accumulate_grad_batches=2)


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.2}])
def test_lbfgs_calls_its_closure_several_times(options: dict) -> None:
    assert_parity(lambda: Net(optimizer="lbfgs", dropout=0.0), Data, max_epochs=2, **options)


def test_lbfgs_with_dropout_and_schedule() -> None:
    assert_parity(lambda: Net(optimizer="lbfgs", scheduler="step", interval="step"), Data, max_epochs=2)


class ChoosesWhenToStep(Net):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *rest: Any, **options: Any) -> None:
        closure = options.get("optimizer_closure") or rest[-1]
        if batch_idx % 2 == 0:
            optimizer.step(closure=closure)
        else:
            closure()  # compute the gradients, but do not step


class WarmsUp(Net):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        if self.trainer.global_step < 4:
            scale = (self.trainer.global_step + 1) / 4
            for group in self.optimizers().param_groups:
                group["lr"] = scale * 0.1
        super().optimizer_step(*args, **kwargs)


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("module", [ChoosesWhenToStep, WarmsUp])
def test_optimizer_step_override(module: Any, trace: bool) -> None:
    assert_parity(module, Data, trace=trace, max_epochs=2)


class StepsWithoutClosure(Net):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *rest: Any, **options: Any) -> None:
        optimizer.step()


def test_optimizer_step_that_forgets_the_closure_fails_as_in_lightning() -> None:
    assert_same_error(StepsWithoutClosure, Data, match="closure hasn't been executed", max_epochs=2)


class ZeroesToZero(Net):
    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any, *rest: Any) -> None:
        optimizer.zero_grad(set_to_none=False)


class KeepsGradients(Net):
    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any, *rest: Any) -> None:
        if batch_idx % 2 == 0:
            optimizer.zero_grad()


@pytest.mark.parametrize("module", [ZeroesToZero, KeepsGradients])
def test_optimizer_zero_grad_override(module: Any) -> None:
    assert_parity(module, Data, max_epochs=2)


class OwnBackward(Net):
    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        (2 * loss).backward()  # Lightning 1.x hands over the optimizer too


def test_backward_override() -> None:
    assert_parity(OwnBackward, Data, max_epochs=2, accumulate_grad_batches=2)


class OwnClipping(Net):
    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        if self.current_epoch == 1:
            self.clip_gradients(optimizer, gradient_clip_val=0.05, gradient_clip_algorithm="value")


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 4}])
def test_configure_gradient_clipping_override(options: dict) -> None:
    assert_parity(OwnClipping, Data, max_epochs=2, **options)


def test_clip_gradients_with_other_values_than_the_trainers_fails_as_in_lightning() -> None:
    assert_same_error(OwnClipping, Data, match="clip", max_epochs=2, gradient_clip_val=0.5,
                      gradient_clip_algorithm="norm")  # fmt: skip


class EditsGradients(Net):
    def on_after_backward(self) -> None:
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(0.5)

    def on_before_optimizer_step(self, optimizer: Any, *rest: Any) -> None:
        self.net[0].weight.grad.add_(0.01)


def test_gradients_edited_in_hooks() -> None:
    assert_parity(EditsGradients, Data, max_epochs=2, gradient_clip_val=0.3, accumulate_grad_batches=2)


@pytest.mark.parametrize("scheduler", [None, "step"])
def test_manual_optimization(scheduler: str | None) -> None:
    assert_parity(lambda: Manual(scheduler=scheduler), Data, max_epochs=2)


def test_manual_optimization_without_trace() -> None:
    assert_parity(Manual, Data, trace=False, max_epochs=2)


class ManualAccumulation(Manual):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        loss = self.loss(batch) / 2
        self.manual_backward(loss)
        if (batch_idx + 1) % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()
        if self.trainer.is_last_batch:
            self.lr_schedulers().step()
        return {"loss": loss, "extra": batch_idx}


def test_manual_accumulation_and_schedule_at_the_last_batch() -> None:
    assert_parity(lambda: ManualAccumulation(scheduler="step"), Data, max_epochs=2)


class ManualPlateau(Manual):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        optimizer.step()

    def on_train_epoch_end(self) -> None:
        self.lr_schedulers().step(self.trainer.callback_metrics["val_loss"])


def test_manual_plateau_stepped_on_a_callback_metric() -> None:
    assert_parity(lambda: ManualPlateau(scheduler="plateau", monitor="val_loss"), Data, max_epochs=4)


class ManualClosure(Manual):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()

        def closure() -> torch.Tensor:
            loss = self.loss(batch)
            optimizer.zero_grad()
            self.manual_backward(loss)
            return loss

        optimizer.step(closure=closure)


def test_manual_lbfgs_with_closure() -> None:
    assert_parity(lambda: ManualClosure(optimizer="lbfgs"), Data, max_epochs=2)


class RawOptimizer(Manual):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad()
        self.loss(batch).backward()
        optimizer.step()


def test_manual_optimization_past_lightning_counts_no_steps() -> None:
    assert_parity(RawOptimizer, Data, max_epochs=2)


@pytest.mark.parametrize("trace", [True, False])
def test_gan_with_toggled_optimizers(trace: bool) -> None:
    assert_parity(GAN, Data, trace=trace, max_epochs=2)


class ScheduledGAN(GAN):
    def configure_optimizers(self) -> Any:
        first, second = super().configure_optimizers()
        return [first, second], [StepLR(first, 1, 0.9), StepLR(second, 1, 0.8)]

    def on_train_epoch_end(self) -> None:
        for scheduler in self.lr_schedulers():
            scheduler.step()


def test_gan_with_two_schedulers_stepped_by_hand() -> None:
    assert_parity(ScheduledGAN, Data, max_epochs=3)


class TogglingContext(GAN):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        generator, discriminator = self.optimizers()
        with generator.toggle_model(sync_grad=batch_idx % 2 == 0):
            loss = self.generator_loss(batch[0])
            self.manual_backward(loss)
            if batch_idx % 2:
                generator.step()
                generator.zero_grad()
        with discriminator.toggle_model():
            discriminator.zero_grad()
            self.manual_backward(self.discriminator_loss(batch[0]))
            discriminator.step()


@until("2.0", "covered by toggle_optimizer from 2.0 on")
def test_toggle_model_context_of_lightning_1() -> None:
    assert_parity(TogglingContext, Data, max_epochs=1)


@since("2.0")
def test_toggle_model_context() -> None:
    assert_parity(TogglingContext, Data, max_epochs=2)


class MissingManualBackward(Manual):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"lss": self.loss(batch)}


def test_manual_step_that_returns_a_dict_without_loss() -> None:
    assert_parity(MissingManualBackward, Data, max_epochs=1)


class ManualBackwardInAutomatic(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.manual_backward(loss)
        return loss


def test_manual_backward_in_automatic_optimization_fails_as_in_lightning() -> None:
    assert_same_error(ManualBackwardInAutomatic, Data, match="manual_backward", max_epochs=1)


class OptimizerInFitStart(Net):
    """Parameters that appear in `setup` or `configure_model` must be in the optimizer."""

    def setup(self, stage: str | None = None) -> None:
        self.head = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.net(x))


def test_parameters_created_in_setup() -> None:
    assert_parity(OptimizerInFitStart, Data, max_epochs=2)


class HeadInConfigureModel(Net):
    def __init__(self) -> None:
        super().__init__()
        self.head: nn.Module | None = None

    def configure_model(self) -> None:
        if self.head is None:
            self.head = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.net(x))


@since("2.1")
@pytest.mark.parametrize("trace", [True, False])
def test_parameters_created_in_configure_model(trace: bool) -> None:
    assert_parity(HeadInConfigureModel, Data, trace=trace, max_epochs=2)


class SharedWeights(Net):
    def __init__(self) -> None:
        super().__init__()
        self.tied = nn.Linear(4, 8)
        self.tied.weight = self.net[0].weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) + self.tied(x).mean(1, keepdim=True)


def test_shared_weights() -> None:
    assert_parity(SharedWeights, Data, max_epochs=2)


class UnusedParameter(Net):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(3))


def test_unused_parameter() -> None:
    assert_parity(UnusedParameter, Data, max_epochs=2, gradient_clip_val=0.5)


class SwapsLearningRate(Net):
    def on_train_epoch_start(self) -> None:
        self.trainer.optimizers[0].param_groups[0]["lr"] = 0.1 / (1 + self.current_epoch)


def test_learning_rate_written_through_the_trainer() -> None:
    assert_parity(SwapsLearningRate, Data, max_epochs=3)


class EMA(pl.Callback):
    """A user callback that wraps around the optimizer step and keeps averaged weights."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not hasattr(self, "average"):
            self.average = pl_module.net[0].weight.detach().clone()
        self.average.lerp_(pl_module.net[0].weight.detach(), 0.1)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.kept = pl_module.net[0].weight.detach().clone()
        pl_module.net[0].weight.data.copy_(self.average)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.net[0].weight.data.copy_(self.kept)


def test_averaged_weights_swapped_in_for_validation() -> None:
    assert_parity(Net, Data, max_epochs=2, callbacks=lambda: [EMA()])
