"""What is counted and remembered where `training_step` steps the optimizers itself?"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_adapter.errors import NonFiniteError
from lightning_adapter.loop.manual_optimization import ManualOptimization
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.nonfinite import NonFiniteCheck
from loop.parts import HOST, OneProcess, TakenLogs, settings

Misconfiguration = HOST.load("utilities.exceptions").MisconfigurationException


class Run:
    """Manual optimization of two weights of 2 with SGD at a rate of 1."""

    def __init__(self, step: Any) -> None:
        self.weights = [torch.nn.Parameter(torch.tensor(2.0)) for _ in range(2)]
        self.strategy: Any = OneProcess([torch.optim.SGD([weight], lr=1.0) for weight in self.weights])
        self.progress = TrainingProgress(settings())
        self.non_finite = NonFiniteCheck("raise")
        self.logs = TakenLogs()
        self.manual = ManualOptimization(
            step,
            HOST,
            self.strategy,
            self.progress,
            self.non_finite,
            self.logs,  # type: ignore[arg-type]
        )
        self.optimizers = self.strategy.lightning_optimizers

    def train(self, *arguments: Any) -> dict[str, Any]:
        self.progress.batch.advance_ready(False)
        return self.manual.run(arguments, self.progress.batch_idx)


def test_every_step_of_every_optimizer_in_the_training_step_is_counted() -> None:
    def step(factor: float) -> None:
        for optimizer, weight in zip(run.optimizers, run.weights, strict=True):
            optimizer.zero_grad()
            (factor * weight).backward()
            optimizer.step()
        run.optimizers[0].step()

    run = Run(step)

    assert run.train(3.0) == {}
    assert run.progress.optimizer_steps == 3
    assert [weight.item() for weight in run.weights] == [-4.0, -1.0]


def test_step_in_another_hook_is_not_counted() -> None:
    run = Run(lambda: None)
    run.train()

    run.optimizers[0].step()

    assert run.progress.optimizer_steps == 0


def test_batch_without_a_step_leaves_gradients_to_be_used() -> None:
    def step(steps: bool) -> None:
        if steps:
            run.optimizers[1].step()

    run = Run(step)
    before = run.manual.has_stepped
    run.train(False)
    without = run.manual.has_stepped
    run.train(True)

    assert (before, without, run.manual.has_stepped) == (True, False, True)


def test_step_after_one_that_failed_is_not_counted() -> None:
    def step() -> None:
        raise KeyError("mine")

    run = Run(step)
    with pytest.raises(KeyError, match="mine"):
        run.train()

    run.optimizers[0].step()

    assert run.progress.optimizer_steps == 0


def test_tensor_is_the_loss_without_its_graph() -> None:
    run = Run(lambda: run.weights[0] * 3.0)

    outputs = run.train()

    assert outputs == {"loss": torch.tensor(6.0)}
    assert not outputs["loss"].requires_grad


def test_mapping_is_handed_on_with_its_loss_detached() -> None:
    returned: dict[str, Any] = {}

    def step() -> dict[str, Any]:
        returned.update(loss=run.weights[0] * 3.0, extra=1)
        return returned

    run = Run(step)

    outputs = run.train()

    assert outputs == {"loss": torch.tensor(6.0), "extra": 1}
    assert not outputs["loss"].requires_grad
    assert returned["loss"].requires_grad  # what the user keeps is not changed
    assert [(hook, sorted(output)) for hook, output in run.logs.returned] == [("training_step", ["extra", "loss"])]


def test_mapping_may_lack_a_loss() -> None:
    run = Run(lambda: {"extra": 1})

    assert run.train() == {"extra": 1}


def test_output_of_another_type_is_refused() -> None:
    run = Run(lambda: 3.0)

    with pytest.raises(Misconfiguration, match="must either return a Tensor or have no return"):
        run.train()


def test_loss_that_is_not_finite_is_found_with_its_batch() -> None:
    losses = [1.0, float("inf")]
    run = Run(lambda index: torch.tensor(losses[index]))
    run.train(0)
    run.train(1)

    with pytest.raises(NonFiniteError, match="became inf at batch 2"):
        run.non_finite.check()


def test_loss_of_several_elements_is_not_looked_at() -> None:
    run = Run(lambda: torch.full((2,), float("nan")))
    run.train()

    run.non_finite.check()
