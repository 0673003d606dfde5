"""How is a batch optimized where Lightning steps the optimizers: one of them, or several in turn?

As `_AutomaticOptimization.run`; several optimizers are those of Lightning 1.x's `OptimizerLoop`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.gradient_steps import GradientSteps
from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.loop.precision import Precision
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.returned_logs import ReturnedLogs
from lightning_adapter.loop.strategies.base import SingleDeviceStrategy
from lightning_adapter.trainer.nonfinite import NonFiniteCheck
from lightning_adapter.trainer.settings import Settings
from lightning_adapter.versions import torch_private
from lightning_adapter.versions.lightning_1x import OptimizerTurns, RunningLoss
from lightning_adapter.versions.types import StepOutput


class AutomaticOptimization:
    """Runs the step of a batch inside the step of its optimizer.

    Args:
        training_step: the module's step as a running hook.
        steps: what happens to gradients.
        precision: steps an optimizer, its gradients unscaled.
        hooks: of the run.
        strategy: has the optimizers.
        settings: over how many batches gradients are accumulated, and whether backward is skipped.
        progress: counts optimizer steps.
        non_finite: remembers losses.
        returned_logs: logs what a step returned in place of logging it.
        running_loss: is told of losses; None where nobody reads them there.
    """

    def __init__(
        self,
        training_step: Callable[..., StepOutput],
        steps: GradientSteps,
        precision: Precision,
        hooks: Hooks,
        strategy: SingleDeviceStrategy,
        settings: Settings,
        progress: TrainingProgress,
        non_finite: NonFiniteCheck,
        returned_logs: ReturnedLogs,
        running_loss: RunningLoss | None = None,
    ) -> None:
        self.training_step = training_step
        self.steps = steps
        self._precision = precision
        self.hooks = hooks
        self.strategy = strategy
        self.settings = settings
        self.progress = progress
        self.non_finite = non_finite
        self._returned_logs = returned_logs
        self._running_loss = running_loss
        name = "optimizer_step"
        self._own_optimizer_step = hooks.module_hook(name) if hooks.replaced(name) else None
        none = "`training_step` returned `None`. If this was on purpose, ignore this warning..."
        self._warn_of_none = functools.cache(lambda: hooks.host.warn(none))  # once

    def run(self, arguments: tuple[Any, ...], batch_idx: int, index: int = 0) -> dict[str, Any]:
        """Optimize with one batch.

        Args:
            arguments: what `training_step` is given.
            batch_idx: index of the batch in its epoch, as accumulation counts it.
            index: of the optimizer.

        Returns:
            What `on_train_batch_end` gets as its outputs.
        """
        strategy, progress = self.strategy, self.progress
        optimizer = strategy.optimizers[index]
        closure = Closure(self, arguments, batch_idx, optimizer)
        if self.settings.accumulate_grad_batches != 1 and progress.accumulates:
            # no step, so no hook around one, and ranks need not hear of these gradients yet
            with strategy.block_backward_sync():
                closure()
        else:
            if self._own_optimizer_step is not None:
                wrapper = strategy.lightning_optimizers[index]
                self._own_optimizer_step(progress.current_epoch, batch_idx, wrapper, closure)
            elif self._precision.scaler is None:
                closure.ends_with = self.steps.after_closure
                torch_private.step(optimizer, closure)
            else:
                self._precision.step(optimizer, closure, self.steps.after_closure, automatic=True)
            progress.advance_optimizer_step()
        outputs = closure.outputs()
        if self._running_loss is not None and outputs:
            # that of the whole batch, as `TrainingBatchLoop._update_running_loss`
            self._running_loss.append(outputs["loss"] * self.settings.accumulate_grad_batches)
        return outputs

    def log_returned(self, output: Mapping[str, Any]) -> None:
        """Log what the step returned under "log" and "progress_bar"."""
        self._returned_logs.log("training_step", output)

    def skipped(self) -> None:
        """The step returned None.

        Raises:
            ConfigurationError: other ranks wait for this one's gradients.
        """
        if self.strategy.is_distributed:
            raise ConfigurationError(
                f"training_step returned None on rank {self.strategy.global_rank}. With several processes the others wait "
                "for the gradients of every batch. Return a loss that is zero (loss * 0), or skip the samples in the dataset."
            )
        self._warn_of_none()


class OptimizersInTurn:
    """Several optimizers, all of them or some at each batch, as `OptimizerLoop` of Lightning 1.x.

    Args:
        single: optimizes with one of them.
        turns: which of them have their turn at a batch.
    """

    def __init__(self, single: AutomaticOptimization, turns: OptimizerTurns) -> None:
        self._single = single
        self._turns = turns

    def run(self, arguments: tuple[Any, ...], batch_idx: int) -> Any:
        """Optimize with one batch; `AutomaticOptimization.run` describes arguments and return."""
        by_index: dict[int, dict[str, Any]] = {}
        for index in self._turns.at(batch_idx):
            with self._turns.toggled(index):
                found = self._single.run((*arguments, *self._turns.argument(index)), batch_idx, index)
            if found:
                by_index[index] = found
        return self._turns.outputs(by_index)


class Closure:
    """What an optimizer runs to have its gradients: the step, the gradients' zeroing, backward, as Lightning's `Closure`.

    Attributes:
        ends_with: called with the optimizer once the gradients are there, where nothing is to be unscaled before: what
            `Precision.step` does around a closure otherwise.
    """

    __slots__ = ("_arguments", "_batch_idx", "_executed", "_extra", "_loss", "_optimization", "_optimizer", "ends_with")

    def __init__(
        self, optimization: AutomaticOptimization, arguments: tuple[Any, ...], batch_idx: int, optimizer: Optimizer
    ) -> None:
        self._optimization = optimization
        self._arguments = arguments
        self._batch_idx = batch_idx
        self._optimizer = optimizer
        self._executed = False
        self._loss: Tensor | None = None
        self._extra: dict[str, Any] | None = None
        self.ends_with: Callable[[Optimizer], None] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor | None:
        """Compute the loss and the gradients; what an optimizer passes is of no meaning here.

        Returns:
            The loss without its graph, None where the step was skipped.
        """
        if not torch.is_grad_enabled():  # torch's own optimizers have seen to that, others may not have
            # as in Lightning these gradients are for the closure alone, not for the hooks and the clipping behind it
            ends_with, self.ends_with = self.ends_with, None
            with torch.enable_grad():
                loss = self()
            if ends_with is not None:
                self.ends_with = ends_with
                ends_with(self._optimizer)
            return loss
        optimization = self._optimization
        settings, hooks = optimization.settings, optimization.hooks
        accumulated = settings.accumulate_grad_batches
        # an optimizer may call this several times in one step (LBFGS); each call is a step of the module
        self._executed = True
        output = optimization.training_step(*self._arguments)
        self._extra = None
        loss = output if isinstance(output, Tensor) else self._loss_of(output)
        if loss is None:
            self._loss = None
            optimization.skipped()
        else:
            if accumulated != 1:
                loss = loss / accumulated
            # hooks get the loss without its graph, so that keeping it keeps no activations
            self._loss = found = loss.detach()
            optimization.non_finite.add(found, optimization.progress.batch.total.ready)
            if hooks.bound["on_before_backward"] is not None:
                self._loss = found.clone()  # a hook may change the loss in place
        # StochasticWeightAveraging passes over the data once more to update batch norms, without gradients
        if not settings.skip_backward:
            # zeroed at the first batch of a group, after the step has run, as `_make_zero_grad_fn` has it
            if accumulated == 1 or self._batch_idx % accumulated == 0:
                optimization.steps.zero_grad(self._optimizer, self._batch_idx)
            if loss is not None:
                hooks.run("backward", optimization.steps.backward, loss, self._optimizer)
        if self.ends_with is not None:
            self.ends_with(self._optimizer)
        return self._loss

    def _loss_of(self, output: Mapping[str, Any] | None) -> Tensor | None:
        """The loss in what a step returned, as `ClosureResult.from_training_step_output`."""
        if output is None:
            return None
        error = self._optimization.hooks.host.misconfiguration
        if isinstance(output, Mapping):
            loss: Tensor | None = output.get("loss")
            if loss is None:
                raise error(
                    "In automatic_optimization, when `training_step` returns a dict, the 'loss' key needs to be present"
                )
            self._extra = {key: value for key, value in output.items() if key != "loss"}
            self._optimization.log_returned(output)
            return loss
        raise error(
            "In automatic optimization, `training_step` must return a Tensor, a dict, or None (where the step will"
            " be skipped)."
        )

    def outputs(self) -> dict[str, Any]:
        """What `on_train_batch_end` gets.

        Raises:
            MisconfigurationException: the optimizer has not run the closure.
        """
        if not self._executed:
            raise self._optimization.hooks.host.misconfiguration(
                "The closure hasn't been executed. HINT: did you call `optimizer_closure()` in your `optimizer_step` hook?"
                " It could also happen because the `optimizer.step(optimizer_closure)` call did not execute it internally."
            )
        if self._loss is None:
            return {}
        return {"loss": self._loss, **(self._extra or {})}
