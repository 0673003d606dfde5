"""What does user code find at `self.trainer` about the end of the run?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning_adapter.trainer.stop_request import StopRequest


class EndView:
    """Who has asked for the end, and how it came, under the names of Lightning's Trainer.

    Args:
        stop: the request of user code.
        received_sigterm: whether this process was told to end.

    Attributes:
        state: Lightning's `TrainerState`.
    """

    state: Any

    def __init__(self, stop: StopRequest, received_sigterm: Callable[[], bool]) -> None:
        self._stop = stop
        self._received_sigterm = received_sigterm

    @property
    def should_stop(self) -> bool:
        """Whether training is to end after the batch in work, as far as this process knows."""
        return self._stop.wanted

    @should_stop.setter
    def should_stop(self, value: bool) -> None:
        self._stop.ask(value)

    @property
    def received_sigterm(self) -> bool:
        """Whether this process was told to end; it does once no work would be lost."""
        return self._received_sigterm()

    @property
    def interrupted(self) -> bool:
        """True after an exception, and after a pause."""
        return bool(self.state.status == type(self.state.status).INTERRUPTED)
