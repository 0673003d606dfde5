"""Has somebody asked training to stop, who was it, and have all ranks agreed on it?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple


class Asker(NamedTuple):
    """Who has asked training to stop.

    Attributes:
        owner: whose method did; None where a function did.
        function: its name.
        place: file and line.
    """

    owner: object
    function: str
    place: str


class StopRequest:
    """`trainer.should_stop`, and what the loops follow in its place.

    User code of one rank may ask while the others do not. A loop that followed its own rank would leave the others
    waiting for gradients, so loops follow `agreed`, which changes on all ranks together.

    Args:
        is_distributed: whether there are other ranks to agree with.

    Attributes:
        wanted: whether this rank wants to stop.
        agreed: whether training is to stop, the same on all ranks.
        ordered: why whoever runs this trial has ended it, the same on all ranks; None as long as nobody has.
        asker: who asked first on this rank; None where nobody did, as where another rank or a limit stops the training.
    """

    def __init__(self, is_distributed: bool) -> None:
        self._is_distributed = is_distributed
        self.wanted = False
        self.agreed = False
        self.ordered: str | None = None
        self.asker: Asker | None = None

    def ask(self, stop: bool) -> None:
        """User code has set `trainer.should_stop`."""
        # callbacks of Lightning's set it at each of their checks, to what it is already
        if bool(stop) is not self.wanted:
            self.asker = _asker() if stop else None
        self.wanted = stop
        if not self._is_distributed:
            self.agreed = stop

    def decide(self, stop: bool) -> None:
        """All ranks decide the same at the same moment: a limit is reached, or a checkpoint says so."""
        self.wanted = self.agreed = stop

    def order(self, why: str) -> None:
        """Whoever runs this trial ends it, on all ranks at the same moment: `min_epochs` and `min_steps` do not hold it."""
        self.ordered = why
        self.decide(True)

    def agree(self, any_rank: Callable[[bool], list[bool]]) -> None:
        """Ask the other ranks.

        Args:
            any_rank: from what this rank wants to what any of them wants; all ranks call it together.
        """
        if not self.agreed:
            (stop,) = any_rank(self.wanted)
            self.decide(stop)


def _asker() -> Asker | None:
    """The code that has set `trainer.should_stop`: the innermost that is not this package's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "lightning_adapter":
        frame = frame.f_back
    if frame is None:
        return None
    code = frame.f_code
    return Asker(
        frame.f_locals.get("self"), code.co_name, f"{os.path.basename(code.co_filename)}, line {frame.f_lineno}"
    )
