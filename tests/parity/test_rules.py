"""Which rules did no other case notice when they were broken?"""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from . import test_legacy as legacy
from .harness import assert_parity, host_version, since
from .models import Data, Manual, Net, Stream, pl
from .test_loaders import TakesSeveral, combined

AFTER_1 = not host_version().startswith("1.")


class TwoGroups(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(
            [{"params": self.net[0].parameters()}, {"params": self.net[1:].parameters(), "lr": 0.02}], lr=0.1
        )


def test_gradient_norm_is_that_of_all_parameter_groups_together() -> None:
    assert_parity(TwoGroups, Data, max_epochs=2, gradient_clip_val=0.1)


def test_short_validation_interval_is_one_batch() -> None:
    assert_parity(Net, Data, max_epochs=1, val_check_interval=0.1)


class NotesWhoTrains:
    """Logs which of the two networks require gradients while a loss is computed."""

    def adversarial(self, x: torch.Tensor, is_real: bool) -> torch.Tensor:
        for name in ("generator", "discriminator"):
            trains = all(parameter.requires_grad for parameter in getattr(self, name).parameters())
            self.log(f"{name}_trains", float(trains), on_step=True, on_epoch=True, reduce_fx="sum")
        return super().adversarial(x, is_real)


class LegacyGANNotes(NotesWhoTrains, legacy.LegacyGAN):
    pass


class GANNotes(NotesWhoTrains, legacy.GAN):
    pass


def test_only_the_optimizer_in_turn_has_parameters_that_require_gradients() -> None:
    legacy.assert_legacy_parity(
        LegacyGANNotes, reference=GANNotes, max_epochs=2, trace=False, compare=("weights", "metrics")
    )


def test_plateau_per_epoch_when_max_steps_ends_in_mid_epoch() -> None:
    assert_parity(lambda: Net(scheduler="plateau", monitor="train_loss_step"), Data, max_steps=9, max_epochs=3)


class NotesProgress(Net):
    """Keeps what the loops' counters say in each hook."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple] = []

    def note(self, hook: str) -> None:
        loop = self.trainer.fit_loop
        for progress in (loop.epoch_progress, loop.epoch_loop.batch_progress):
            for counter in (
                (progress.current, progress.total) if progress is not loop.epoch_progress else (progress.current,)
            ):
                self.seen.append((hook, counter.ready, counter.started, counter.processed, counter.completed))
        self.seen.append(
            (hook, loop.epoch_loop.batch_progress.is_last_batch, loop.epoch_loop.batch_idx, loop.total_batch_idx)
        )

    def on_train_start(self) -> None:
        self.note("on_train_start")

    def on_train_epoch_start(self) -> None:
        self.note("on_train_epoch_start")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.note("on_train_batch_start")

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.note("training_step")
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.note("on_train_batch_end")

    def on_validation_start(self) -> None:
        self.note("on_validation_start")

    def on_validation_end(self) -> None:
        self.note("on_validation_end")

    def on_train_epoch_end(self) -> None:
        self.note("on_train_epoch_end")

    def on_train_end(self) -> None:
        self.note("on_train_end")


class NotesProgressInTransfer(NotesProgress):
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.note("on_before_batch_transfer")
        return batch


@pytest.mark.parametrize("module", [NotesProgress, NotesProgressInTransfer])
@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2, "accumulate_grad_batches": 4}, {"max_steps": 8}])
def test_counters_of_the_loops_in_each_hook(options: dict, module: Any) -> None:
    assert_parity(
        module, Data, max_epochs=2, trace=False,
        also=lambda module, _: {str(place): str(entry) for place, entry in enumerate(module.seen)}, **options,
    )  # fmt: skip


class ChangesLossInPlace(Net):
    """What the step returned stays what `on_train_batch_end` gets."""

    def on_before_backward(self, loss: torch.Tensor) -> None:
        with torch.no_grad():
            loss.mul_(2)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("returned_loss", outputs["loss"])


@pytest.mark.parametrize("trace", [True, False])
def test_loss_changed_in_place_before_backward(trace: bool) -> None:
    assert_parity(ChangesLossInPlace, Data, max_epochs=2, trace=trace)


class LogsAfterNestedHook(Manual):
    """One name in the outer hook and in the inner one, with other arguments: two metrics."""

    def on_after_backward(self) -> None:
        self.log("nested", 1.0)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("before", 3.0 * batch_idx + 1.0, on_epoch=True)
        loss = super().training_step(batch, batch_idx)
        self.log("nested", 2.0 * batch_idx, on_step=False, on_epoch=True)
        return loss


def test_outer_hook_logs_after_an_inner_one() -> None:
    assert_parity(LogsAfterNestedHook, Data, max_epochs=2, trace=False)


class AddsCallbackLate(Net):
    """Adds a callback in the second epoch, when every hook has been called before."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            self.add(self.trainer.callbacks)

    def add(self, callbacks: list[pl.Callback]) -> None:
        callbacks.append(self.late)

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []
        calls = self.calls

        class Late(pl.Callback):
            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
                calls.append(("batch", trainer.global_step))

            def on_validation_end(self, trainer: Any, module: Any) -> None:
                calls.append(("validation", trainer.global_step))

        self.late = Late()


class Early(pl.Callback):
    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        module.calls.append(("early", trainer.global_step))


class ReplacesCallback(AddsCallbackLate):
    """The list is as long as before."""

    def add(self, callbacks: list[pl.Callback]) -> None:
        (index,) = (i for i, callback in enumerate(callbacks) if isinstance(callback, Early))
        callbacks[index] = self.late


class RemovesCallback(AddsCallbackLate):
    def add(self, callbacks: list[pl.Callback]) -> None:
        callbacks[:] = [callback for callback in callbacks if not isinstance(callback, Early)]


class AssignsCallbacks(AddsCallbackLate):
    """And adds to its own list once more."""

    def add(self, callbacks: list[pl.Callback]) -> None:
        self.trainer.callbacks = mine = list(callbacks)
        mine.append(self.late)


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("module", [AddsCallbackLate, ReplacesCallback, RemovesCallback, AssignsCallbacks])
def test_callbacks_that_change_in_the_second_epoch(module: type[AddsCallbackLate], trace: bool) -> None:
    assert_parity(
        module,
        Data,
        max_epochs=3,
        trace=trace,
        callbacks=lambda: [Early()],
        also=lambda module, _: {"calls": str(module.calls)},
    )


class CopiesItself(Net):
    """Takes copies of itself where weight averages and exporters do, and has a shorthand of its own for `log`."""

    def copies(self) -> None:
        copied = copy.deepcopy(self)
        assert all(torch.equal(a, b) for a, b in zip(self.parameters(), copied.parameters(), strict=True))

    def setup(self, stage: str) -> None:
        self.copies()

    def on_fit_start(self) -> None:
        self.log_epoch = functools.partial(self.log, on_step=False, on_epoch=True)

    def on_train_start(self) -> None:
        self.copies()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log_epoch("shorthand", float(batch_idx))
        if batch_idx == 3 and AFTER_1:  # Lightning 1.x copies the trainer with the module, its iterators too
            self.copies()


def test_module_that_copies_itself_in_training() -> None:
    assert_parity(CopiesItself, Data, max_epochs=2, trace=False)


@pytest.mark.parametrize("reduce_fx", ["max", "min"])
def test_extremes_on_the_other_side_of_zero(reduce_fx: str) -> None:
    sign = -1.0 if reduce_fx == "max" else 1.0

    class LogsExtremes(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("extreme", sign * (batch_idx + 1.0), on_step=False, on_epoch=True, reduce_fx=reduce_fx)
            self.log("count", 1.0, on_step=False, on_epoch=True, reduce_fx="sum", batch_size=3)
            return super().training_step(batch, batch_idx)

    assert_parity(LogsExtremes, Data, max_epochs=2)


class NotesAutocast(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("caches", float(torch.is_autocast_cache_enabled()))
        return super().training_step(batch, batch_idx)


@since("2.0")
def test_autocast_keeps_no_casted_weights() -> None:
    assert_parity(NotesAutocast, Data, max_epochs=1, precision="bf16-mixed")


@since("2.0")
@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle", "max_size"])
def test_combined_streams_of_unknown_length(mode: str) -> None:
    def loaders() -> tuple:
        both = [DataLoader(Stream(count, seed), 2) for count, seed in ((10, 0), (6, 1))]
        return (combined.CombinedLoader(both, mode), DataLoader(Stream(4, seed=2), 2))

    assert_parity(TakesSeveral, loaders, max_epochs=2)


class Plain(pl.Callback):
    pass


def test_checkpoint_callbacks_come_last(tmp_path: Any) -> None:
    checkpoint = pl.callbacks.ModelCheckpoint

    def order(module: Any, given: Any) -> dict[str, str]:
        kept = [c for c in module.trainer.callbacks if isinstance(c, (Plain, checkpoint))]
        return {"order": str([type(c).__name__ for c in kept])}

    assert_parity(
        Net,
        Data,
        max_epochs=1,
        callbacks=lambda: [checkpoint(dirpath=tmp_path, save_weights_only=True), Plain()],
        also=order,
    )


class OneNameForTwoLoaders(Net):
    """One name without index in two hooks, once for each loader."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if dataloader_idx == 0:
            self.log("shared", self.loss(batch), add_dataloader_idx=False)

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if dataloader_idx == 1:
            self.log("shared", 5.0 + batch_idx, add_dataloader_idx=False)


class TwoValidationSets(Data):
    def val_dataloader(self) -> Any:
        return [super().val_dataloader(), super().val_dataloader()]


def test_one_name_of_two_loaders_in_two_hooks() -> None:
    assert_parity(OneNameForTwoLoaders, TwoValidationSets, max_epochs=2)
