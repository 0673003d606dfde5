"""What do only some of Lightning's versions do? One case for each row of `versions/quirks.py` that no other case shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .harness import assert_parity, assert_same_error, until
from .models import Data, Net, flavour, pl


class TwoValidationSets(Data):
    def val_dataloader(self) -> Any:
        return [super().val_dataloader(), super().val_dataloader()]


class CountsArguments(Net):
    """Notes how many arguments the hooks around a validation batch get."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def on_validation_batch_start(self, *args: Any) -> None:
        self.counts.append(len(args))

    def on_validation_batch_end(self, *args: Any) -> None:
        self.counts.append(len(args))


class CountingCallback(pl.Callback):
    def on_validation_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        pl_module.counts.append(len(args))


def test_number_of_arguments_of_the_hooks_around_a_validation_batch() -> None:
    assert_parity(CountsArguments, Data, trace=False, max_epochs=1, callbacks=lambda: [CountingCallback()],
                  also=lambda module, callbacks: {"counts": module.counts})  # fmt: skip


def test_validation_step_without_dataloader_idx_beside_two_loaders_fails_as_in_lightning() -> None:
    assert_same_error(Net, TwoValidationSets, match="dataloader_idx|takes 3 positional arguments", max_epochs=1)


class ReadsMetricsBetweenBatches(Net):
    """Looks at the metrics before the next batch is announced."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer.training:
            found = self.trainer.callback_metrics
            self.seen.append({name: float(found[name]) for name in sorted(found)})
        return batch

    def on_fit_start(self) -> None:
        self.seen: list[dict[str, float]] = []


def test_metrics_read_between_a_validation_and_the_next_batch() -> None:
    assert_parity(ReadsMetricsBetweenBatches, Data, trace=False, max_epochs=2, val_check_interval=2,
                  also=lambda module, callbacks: dict(enumerate(module.seen)))  # fmt: skip


@until("2.0", "the argument takes a number from 2.0 on")
@pytest.mark.parametrize("schedule", [{0: 2, 1: 3}, {1: 2}])
def test_accumulation_by_epoch_given_as_a_dictionary(schedule: dict[int, int]) -> None:
    assert_parity(Net, Data, max_epochs=2, accumulate_grad_batches=lambda: dict(schedule))


class CallsStepEndItself(Net):
    """Halves the loss once here, and once more where `training_step_end` is a hook."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.training_step_end(super().training_step(batch, batch_idx))

    def training_step_end(self, output: torch.Tensor) -> Any:
        return output / 2


def test_step_end_that_the_step_calls_too() -> None:
    assert_parity(CallsStepEndItself, Data, trace=False, max_epochs=1)


class TakesAnyArguments:
    """Passes on whatever it gets, and notes how much that is."""

    def __init__(self) -> None:
        super().__init__(scheduler="step")
        self.counts: list[tuple[str, int, list[str]]] = []

    def _note(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.counts.append((name, len(args), sorted(kwargs)))

    def on_before_optimizer_step(self, *args: Any) -> None:
        self._note("on_before_optimizer_step", args, {})

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self._note("optimizer_step", args, kwargs)
        super().optimizer_step(*args, **kwargs)

    def optimizer_zero_grad(self, *args: Any) -> None:
        self._note("optimizer_zero_grad", args, {})
        super().optimizer_zero_grad(*args)

    def lr_scheduler_step(self, *args: Any) -> None:
        self._note("lr_scheduler_step", args, {})
        super().lr_scheduler_step(*args)


@pytest.mark.parametrize("ours", [False, True])
def test_hooks_that_take_any_arguments(ours: bool) -> None:
    module = type("Module", (TakesAnyArguments, flavour(ours=ours).Net), {})

    assert_parity(module, Data, trace=False, max_epochs=1,
                  also=lambda module, callbacks: {"counts": module.counts})  # fmt: skip


class ListsOfDictionaries(Net):
    """Names the second optimizer's scheduler without saying which optimizer it belongs to."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizers = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        for optimizer in optimizers:
            optimizer.step()
        self.lr_schedulers().step()

    def configure_optimizers(self) -> Any:
        first, second = (torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.net[0], self.net[4]))
        return [
            {"optimizer": first},
            {"optimizer": second, "lr_scheduler": torch.optim.lr_scheduler.StepLR(second, 1)},
        ]


def test_scheduler_in_a_list_of_dictionaries() -> None:
    def index(module: Any, callbacks: Any) -> dict[str, Any]:
        (config,) = module.trainer.lr_scheduler_configs
        return {"index": getattr(config, "opt_idx", "today's have none")}

    assert_parity(ListsOfDictionaries, Data, max_epochs=1, also=index)
