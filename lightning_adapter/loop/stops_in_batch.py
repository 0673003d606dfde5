"""May user code ask to stop in the middle of an epoch?"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from lightning_adapter.versions.hosts import Host, is_host_class
from lightning_adapter.versions.types import Callback, LightningModule
from lightning_adapter.versions.wrappers import code_within, underlying


def may_stop_in_batch(host: Host, module: LightningModule, callbacks: Iterable[Callback]) -> bool:
    """Whether user code may set `trainer.should_stop` in the middle of an epoch.

    Processes agree on it where they meet anyway: at reporting steps, after validations, at the end of epochs. Where module
    or callbacks name `should_stop` in their code they agree after every batch, so that training ends at the very batch,
    as it does in one process. A name that hides from this look ends training at the next meeting, on all processes alike.
    """
    if any(isinstance(callback, host.pl.callbacks.Timer) for callback in callbacks):
        return True
    # Lightning's own callbacks ask for a stop at an epoch's end or after a validation, Timer excepted
    for owner in (module, *callbacks):
        functions = [value for value in vars(owner).values() if callable(value)]
        for cls in type(owner).__mro__:
            if not is_host_class(cls):
                functions += [value for value in vars(cls).values() if inspect.isfunction(value)]
        below = (function for function in map(underlying, functions) if inspect.isfunction(function))
        if any("should_stop" in code.co_names for function in below for code in code_within(function.__code__)):
            return True
    return False
