"""Has somebody asked training to stop, and have all ranks agreed on it?"""

from __future__ import annotations

from collections.abc import Callable


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
    """

    def __init__(self, is_distributed: bool) -> None:
        self._is_distributed = is_distributed
        self.wanted = False
        self.agreed = False
        self.ordered: str | None = None

    def ask(self, stop: bool) -> None:
        """User code has set `trainer.should_stop`."""
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
