"""In which order do hooks, gradients and optimizer steps follow each other?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_adapter.loop.gradient_steps import GradientSteps
from lightning_adapter.loop.progress import TrainingProgress
from loop.parts import HOST, HookParts, OneProcess, Today, hook_parts, settings

pl = HOST.pl


class FakePrecision:
    """Scales by a factor, unscales before the gradients are read, and tells what it does.

    Args:
        told: where it tells it.
        factor: 1 scales nothing.
    """

    def __init__(self, told: list[str], factor: float = 1.0) -> None:
        self.told = told
        self.factor = factor
        self.apex: Any = None
        self.scaler: object | None = "a scaler" if factor != 1.0 else None
        self.automatic: bool | None = None

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * self.factor

    def scaled_loss(self, loss: torch.Tensor, optimizers: Any) -> AbstractContextManager[torch.Tensor]:
        return nullcontext(loss) if self.apex is None else self.apex.scale_loss(loss, optimizers)

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        closure: Callable[[], Any],
        after_closure: Callable[[Any], None],
        automatic: bool,
        **kwargs: Any,
    ) -> Any:
        result = closure()
        self.told.append("closure done")
        after_closure(optimizer)
        self.automatic = automatic
        optimizer.step(**kwargs)
        self.told.append("stepped")
        return result


class Module(pl.LightningModule):
    """A weight of 2, and hooks that tell the gradient which they find."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))
        self.told = told

    def tell(self, name: str) -> None:
        gradient = self.weight.grad
        self.told.append(f"{name}: {gradient if gradient is None else int(gradient)}")

    def on_before_zero_grad(self, optimizer: Any) -> None:
        self.tell("before zero")

    def on_before_backward(self, loss: torch.Tensor) -> None:
        self.tell(f"before backward of {loss.item():g}")

    def on_after_backward(self) -> None:
        self.tell("after backward")

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.tell("before step")

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        self.tell(f"clip {gradient_clip_val} {getattr(gradient_clip_algorithm, 'value', None)}")
        self.weight.grad.clamp_(max=1.0)


class Run:
    """Gradient steps of a module with SGD at a rate of 1."""

    def __init__(self, kind: Any = Module, factor: float = 1.0, added: float | None = None, **arguments: Any) -> None:
        self.told: list[str] = []
        self.module = kind(self.told)
        self.parts: HookParts = hook_parts(self.module)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=1.0)
        self.strategy = OneProcess([self.optimizer], added)
        self.precision: Any = FakePrecision(self.told, factor)
        self.settings = settings(**arguments)
        self.progress = TrainingProgress(self.settings)
        self.steps = GradientSteps(
            self.parts.hooks,
            self.precision,
            self.settings,
            self.progress,
            Today(),  # type: ignore[arg-type]
            lambda: self.strategy,  # type: ignore[arg-type, return-value]
        )

    def closure(self) -> torch.Tensor:
        """Zero, and differentiate the square of the weight."""
        self.steps.zero_grad(self.optimizer, 5)
        return self.steps.backward(self.module.weight**2, self.optimizer)

    def step(self) -> Any:
        return self.steps.step_optimizer(self.optimizer, self.closure)


def test_one_step_zeroes_differentiates_clips_and_steps_with_the_hooks_around() -> None:
    run = Run()
    run.module.weight.grad = torch.tensor(9.0)

    run.step()

    assert run.told == [
        "before zero: 9",
        "before backward of 4: None",
        "after backward: 4",
        "closure done",
        "before step: 4",
        "clip None None: 4",
        "stepped",
    ]
    assert run.module.weight.item() == 1.0


def test_clipping_is_given_the_settings_of_the_moment() -> None:
    run = Run(gradient_clip_val=0.5, gradient_clip_algorithm="value")
    run.settings.gradient_clip_val = 0.25

    run.step()

    assert "clip 0.25 value: 4" in run.told


