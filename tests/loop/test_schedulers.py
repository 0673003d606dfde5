"""Does each scheduler step when its interval, its frequency and its kind say so?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.schedulers import Schedulers
from loop.parts import HOST, Today, hook_parts, settings

pl = HOST.pl
Config = HOST.load("utilities.types").LRSchedulerConfig


class Module(pl.LightningModule):
    """One weight, whose scheduler steps are Lightning's own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))


def optimizer_of(module: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([module.weight], lr=1.0)


def halving(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)


class Run:
    """Schedulers of a module, at a position that the test moves."""

    def __init__(self, module: Any = None, turns: Any = None, **arguments: Any) -> None:
        self.module = module if module is not None else Module()
        self.progress = TrainingProgress(settings(**arguments))
        self.optimizer = optimizer_of(self.module)
        self.metrics: dict[str, torch.Tensor] = {}
        self.adapter = Today()
        self.adapter.optimizers = [self.optimizer]
        self.configs: list[Any] = []
        self.parts = hook_parts(self.module, adapter=self.adapter)
        self.schedulers = Schedulers(
            self.configs,
            self.parts.hooks,
            self.progress,
            SimpleNamespace(callback_metrics=self.metrics),  # type: ignore[arg-type]
            self.adapter,  # type: ignore[arg-type]
            turns,
        )

    def add(self, scheduler: Any, **options: Any) -> None:
        self.configs.append(Config(scheduler, **options))

    @property
    def rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def train(self, batches: int, length: int = 100) -> list[float]:
        """Learning rates after each of the next batches."""
        self.progress.epoch_length_known(length)
        rates = []
        for _ in range(batches):
            self.progress.batch.advance_ready(self.progress.batch.current.ready + 1 == length)
            self.optimizer.step()
            self.schedulers.step("step", plateau=False)
            rates.append(self.rate)
        return rates


def test_scheduler_by_step_steps_after_every_frequency_batches() -> None:
    run = Run()
    run.add(halving(run.optimizer), interval="step", frequency=2)

    assert run.train(5) == [1.0, 0.5, 0.5, 0.25, 0.25]


def test_scheduler_by_step_waits_while_gradients_accumulate() -> None:
    run = Run(accumulate_grad_batches=2)
    run.add(halving(run.optimizer), interval="step")

    assert run.train(5, length=5) == [1.0, 0.5, 0.5, 0.25, 0.125]


def test_scheduler_by_epoch_steps_after_every_frequency_epochs_also_within_an_accumulation() -> None:
    run = Run(accumulate_grad_batches=2)
    run.add(halving(run.optimizer), interval="epoch", frequency=2)
    rates = []
    for _ in range(4):
        run.progress.batch.advance_ready(False)
        run.optimizer.step()
        run.schedulers.step("epoch", plateau=False)
        rates.append(run.rate)
        run.progress.advance_epoch_completed()

    assert rates == [1.0, 0.5, 0.5, 0.25]


def test_scheduler_of_the_other_interval_does_not_step() -> None:
    run = Run()
    run.add(halving(run.optimizer), interval="epoch")

    assert run.train(3) == [1.0, 1.0, 1.0]


def test_schedulers_of_manual_optimization_are_left_to_the_user() -> None:
    module = Module()
    module.automatic_optimization = False
    run = Run(module)
    run.add(halving(run.optimizer), interval="step")

    assert run.train(2) == [1.0, 1.0]


def plateau(run: Run, **options: Any) -> None:
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(run.optimizer, patience=0, factor=0.1)
    run.add(scheduler, reduce_on_plateau=True, monitor="loss", **options)


def test_plateau_scheduler_steps_apart_with_the_value_that_it_monitors() -> None:
    run = Run()
    plateau(run)
    run.metrics["loss"] = torch.tensor(1.0)

    run.schedulers.step("epoch", plateau=True)
    run.metrics["loss"] = torch.tensor(2.0)
    run.schedulers.step("epoch", plateau=False)
    before = run.rate
    run.schedulers.step("epoch", plateau=True)

    assert (before, run.rate) == (1.0, pytest.approx(0.1))


def test_plateau_scheduler_without_its_value_is_refused_with_what_there_is() -> None:
    run = Run()
    plateau(run)
    run.metrics["accuracy"] = torch.tensor(1.0)

    with pytest.raises(
        HOST.load("utilities.exceptions").MisconfigurationException,
        match=r"metric loss which is not available\. Available metrics are: \['accuracy'\]",
    ):
        run.schedulers.step("epoch", plateau=True)


def test_plateau_scheduler_that_is_not_strict_is_skipped_with_a_warning() -> None:
    run = Run()
    plateau(run, strict=False)

    with pytest.warns(RuntimeWarning, match="Skipping learning rate update"):
        run.schedulers.step("epoch", plateau=True)

    assert run.rate == 1.0


def test_own_step_of_the_module_runs_as_the_hook() -> None:
    seen: list[Any] = []

    class Own(Module):
        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            seen.append((run.parts.running.name, scheduler, metric))

    run = Run(Own())
    scheduler = halving(run.optimizer)
    run.add(scheduler, interval="step")

    run.train(1)

    assert seen == [("lr_scheduler_step", scheduler, None)]
    assert run.rate == 1.0


class Foreign:
    """A scheduler that is not one of torch's."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        self.optimizer.param_groups[0]["lr"] += 1.0


def test_scheduler_of_another_library_steps_through_the_hook() -> None:
    run = Run()
    run.add(Foreign(run.optimizer), interval="step")

    assert run.train(2) == [2.0, 3.0]


def test_schedulers_of_optimizers_that_had_not_their_turn_wait() -> None:
    class Turns:
        def at(self, batch: int) -> tuple[int, ...]:
            return (batch % 2,)

    run = Run(turns=Turns())
    run.add(halving(run.optimizer), interval="step")
    run.adapter.optimizers = [torch.optim.SGD([run.module.weight], lr=1.0), run.optimizer]  # the second of two

    assert run.train(4) == [1.0, 0.5, 0.5, 0.25]


def test_scheduler_that_user_code_appends_is_stepped() -> None:
    run = Run()
    run.train(1)
    run.add(halving(run.optimizer), interval="step")

    assert run.train(1) == [0.5]
