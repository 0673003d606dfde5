"""Which checkpoints of a run are the best, and which are kept?

Pure functions over what lies on the disk.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from lightning_adapter.runs.store import StoredCheckpoint


def rank(checkpoints: Sequence[StoredCheckpoint], metric: str, smaller_is_better: bool) -> list[StoredCheckpoint]:
    """Order the checkpoints that have a finite value of a validation metric: best first, of equal ones the newest.

    Args:
        checkpoints: from the oldest training step to the newest.
        metric: a validation metric.
        smaller_is_better: the direction.
    """
    candidates = [checkpoint for checkpoint in reversed(checkpoints) if metric in checkpoint.validation]
    sign = 1 if smaller_is_better else -1
    return sorted(candidates, key=lambda checkpoint: sign * checkpoint.validation[metric])


def superfluous(
    checkpoints: Sequence[StoredCheckpoint], ranked: Sequence[StoredCheckpoint], save_best: int, save_latest: int
) -> list[pathlib.Path]:
    """Return the checkpoints that are neither among the best nor among the latest.

    The newest one is never among them, also with `save_latest=0`: a resume needs it. Nor is one to which a person gave a
    name.

    Args:
        checkpoints: from the oldest training step to the newest.
        ranked: the best first, as `rank` orders them; empty keeps by age alone.
        save_best: how many of the best to keep.
        save_latest: how many of the latest to keep.
    """
    keep = {checkpoint.path for checkpoint in (*checkpoints[-max(save_latest, 1) :], *ranked[:save_best])}
    return [checkpoint.path for checkpoint in checkpoints if checkpoint.is_own and checkpoint.path not in keep]
