"""Which checkpoints of a run are the best, and which are kept?

Pure functions over what lies on the disk and in the table of metrics.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterable, Sequence

from lightning_adapter.runs.metrics_table import Row, column_of
from lightning_adapter.runs.store import StoredCheckpoint


def rank(
    checkpoints: Sequence[StoredCheckpoint], rows: Iterable[Row], metric: str, smaller_is_better: bool
) -> list[pathlib.Path]:
    """Order the checkpoints that have a finite value of a validation metric: best first, of equal ones the newest.

    Args:
        checkpoints: from the oldest training step to the newest.
        rows: the run's table; of several validations of one batch the last one counts.
        metric: a validation metric.
        smaller_is_better: the direction.
    """
    column = column_of(metric)
    at_batch: dict[int, float] = {
        row["batches"]: row[column]
        for row in rows
        if row["kind"] == "validation" and math.isfinite(row.get(column, math.nan))
    }
    candidates = [c for c in reversed(checkpoints) if c.steps_completed in at_batch]
    sign = 1 if smaller_is_better else -1
    return [c.path for c in sorted(candidates, key=lambda c: sign * at_batch[c.steps_completed])]


def superfluous(
    checkpoints: Sequence[StoredCheckpoint], ranked: Sequence[pathlib.Path], save_best: int, save_latest: int
) -> list[pathlib.Path]:
    """Return the checkpoints that are neither among the best nor among the latest.

    The newest one is never among them, also with `save_latest=0`: a resume needs it.

    Args:
        checkpoints: from the oldest training step to the newest.
        ranked: the best first, as `rank` orders them; empty keeps by age alone.
        save_best: how many of the best to keep.
        save_latest: how many of the latest to keep.
    """
    paths = [checkpoint.path for checkpoint in checkpoints]
    keep = {*paths[-max(save_latest, 1) :], *ranked[:save_best]}
    return [path for path in paths if path not in keep]
