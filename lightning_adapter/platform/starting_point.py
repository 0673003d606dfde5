"""With which checkpoint does a run begin, and how long is its content kept?"""

from __future__ import annotations

import os
from typing import Any

from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.loop.run_state import with_rank


class StartingPoint:
    """The checkpoint that a run begins with.

    It owns the content, which is as large as the model and its optimizers: nobody else may keep a reference, so that
    the memory is free as soon as what it holds is restored, as `_CheckpointConnector.resume_end` frees it.

    Args:
        saved: its content; None for a run from scratch.
        weights_only: whether its weights alone are taken.
        path: its file, as user code finds it at `trainer.ckpt_path`.

    Attributes:
        resumes: whether the run goes on where the checkpoint was written.
    """

    def __init__(
        self,
        saved: dict[str, Any] | None = None,
        weights_only: bool = False,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        self.weights_only = weights_only
        self.resumes = saved is not None and not weights_only
        self.path = path
        self._saved = saved

    @property
    def saved(self) -> dict[str, Any] | None:
        """Its content, as far as it is still to be restored; None for a run from scratch."""
        return self._saved

    def belongs_to_rank(self, rank: int) -> None:
        """Take what the checkpoint has of this process, in a run that goes on from more than its weights."""
        if self._saved is not None and self.resumes and OURS in self._saved:
            self._saved = {**self._saved, OURS: with_rank(self._saved[OURS], rank)}

    def optimizers_restored(self) -> None:
        """Of the content only the position in the data is still to be restored: let go of weights and optimizers."""
        if self._saved is not None:
            self._saved = {name: value for name, value in self._saved.items() if name == OURS}

    def restored(self) -> None:
        """Nothing of the content is still to be restored."""
        self._saved = None
