"""What does automatic optimization make of what `training_step` returns?"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch

from lightning_adapter.errors import ConfigurationError, NonFiniteError
from lightning_adapter.loop.automatic_optimization import AutomaticOptimization, OptimizersInTurn
from lightning_adapter.loop.gradient_steps import GradientSteps
from lightning_adapter.loop.precision import Precision
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.nonfinite import NonFiniteCheck
from loop.parts import HOST, HookParts, OneProcess, TakenLogs, Today, hook_parts, settings

pl = HOST.pl
Misconfiguration = HOST.load("utilities.exceptions").MisconfigurationException


class Module(pl.LightningModule):
    """A weight of 2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))


class Run:
    """Automatic optimization of a module with SGD at a rate of 1."""

    def __init__(self, step: Any, module: Any = None, optimizers: Any = None, **arguments: Any) -> None:
        self.module = module if module is not None else Module()
        self.parts: HookParts = hook_parts(self.module)
        self.settings = settings(**arguments)
        self.progress = TrainingProgress(self.settings)
        given = [torch.optim.SGD(self.module.parameters(), lr=1.0)]
        self.strategy: Any = OneProcess(given if optimizers is None else optimizers)
        self.non_finite = NonFiniteCheck("raise")
        self.logs = TakenLogs()
        precision = Precision("32-true")
        hooks, adapter, strategy = self.parts.hooks, Today(), self.strategy
        self.steps = GradientSteps(
            hooks,
            precision,
            self.settings,
            self.progress,
            adapter,  # type: ignore[arg-type]
            lambda: strategy,
        )
        self.optimization = AutomaticOptimization(
            step,
            self.steps,
            precision,
            hooks,
            self.strategy,
            self.settings,
            self.progress,
            self.non_finite,
            self.logs,  # type: ignore[arg-type]
        )

    def train(self, *arguments: Any) -> Any:
        """Optimize with the next batch."""
        batch_idx = self.progress.batch.current.ready
        self.progress.batch.advance_ready(False)
        return self.optimization.run(arguments, batch_idx)

    @property
    def weight(self) -> float:
        return float(self.module.weight.detach())

    @property
    def gradient(self) -> float | None:
        gradient = self.module.weight.grad
        return None if gradient is None else float(gradient)


def test_batch_is_differentiated_and_its_optimizer_steps() -> None:
    run = Run(lambda factor: factor * run.module.weight)

    outputs = run.train(3.0)

    assert run.weight == -1.0
    assert outputs == {"loss": torch.tensor(6.0)}
    assert not outputs["loss"].requires_grad
    assert run.progress.optimizer_steps == 1


def test_loss_is_divided_by_the_batches_over_which_gradients_accumulate() -> None:
    run = Run(lambda factor: factor * run.module.weight, accumulate_grad_batches=2)

    first = run.train(3.0)
    between = (run.weight, run.gradient, run.progress.optimizer_steps, run.strategy.blocked)
    second = run.train(5.0)
    third = run.train(7.0)

    assert (first["loss"].item(), second["loss"].item()) == (3.0, 5.0)
    assert between == (2.0, 1.5, 0, 1)
    assert run.progress.optimizer_steps == 1
    assert run.weight == 2.0 - (3.0 + 5.0) / 2
    assert run.gradient == 3.5  # zeroed at the third batch
    assert third["loss"].item() == 7.0 * -2.0 / 2


def test_output_is_the_loss_as_a_hook_may_not_change_it() -> None:
    class Doubles(Module):
        def on_before_backward(self, loss: torch.Tensor) -> None:
            loss.detach().mul_(2)

    run = Run(lambda: 3.0 * run.module.weight, Doubles())

    assert run.train()["loss"].item() == 6.0


def test_output_shares_the_memory_of_the_loss_where_no_hook_could_change_it() -> None:
    losses: list[torch.Tensor] = []

    def step() -> torch.Tensor:
        losses.append(3.0 * run.module.weight)
        return losses[-1]

    run = Run(step)

    assert run.train()["loss"].data_ptr() == losses[0].data_ptr()


def test_mapping_gives_its_loss_and_hands_the_rest_on() -> None:
    run = Run(lambda: {"loss": run.module.weight * 1.0, "extra": 7, "log": {"a": 1}})

    outputs = run.train()

    assert outputs == {"loss": torch.tensor(2.0), "extra": 7, "log": {"a": 1}}
    assert [(hook, sorted(output)) for hook, output in run.logs.returned] == [
        ("training_step", ["extra", "log", "loss"])
    ]
    assert run.weight == 1.0


def test_mapping_without_a_loss_is_refused() -> None:
    run = Run(lambda: {"other": 1})

    with pytest.raises(Misconfiguration, match="the 'loss' key needs to be present"):
        run.train()


def test_output_of_another_type_is_refused() -> None:
    run = Run(lambda: 3.0)

    with pytest.raises(Misconfiguration, match="must return a Tensor, a dict, or None"):
        run.train()


def test_batch_that_was_skipped_is_told_once_and_counts_as_a_step() -> None:
    run = Run(lambda: None)
    run.module.weight.grad = torch.tensor(5.0)

    with pytest.warns(UserWarning, match="`training_step` returned `None`"):
        outputs = run.train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.train()

    assert outputs == {}
    assert run.gradient is None  # it was zeroed all the same
    assert run.weight == 2.0
    assert run.progress.optimizer_steps == 2


