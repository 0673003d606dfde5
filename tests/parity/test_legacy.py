"""Does code for Lightning 1.x train here as it did there?

Where the installed Lightning can still run such a module, it is the specification. A later Lightning cannot: there the
same training is written out for it in the test (`reference`), and the case names what has to be equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from .harness import assert_parity, assert_same_training, host_version, until
from .models import GAN, Data, Net, pl, samples

RUNS_LEGACY = host_version().startswith("1.")
NUMBERS = ("weights", "metrics", "logger")


def assert_legacy_parity(
    build: Callable[[], Any], data: Callable[[], Any] = Data, *, reference: Callable[[], Any],
    compare: tuple[str, ...] = NUMBERS, **arguments: Any,
) -> None:  # fmt: skip
    """Against the module itself where Lightning still runs it, else against what it means today."""
    if RUNS_LEGACY:
        assert_parity(build, data, **arguments)
        # the reference is only right if it is the same training: the Lightning that can run both says so
        assert_same_training(build, reference, data, compare=compare, **arguments)
    else:
        assert_parity(build, data, reference=reference, compare=compare, **arguments)


# --- epoch ends with outputs


class TrainingEpochEnd(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        return {"loss": loss, "size": len(batch[0])}

    def training_epoch_end(self, outputs: list) -> None:
        total = sum(item["size"] for item in outputs)
        self.log("mean_loss", sum(item["loss"] * item["size"] for item in outputs) / total)
        self.log("count", float(len(outputs)))


class FirstAtEpochEnd(pl.Callback):
    """`training_epoch_end` came before all callbacks: as the first callback, this one lets a reference do the same."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if hasattr(pl_module, "before_callbacks"):
            pl_module.before_callbacks()


class CollectsTraining(Net):
    def on_train_epoch_start(self) -> None:
        self.outputs: list = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        # what a hook is given is the loss that went backward
        share = loss.detach() / self.trainer.accumulate_grad_batches
        self.outputs.append({"loss": share, "size": len(batch[0])})
        return {"loss": loss, "size": len(batch[0])}

    def before_callbacks(self) -> None:
        total = sum(item["size"] for item in self.outputs)
        self.log("mean_loss", sum(item["loss"] * item["size"] for item in self.outputs) / total)
        self.log("count", float(len(self.outputs)))


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 4}, {"limit_train_batches": 2}], ids=str)
def test_training_epoch_end(options: dict, trace: bool) -> None:
    assert_legacy_parity(TrainingEpochEnd, reference=CollectsTraining, trace=trace, max_epochs=2,
                         callbacks=lambda: [FirstAtEpochEnd()], **options)  # fmt: skip


class ValidationEpochEnd(Net):
    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.loss(batch), "index": batch_idx}

    def validation_epoch_end(self, outputs: list) -> None:
        self.log("val_loss", torch.stack([item["loss"] for item in outputs]).mean(), prog_bar=True)
        self.log("indices", float(sum(item["index"] for item in outputs)))


class CollectsValidation(Net):
    def on_validation_epoch_start(self) -> None:
        self.outputs: list = []

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        found = {"loss": self.loss(batch), "index": batch_idx}
        self.outputs.append(found)
        return found

    def on_validation_epoch_end(self) -> None:
        self.log("val_loss", torch.stack([item["loss"] for item in self.outputs]).mean(), prog_bar=True)
        self.log("indices", float(sum(item["index"] for item in self.outputs)))


@pytest.mark.parametrize("options", [{}, {"num_sanity_val_steps": 1}, {"val_check_interval": 0.5}], ids=str)
def test_validation_epoch_end(options: dict) -> None:
    assert_legacy_parity(ValidationEpochEnd, reference=CollectsValidation, max_epochs=2, **options)


class TwoSets(Data):
    def val_dataloader(self) -> Any:
        return [torch.utils.data.DataLoader(samples(10, 1), 4), torch.utils.data.DataLoader(samples(6, 2), 4)]


class ValidationEpochEndTwoSets(Net):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
        return self.loss(batch)

    def validation_epoch_end(self, outputs: list) -> None:
        for index, part in enumerate(outputs):
            self.log(f"val_loss_{index}", torch.stack(part).mean())


class CollectsTwoSets(Net):
    def on_validation_epoch_start(self) -> None:
        self.outputs: list = [[], []]

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
        loss = self.loss(batch)
        self.outputs[dataloader_idx].append(loss)
        return loss

    def on_validation_epoch_end(self) -> None:
        for index, part in enumerate(self.outputs):
            self.log(f"val_loss_{index}", torch.stack(part).mean())


