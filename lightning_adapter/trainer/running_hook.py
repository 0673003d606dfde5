"""Which hook is running, so that `self.log` knows from where it is called?"""

from __future__ import annotations


class RunningHook:
    """The name of the hook that is being executed: the dispatcher of hooks writes it, `self.log` reads it.

    Lightning keeps it as `LightningModule._current_fx_name`.

    Attributes:
        name: the hook, None outside of all hooks.
    """

    __slots__ = ("name",)

    def __init__(self) -> None:
        self.name: str | None = None