def test_batch_that_was_skipped_among_several_processes_is_refused_with_its_rank() -> None:
    run = Run(lambda: None)
    run.strategy.is_distributed, run.strategy.global_rank = True, 3

    with pytest.raises(ConfigurationError, match="returned None on rank 3"):
        run.train()


def test_optimizer_that_does_not_run_the_closure_is_named() -> None:
    class Forgets(Module):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            pass

    run = Run(lambda: run.module.weight * 1.0, Forgets())

    with pytest.raises(Misconfiguration, match="closure hasn't been executed"):
        run.train()


def test_own_optimizer_step_is_given_lightnings_wrapper_and_the_closure() -> None:
    seen: list[Any] = []

    class Own(Module):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            seen.append((epoch, batch_idx, optimizer, run.parts.running.name))
            optimizer.step(optimizer_closure)

    run = Run(lambda: run.module.weight * 1.0, Own())
    run.progress.advance_epoch_completed()

    run.train()
    run.train()

    wrapper = run.strategy.lightning_optimizers[0]
    assert seen == [(1, 0, wrapper, "optimizer_step"), (1, 1, wrapper, "optimizer_step")]
    assert run.weight == 0.0


def test_backward_runs_as_the_hook_of_that_name() -> None:
    names: list[str | None] = []

    class Looks(Module):
        def on_after_backward(self) -> None:
            names.append(run.parts.running.name)

    run = Run(lambda: run.module.weight * 1.0, Looks())

    class Peeks(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            names.append(run.parts.running.name)
            return gradient

    run.optimization.training_step = lambda: Peeks.apply(run.module.weight)

    run.train()

    assert names == ["backward", "on_after_backward"]


def test_pass_without_training_leaves_gradients_alone() -> None:
    run = Run(lambda: run.module.weight * 1.0)
    run.module.weight.grad = torch.tensor(0.0)
    run.settings.skip_backward = True

    outputs = run.train()

    assert outputs["loss"].item() == 2.0
    assert run.gradient == 0.0


class WithoutGradients(torch.optim.SGD):
    """Runs its closure under no_grad, as optimizers outside of torch may."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= parameter.grad
        return loss


def test_optimizer_that_runs_the_closure_without_gradients_gets_some() -> None:
    module = Module()
    run = Run(lambda: 3.0 * module.weight, module, [WithoutGradients([module.weight], lr=1.0)])

    run.train()

    assert run.weight == -1.0


def test_hooks_behind_a_closure_without_gradients_get_none_as_the_optimizer_has_it() -> None:
    seen: list[bool] = []

    class Noting(Module):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            seen.append(torch.is_grad_enabled())
            self.weight.mul_(2.0)  # torch refuses that of a parameter while it records

    module = Noting()
    run = Run(lambda: 3.0 * module.weight, module, [WithoutGradients([module.weight], lr=1.0)])

    run.train()

    assert seen == [False]
    assert run.weight == 1.0


def test_closure_that_is_run_again_gives_the_last_loss() -> None:
    module = Module()
    optimizer = torch.optim.LBFGS([module.weight], lr=0.1, max_iter=3)
    seen: list[float] = []

    def step() -> torch.Tensor:
        loss = module.weight**2
        seen.append(loss.item())
        return loss

    run = Run(step, module, [optimizer])

    outputs = run.train()

    assert len(seen) > 1
    assert outputs["loss"].item() == seen[-1]
    assert run.progress.optimizer_steps == 1


def test_losses_are_remembered_with_the_number_of_their_batch() -> None:
    run = Run(lambda: run.module.weight * float("nan"))
    run.train()

    with pytest.raises(NonFiniteError, match="became nan at batch 1"):
        run.non_finite.check()


class Turns:
    """Two optimizers, both in turn at even batches, the second alone at odd ones."""

    def __init__(self) -> None:
        self.open: list[int] = []

    def at(self, batch: int) -> tuple[int, ...]:
        return (0, 1) if batch % 2 == 0 else (1,)

    def argument(self, index: int) -> tuple[int, ...]:
        return (index,)

    def toggled(self, index: int) -> AbstractContextManager[None]:
        self.open.append(index)
        return nullcontext()

    def outputs(self, by_index: dict[int, Any]) -> Any:
        return by_index


def test_optimizers_in_turn_step_one_after_the_other_with_their_index() -> None:
    class Two(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterList([torch.tensor(1.0), torch.tensor(10.0)])

    module = Two()
    optimizers = [torch.optim.SGD([weight], lr=1.0) for weight in module.weights]

    def step(factor: float, index: int) -> torch.Tensor | None:
        return None if factor == 0 else factor * module.weights[index]

    run = Run(step, module, optimizers)
    turns = Turns()
    several = OptimizersInTurn(run.optimization, turns)  # type: ignore[arg-type]
    found = []
    for batch_idx, factor in enumerate((2.0, 3.0)):
        run.progress.batch.advance_ready(False)
        outputs = several.run((factor,), batch_idx)
        found.append({index: output["loss"].item() for index, output in outputs.items()})

    assert found == [{0: 2.0, 1: 20.0}, {1: 24.0}]
    assert turns.open == [0, 1, 1]
    assert [weight.item() for weight in module.weights] == [-1.0, 5.0]
    assert run.progress.optimizer_steps == 3

    with pytest.warns(UserWarning, match="returned `None`"):
        assert several.run((0.0,), 2) == {}