def test_validation_epoch_end_gets_one_list_per_loader() -> None:
    assert_legacy_parity(ValidationEpochEndTwoSets, TwoSets, reference=CollectsTwoSets, max_epochs=2)


class PlateauOnEpochEnd(ValidationEpochEnd):
    def __init__(self) -> None:
        super().__init__(scheduler="plateau", monitor="val_loss")


class PlateauOnEpochEndToday(CollectsValidation):
    def __init__(self) -> None:
        super().__init__(scheduler="plateau", monitor="val_loss")


def test_validation_epoch_end_feeds_a_plateau_scheduler() -> None:
    assert_legacy_parity(PlateauOnEpochEnd, reference=PlateauOnEpochEndToday, max_epochs=4)


# --- step ends


class StepEnds(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"out": self(batch[0]), "target": batch[1]}

    def training_step_end(self, step_output: Any) -> Any:
        loss = torch.nn.functional.mse_loss(step_output["out"], step_output["target"])
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"out": self(batch[0]), "target": batch[1]}

    def validation_step_end(self, step_output: Any) -> Any:
        self.log("val_loss", torch.nn.functional.mse_loss(step_output["out"], step_output["target"]))


class StepEndsToday(Net):
    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val_loss", self.loss(batch))


@pytest.mark.parametrize("trace", [True, False])
def test_training_step_end_and_validation_step_end(trace: bool) -> None:
    assert_legacy_parity(StepEnds, reference=StepEndsToday, trace=trace, max_epochs=2, accumulate_grad_batches=2,
                         compare=("weights", "logger"))  # fmt: skip


# --- several optimizers in automatic optimization


