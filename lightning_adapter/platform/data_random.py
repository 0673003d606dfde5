"""In which random state is the data of a run set up? A split of the data may be drawn there.

A checkpoint keeps it, so that whoever sets up the data again, a test or a run that goes on, draws the same split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_adapter.checkpoints.restore import restoring
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.platform.made_with import made_with
from lightning_adapter.platform.starting_point import StartingPoint


class DataRandom:
    """The random state of a run right before `setup` of who makes its loaders.

    Args:
        start: with which checkpoint the run begins.

    Attributes:
        state: None before that moment.
    """

    def __init__(self, start: StartingPoint) -> None:
        self._start = start
        self.state: RandomState | None = None

    def before_setup(self) -> None:
        """Note it. A run that goes on from one without a seed begins where that one has, and so draws what it has drawn."""
        start = self._start
        if start.resumes and made_with(start.saved).get("seed") is None:
            known = data_random(start.saved)
            if known is not None:
                known.restore()
        self.state = RandomState.now()


def data_random(saved: Mapping[str, Any] | None) -> RandomState | None:
    """Return the random state in which the run of a checkpoint has set up its data; None where it does not say.

    Raises:
        CheckpointError: it is none.
    """
    kept = made_with(saved).get("data_random")
    if kept is None:
        return None
    with restoring("random state"):
        return RandomState.of(kept)
