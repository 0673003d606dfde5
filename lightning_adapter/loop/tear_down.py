"""How does a run end, well or with an error? As the ends of `Trainer._run` and `_call_and_handle_interrupt`."""

from __future__ import annotations

from lightning_adapter import monkey_patch
from lightning_adapter.loop.components import Components
from lightning_adapter.versions import lightning_private


def tear_down(parts: Components) -> None:
    """Call the last hooks and let go of worker processes and loggers, as `Trainer._run` after its loops.

    A run that is only paused, by a request to stop, has not been fitted: `on_fit_end` is not called.
    """
    hooks, stage, finished = parts.hooks, parts.trainer.state.fn, parts.progress.is_finished
    # worker processes first: `teardown` may delete what they read
    parts.data.stop()
    if finished:
        hooks.call("on_fit_end")
    # `_call_teardown_hook`
    if parts.datamodule is not None:
        hooks.call_data("teardown", stage=stage)
    hooks.call_callbacks("teardown", stage=stage)
    hooks.call_module("teardown", stage=stage)
    lightning_private.forget_metric_attributes(parts.module)
    parts.dispatcher.finalize("success")
    _let_go(parts, "FINISHED" if finished else "INTERRUPTED")


def interrupt(parts: Components, error: BaseException) -> None:
    """An exception ends the run: tell callbacks, datamodule and loggers, as `_interrupt`, and let go of everything.

    Args:
        parts: the run, however far it has come.
        error: what goes on after this.
    """
    hooks, state = parts.hooks, parts.trainer.state
    if isinstance(error, KeyboardInterrupt):
        parts.host.inform("\nDetected KeyboardInterrupt, attempting graceful shutdown ...")
    # first: hooks ask for it, and for the stage in which the error was raised
    state.status = type(state.status).INTERRUPTED
    try:
        hooks.call_callbacks("on_exception", error)
        # Lightning asks of this hook alone not whether it is overridden; before 2.3 its datamodule has none
        if hasattr(parts.datamodule, "on_exception"):
            hooks.call_data("on_exception", error)
        parts.dispatcher.finalize("failed")
    finally:
        parts.data.stop()
        _let_go(parts, "INTERRUPTED")


def _let_go(parts: Components, status: str) -> None:
    """The module is an ordinary one again, and the trainer says how the run has ended."""
    parts.strategy.disconnect()
    monkey_patch.detach(parts.module)
    state = parts.trainer.state
    state.status, state.stage = type(state.status)[status], None
