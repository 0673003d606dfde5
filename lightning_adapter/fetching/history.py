"""What does a master keep of a trial's course, and how does it become the table and the log of a run directory?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from determined.experimental.client import Trial

from lightning_adapter.fetching.choice import number
from lightning_adapter.runs.directory import RunDirectory

logger = logging.getLogger("lightning_adapter")

#: Groups of metrics -> what the table calls them; others keep their names.
_KINDS = {"training": "train", "validation": "validation"}
#: As a summary names the two groups, and as they are asked for.
_GROUPS = {"avg_metrics": "training", "validation_metrics": "validation"}


def write_metrics(trial: Trial, run: RunDirectory, epoch_length: int | None) -> None:
    """Write a row for each report, in the order of the batches.

    Args:
        trial: its reports.
        run: whose table it is.
        epoch_length: batches of an epoch; None where it is not known.
    """
    groups = {_GROUPS.get(name, name) for name in trial.summary_metrics or {}} | set(_KINDS)
    rows: list[tuple[int, int, str, Mapping[str, Any]]] = []
    for group in groups:
        order = list(_KINDS).index(group) if group in _KINDS else len(_KINDS)
        rows += [(row.steps_completed, order, group, row.metrics) for row in trial.iter_metrics(group)]
    left_out: set[str] = set()
    for steps, _, group, metrics in sorted(rows, key=lambda row: row[:3]):
        numbers = {name: number(value) for name, value in metrics.items() if name not in ("batches", "epochs")}
        left_out |= {name for name, value in numbers.items() if value is None}
        values = {name: value for name, value in numbers.items() if value is not None}
        kind: Any = _KINDS.get(group, group)
        run.record(kind, steps, _epoch(metrics.get("epochs"), steps, epoch_length), values)
    if left_out:
        logger.warning("%s holds numbers alone, and so lacks %s", run.metrics_file.name, ", ".join(sorted(left_out)))


def _epoch(whole: object, steps: int, length: int | None) -> int:
    """The running epoch, counted from 0, where the master knows how many are whole: the batch that ends one is in it."""
    epochs = int(whole) if isinstance(whole, (int, float)) else steps // length if length else 0
    return epochs - 1 if epochs and length is not None and steps == epochs * length else epochs


def write_log(trial: Trial, run: RunDirectory) -> None:
    """Write what the trial's processes printed, over all its restarts."""
    with run.log_file.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for line in trial.iter_logs():
            file.write(line if line.endswith("\n") else f"{line}\n")