class LegacyGAN(GAN):
    """The networks of `GAN` trained with `optimizer_idx`."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = True

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        if optimizer_idx == 0:
            loss = self.generator_loss(batch[0])
            self.log("g_loss", loss, prog_bar=True)
        else:
            loss = self.discriminator_loss(batch[0])
            self.log("d_loss", loss, prog_bar=True)
        return loss


def test_two_optimizers_with_optimizer_idx() -> None:
    assert_legacy_parity(LegacyGAN, reference=GAN, max_epochs=2, trace=False, compare=("weights", "metrics"))


class AlternatingGAN(LegacyGAN):
    """Two batches for the discriminator, then one for the generator."""

    def configure_optimizers(self) -> Any:
        first, second = super().configure_optimizers()
        return [{"optimizer": first, "frequency": 1}, {"optimizer": second, "frequency": 2}]


class AlternatingToday(GAN):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        generator, discriminator = self.optimizers()
        if batch_idx % 3 == 0:  # the turns begin anew in each epoch
            self.step_alone("g_loss", generator, self.generator_loss, batch[0])
        else:
            self.step_alone("d_loss", discriminator, self.discriminator_loss, batch[0])


def test_optimizer_frequency_alternates() -> None:
    assert_legacy_parity(AlternatingGAN, lambda: Data(count=20), reference=AlternatingToday, max_epochs=2,
                         trace=False, compare=("weights", "metrics"))  # fmt: skip


def scheduled(module: Any) -> Any:
    first, second = GAN.configure_optimizers(module)
    schedulers = [torch.optim.lr_scheduler.StepLR(item, 1, rate) for item, rate in ((first, 0.5), (second, 0.7))]
    return [first, second], [{"scheduler": schedulers[0], "interval": "step"}, schedulers[1]]


class ScheduledLegacyGAN(LegacyGAN):
    def configure_optimizers(self) -> Any:
        return scheduled(self)


class ScheduledGANToday(GAN):
    def configure_optimizers(self) -> Any:
        return scheduled(self)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        super().training_step(batch, batch_idx)
        per_step, per_epoch = self.lr_schedulers()
        per_step.step()
        if self.trainer.is_last_batch:
            per_epoch.step()


def test_two_optimizers_with_schedulers() -> None:
    assert_legacy_parity(ScheduledLegacyGAN, reference=ScheduledGANToday, max_epochs=3, trace=False,
                         compare=("weights", "metrics"))  # fmt: skip


class SkippingLegacyGAN(LegacyGAN):
    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        if optimizer_idx == 0 and batch_idx % 2:
            return None
        return super().training_step(batch, batch_idx, optimizer_idx)


class SkippingGANToday(GAN):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        generator, discriminator = self.optimizers()
        if batch_idx % 2 == 0:
            self.step_alone("g_loss", generator, self.generator_loss, batch[0])
        self.step_alone("d_loss", discriminator, self.discriminator_loss, batch[0])


def test_none_for_one_of_two_optimizers() -> None:
    assert_legacy_parity(SkippingLegacyGAN, reference=SkippingGANToday, max_epochs=2, trace=False,
                         compare=("weights", "metrics"))  # fmt: skip


# --- old signatures


class OldOptimizerStep(Net):
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any,
        on_tpu: bool = False, using_lbfgs: bool = False,
    ) -> None:  # fmt: skip
        assert optimizer_idx == 0
        assert not on_tpu
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + self.global_step)
        optimizer.step(closure=optimizer_closure)


class NewOptimizerStep(Net):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *rest: Any, **options: Any) -> None:
        closure = options.get("optimizer_closure") or next(item for item in rest if callable(item))
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + self.global_step)
        optimizer.step(closure=closure)


@pytest.mark.parametrize("trace", [True, False])
def test_optimizer_step_with_the_signature_of_lightning_1(trace: bool) -> None:
    assert_legacy_parity(OldOptimizerStep, reference=NewOptimizerStep, trace=trace, max_epochs=2)


class OldBackward(Net):
    def backward(self, loss: torch.Tensor, optimizer: Any, optimizer_idx: int, *args: Any, **kwargs: Any) -> None:
        assert optimizer_idx == 0
        (loss * optimizer.param_groups[0]["lr"] * 10).backward(*args, **kwargs)


class NewBackward(Net):
    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        (loss * self.trainer.optimizers[0].param_groups[0]["lr"] * 10).backward()


def test_backward_with_the_signature_of_lightning_1() -> None:
    assert_legacy_parity(lambda: OldBackward(scheduler="step"), reference=lambda: NewBackward(scheduler="step"),
                         trace=False, max_epochs=2)  # fmt: skip


class OldHooks(Net):
    def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None:
        assert optimizer_idx == 0
        self.net[0].weight.grad.mul_(0.5)

    def configure_gradient_clipping(
        self, optimizer: Any, optimizer_idx: int, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="value")

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int) -> None:
        assert optimizer_idx == 0
        optimizer.zero_grad(set_to_none=True)

    def lr_scheduler_step(self, scheduler: Any, optimizer_idx: int, metric: Any) -> None:
        assert optimizer_idx == 0
        scheduler.step()


class NewHooks(Net):
    def on_before_optimizer_step(self, optimizer: Any, *rest: Any) -> None:
        self.net[0].weight.grad.mul_(0.5)

    def configure_gradient_clipping(self, optimizer: Any, *rest: Any, **options: Any) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="value")


def test_other_hooks_with_the_signature_of_lightning_1() -> None:
    assert_legacy_parity(lambda: OldHooks(scheduler="step"), reference=lambda: NewHooks(scheduler="step"),
                         trace=False, max_epochs=2)  # fmt: skip


class OldToggle(GAN):
    """The index is the second argument of one and the only one of the other."""

    def step_alone(self, name: str, optimizer: Any, loss_of: Callable, x: torch.Tensor) -> None:
        index = 0 if name == "g_loss" else 1
        self.toggle_optimizer(optimizer, index)
        loss = loss_of(x)
        self.log(name, loss, prog_bar=True)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(index)


def test_toggle_optimizer_with_an_index() -> None:
    assert_legacy_parity(OldToggle, reference=GAN, trace=False, max_epochs=2)


class OldCallback(pl.Callback):
    """Without the arguments that later hooks got."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any, optimizer_idx: int) -> None:
        pl_module.net[0].weight.grad.mul_(0.5)


@until("2.0", "a callback for Lightning 1.x fails in Lightning 2.x too")
def test_callback_with_the_signature_of_lightning_1() -> None:
    assert_parity(Net, Data, max_epochs=2, callbacks=lambda: [OldCallback()])


# --- everything of before at once


class OldStyle(TrainingEpochEnd):
    """One module with all the quirks of Lightning 1.x."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def validation_epoch_end(self, outputs: list) -> None:
        self.log("val_loss", torch.stack(outputs).mean())


class OldStyleToday(CollectsTraining):
    def on_validation_epoch_start(self) -> None:
        self.val_outputs: list = []

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.val_outputs.append(loss)
        return loss

    def on_validation_epoch_end(self) -> None:
        self.log("val_loss", torch.stack(self.val_outputs).mean())


def test_a_module_with_all_habits_of_lightning_1() -> None:
    assert_legacy_parity(OldStyle, reference=OldStyleToday, max_epochs=3, val_check_interval=0.5,
                         callbacks=lambda: [FirstAtEpochEnd()])  # fmt: skip