class Bare(pl.LightningModule):
    """A weight of 2, and no hooks."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))
        self.told = told


def test_hook_that_clips_is_not_called_without_a_value_and_an_override() -> None:
    run = Run(Bare)

    run.step()

    assert run.module.weight.item() == -2.0  # 2 minus a gradient of 4


def test_value_alone_is_enough_to_clip_as_lightning_does() -> None:
    clipped: list[Any] = []
    run = Run(Bare, gradient_clip_val=0.5, gradient_clip_algorithm="value")
    plugin = SimpleNamespace(clip_gradients=lambda *given: clipped.append(given))
    run.module._trainer = SimpleNamespace(
        gradient_clip_val=0.5,
        gradient_clip_algorithm=run.settings.gradient_clip_algorithm,
        precision_plugin=plugin,
        strategy=SimpleNamespace(precision_plugin=plugin),
    )

    run.step()

    assert clipped == [(run.optimizer, 0.5, run.settings.gradient_clip_algorithm)]


class OwnClip(Bare):
    """Overrides what `configure_gradient_clipping` calls, which counts as well."""

    def clip_gradients(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        self.weight.grad.zero_()


def test_overridden_clip_gradients_is_reached_without_a_value() -> None:
    run = Run(OwnClip)

    run.step()

    assert run.module.weight.item() == 2.0


def test_gradients_are_not_clipped_in_manual_optimization() -> None:
    run = Run(gradient_clip_val=0.5)
    run.module.automatic_optimization = False

    run.step()

    assert not [line for line in run.told if line.startswith("clip")]
    assert run.precision.automatic is False


def test_hooks_see_the_scaled_loss() -> None:
    run = Run(factor=8.0)

    loss = run.closure()

    assert "before backward of 32: None" in run.told
    assert loss.item() == 32.0
    assert run.module.weight.grad.item() == 32.0


def test_gradients_of_all_ranks_are_there_after_backward() -> None:
    run = Run(added=10.0)

    run.closure()

    assert "after backward: 14" in run.told


class OwnBackward(Bare):
    """Differentiates three times the loss."""

    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        self.told.append(f"backward in {parts_of[self].running.name}")
        (3 * loss).backward(*args, **kwargs)


parts_of: dict[Any, HookParts] = {}


@pytest.mark.parametrize(("added", "gradient"), [(None, 12.0), (10.0, 22.0)])
def test_own_backward_of_the_module_runs_as_its_hook_before_an_exchange(added: float | None, gradient: float) -> None:
    run = Run(OwnBackward, added=added)
    parts_of[run.module] = run.parts

    run.steps.backward(run.module.weight**2, run.optimizer)

    assert run.told == ["backward in backward"]
    assert run.module.weight.grad.item() == gradient
    del parts_of[run.module]


def test_own_zeroing_of_the_module_is_told_epoch_and_batch() -> None:
    class OwnZero(Bare):
        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            self.told.append(f"zero {epoch} {batch_idx}")

    run = Run(OwnZero)
    run.module.weight.grad = torch.tensor(1.0)
    run.progress.advance_epoch_completed()

    run.closure()

    assert run.told == ["zero 1 5"]
    assert run.module.weight.grad.item() == 5.0  # nothing was zeroed


def test_override_that_setup_brings_is_seen() -> None:
    run = Run(Bare)
    run.module.optimizer_zero_grad = lambda epoch, batch_idx, optimizer: run.told.append("zero")

    run.closure()

    assert run.told == ["zero"]


@pytest.mark.parametrize(("added", "scaled"), [(None, 16), (8.0, 24)])
def test_apex_scales_around_backward_and_an_exchange(added: float | None, scaled: int) -> None:
    class Apex:
        @contextmanager
        def scale_loss(self, loss: torch.Tensor, optimizers: Any) -> Any:
            assert optimizers is run.optimizer
            yield loss * 4
            run.told.append(f"unscales {run.module.weight.grad.item():g}")
            run.module.weight.grad /= 4

    run = Run(Bare, added=added)
    run.precision.apex = Apex()

    run.steps.backward(run.module.weight**2, run.optimizer)

    assert run.told == [f"unscales {scaled}"]
    assert run.module.weight.grad.item() == scaled / 4


class Tells(pl.Callback):
    """Tells of a backward."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self.told.append("callback after backward")

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.told.append("callback before step")


def test_manual_step_needs_no_closure() -> None:
    run = Run(Bare)
    run.module.weight.grad = torch.tensor(3.0)

    run.steps.step_optimizer(run.optimizer, None)

    assert run.told == ["closure done", "stepped"]
    assert run.module.weight.item() == -1.0


@pytest.mark.parametrize("of", ["backward", "step"])
def test_callback_added_by_user_code_before_a_manual_step_is_seen(of: str) -> None:
    run = Run(Bare)
    run.step()
    run.parts.callbacks.items.append(Tells(run.told))
    run.told.clear()

    if of == "backward":
        run.steps.manual_backward(run.module.weight**2, None)
        assert run.told == ["callback after backward"]
    else:
        run.steps.step_optimizer(run.optimizer, lambda: None)
        assert "callback before step" in run.told


def test_arguments_of_backward_are_passed_on() -> None:
    run = Run(Bare)
    loss = run.module.weight**2

    run.steps.manual_backward(loss, None, retain_graph=True)
    run.steps.manual_backward(loss, None, torch.tensor(2.0))

    assert run.module.weight.grad.item() == 12.0
