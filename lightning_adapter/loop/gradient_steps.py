"""What happens to gradients: zeroed, computed, exchanged, clipped, and used by an optimizer, with the hooks around?

The order around one optimizer step is that of `_AutomaticOptimization`, `Strategy.backward` and `Precision._wrap_closure`:

    closure
        training_step
        on_before_zero_grad, optimizer_zero_grad
        on_before_backward, backward, (exchange between ranks), on_after_backward
    on_before_optimizer_step
    configure_gradient_clipping
    step
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lightning_adapter.loop.hooks import Call, Hooks
from lightning_adapter.loop.precision import Precision, StepResult
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.strategies.base import SingleDeviceStrategy
from lightning_adapter.loop.strategies.gradient_exchange import GradientExchange
from lightning_adapter.trainer.settings import Settings
from lightning_adapter.versions import torch_private
from lightning_adapter.versions.lightning_1x import Signatures


class GradientSteps:
    """Backward and optimizer steps of one run, automatic and manual alike.

    What the module overrides is looked up at the first batch: `setup` and `configure_optimizers` may still change it.

    Args:
        hooks: of the run.
        precision: scales losses, and unscales gradients before anybody reads them.
        settings: clipping as it is asked for at the moment.
        progress: tells hooks which epoch it is.
        signatures: knows the hooks of older Lightnings.
        strategy: returns the strategy, which is made after this object since user code steps its optimizers there.
    """

    def __init__(
        self,
        hooks: Hooks,
        precision: Precision,
        settings: Settings,
        progress: TrainingProgress,
        signatures: Signatures,
        strategy: Callable[[], SingleDeviceStrategy],
    ) -> None:
        self._module = hooks.module
        self._hooks = hooks
        self._precision = precision
        self._settings = settings
        self._progress = progress
        self._signatures = signatures
        self._strategy = strategy

    # --- what the module brings of its own ----------------------------------------------------------------------------

    @cached_property
    def _own_backward(self) -> Call | None:
        module = self._module
        return self._signatures.backward(module.backward) if self._hooks.replaced("backward") else None

    @cached_property
    def _own_zero_grad(self) -> Call | None:
        name = "optimizer_zero_grad"
        return self._hooks.module_hook(name) if self._hooks.replaced(name) else None

    @cached_property
    def _own_clipping(self) -> bool:
        return any(self._hooks.replaced(name) for name in ("configure_gradient_clipping", "clip_gradients"))

    @cached_property
    def _clip(self) -> Call:
        return self._hooks.module_hook("configure_gradient_clipping")

    @cached_property
    def _exchange(self) -> GradientExchange | None:
        """Averages gradients over all ranks where no wrapper of the module does it."""
        return self._strategy().gradient_exchange()

    @cached_property
    def _is_plain(self) -> bool:
        """Whether nothing stands between the loss and its `backward`."""
        return self._own_backward is None and self._exchange is None and self._precision.apex is None

    # --- gradients ----------------------------------------------------------------------------------------------------

    def zero_grad(self, optimizer: Optimizer, batch_idx: int) -> None:
        """As `_AutomaticOptimization._on_before_zero_grad` and `_optimizer_zero_grad`."""
        hook = self._hooks.bound["on_before_zero_grad"]
        if hook is not None:
            hook(optimizer)
        if self._own_zero_grad is not None:
            self._own_zero_grad(self._progress.current_epoch, batch_idx, optimizer)
        else:
            torch_private.zero_grad(optimizer)

    def backward(self, loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        """As `Strategy.backward`: the hooks see the scaled loss, and gradients of all ranks."""
        if self._precision.scaler is not None:
            loss = self._precision.scale(loss)
        # the hook gets the scaled loss: Lightning scales in `pre_backward`, before it calls the hook
        hook = self._hooks.bound["on_before_backward"]
        if hook is not None:
            hook(loss)
        if self._is_plain:
            loss.backward(*args, **kwargs)
        else:
            self._differentiate(loss, optimizer, args, kwargs)
        # after the exchange: a hook that clips or reads gradients sees those of all ranks
        hook = self._hooks.bound["on_after_backward"]
        if hook is not None:
            hook()
        return loss

    def manual_backward(self, loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        """`LightningModule.manual_backward`, in the middle of user code, which may have changed the callbacks."""
        self._hooks.refresh()
        return self.backward(loss, optimizer, *args, **kwargs)

    def _differentiate(
        self, loss: Tensor, optimizer: Optimizer | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        # gradients are exchanged within the context, since apex unscales when it ends
        with self._precision.scaled_loss(loss, optimizer or self._strategy().optimizers) as scaled:
            if self._own_backward is not None:
                # the hook may differentiate several times, and change gradients before it ends
                self._hooks.run("backward", self._own_backward, scaled, optimizer, *args, **kwargs)
                if self._exchange is not None:
                    self._exchange.average()
            elif self._exchange is not None:
                self._exchange.differentiate(scaled, *args, **kwargs)
            else:
                scaled.backward(*args, **kwargs)

    # --- optimizer steps ----------------------------------------------------------------------------------------------

    def step_optimizer(
        self, optimizer: Optimizer, closure: Callable[[], StepResult] | None, **kwargs: Any
    ) -> StepResult:
        """`LightningOptimizer.step`, in the middle of user code, which may have changed the callbacks."""
        self._hooks.refresh()
        automatic = self._module.automatic_optimization
        return self._precision.step(optimizer, closure or _nothing, self.after_closure, automatic, **kwargs)

    def after_closure(self, optimizer: Optimizer) -> None:
        """The gradients are there and final: hooks may read them, then they are clipped, as in `_after_closure`."""
        hook = self._hooks.bound["on_before_optimizer_step"]
        if hook is not None:
            hook(optimizer)
        # manual optimization clips by `self.clip_gradients`, if at all
        settings = self._settings
        if (settings.gradient_clip_val or self._own_clipping) and self._module.automatic_optimization:
            self._clip(
                optimizer,
                gradient_clip_val=settings.gradient_clip_val,
                gradient_clip_algorithm=settings.gradient_clip_algorithm,
            )


def _nothing() -> None:
    """Stands in for a closure, as Lightning's `do_nothing_closure`."""
