"""How far has a run come, and which last hooks are called, once, however it ends?"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable

from lightning_adapter.loop.components import Components
from lightning_adapter.loop.tear_down import interrupt, tear_down
from lightning_adapter.platform.uncaught import tell_at_exit
from lightning_adapter.platform.where_raised import note_where


class _Stage(enum.Enum):
    BUILT = enum.auto()
    SET_UP = enum.auto()
    OVER = enum.auto()


class Lifetime:
    """The beginning and the end of one run, as `_call_and_handle_interrupt` has them around `Trainer._fit_impl`.

    Args:
        parts: the run.
        settle: does what follows the last batch, where that is still to be done.
    """

    def __init__(self, parts: Components, settle: Callable[[], None]) -> None:
        self._parts = parts
        self._settle = settle
        self._stage = _Stage.BUILT
        self._handled: BaseException | None = None

    def begin(self, set_up: Callable[[], None]) -> None:
        """Make the user's objects ready, once."""
        if self._stage is not _Stage.BUILT:
            return
        self._stage = _Stage.SET_UP
        # whoever trains once more after an error may do so while that error is being handled; it is not this run's
        self._handled = sys.exc_info()[1]
        try:
            set_up()
        except BaseException as error:
            self.interrupt(error)
            raise

    def end(self) -> None:
        """Training has ended, or pauses: call the last hooks."""
        if self._stage is _Stage.OVER:
            return
        try:
            self._settle()
            tear_down(self._parts)
        except BaseException as error:
            self.interrupt(error)
            raise
        self._stage = _Stage.OVER

    def interrupt(self, error: BaseException) -> None:
        """An exception ends the run, wherever it was raised: call the hooks for that."""
        if self._stage is _Stage.OVER:
            return
        self._stage = _Stage.OVER
        if isinstance(error, Exception):
            note_where(error, self._parts)
        try:
            interrupt(self._parts, error)
        except Exception as another:  # of a hook that was told of the first
            note_where(another)
            raise

    def host_has_ended(self) -> None:
        """A loop that is not ours has ended, and tells nobody why: an exception that is new since the beginning was it."""
        error = sys.exc_info()[1]
        if error is None or error is self._handled:
            self.end()
        else:
            self.interrupt(error)
            if isinstance(error, Exception):
                tell_at_exit(error)
