"""When does `training_step_end` or `validation_step_end` follow a step, and which of the two outputs counts?"""

from __future__ import annotations

from typing import Any

from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.versions import lightning_1x
from lightning_adapter.versions.types import Call


def with_step_end(hooks: Hooks, name: str, step: Call) -> Call:
    """A step followed by the hook `name`, which is given its output.

    Args:
        hooks: of the run.
        name: "training_step_end" or "validation_step_end".
        step: the module's step as a running hook.

    Returns:
        `step` itself where the module has no such hook. What the hook returns wins unless it is None.
    """
    if not hooks.overridden(name):
        return step
    end, run = getattr(hooks.module, name), hooks.run
    if not hooks.host.quirks.calls_any_step_end and not lightning_1x.is_hook(name, end):
        return step

    def step_and_end(*args: Any) -> Any:
        output = step(*args)
        more = run(name, end, output)
        return output if more is None else more

    return step_and_end
