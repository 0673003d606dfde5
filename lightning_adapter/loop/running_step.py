"""How do `training_step` and `validation_step` run: as the running hook, in the strategy's way, in the precision asked for?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.loop.precision import Precision
from lightning_adapter.loop.step_end import with_step_end
from lightning_adapter.loop.strategies.base import SingleDeviceStrategy
from lightning_adapter.versions.types import StepOutput


def running_step(
    name: str, hooks: Hooks, strategy: SingleDeviceStrategy, precision: Precision
) -> Callable[..., StepOutput]:
    """A step of the module, followed by the hook that Lightning 1.x called after it.

    Args:
        name: "training_step" or "validation_step".
        hooks: runs it, so that `self.log` knows where it is.
        strategy: runs it where its gradients are seen, as `Strategy.training_step` redirects it through DDP's forward.
        precision: what it runs in, as `Precision.train_step_context`.
    """
    function = strategy.wrap_step(name, getattr(hooks.module, name))
    run_hook = hooks.run

    def step_with_precision(*args: Any) -> StepOutput:
        with precision.context():
            output: StepOutput = run_hook(name, function, *precision.convert_arguments(args))
            return output

    # without a precision of its own the step is run with no layer around it
    step = partial(run_hook, name, function) if precision.is_default else step_with_precision
    return with_step_end(hooks, f"{name}_end", step)
