"""What is printed when a run has ended?"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_adapter.runs.metrics_table import plain

logger = logging.getLogger("lightning_adapter")

#: Metrics that a table has; of a run with hundreds the rest stands in its file.
MOST_METRICS = 20


@dataclass(frozen=True)
class Values:
    """What a run has come to.

    Attributes:
        final: the values of its end.
        ranked_by: the metric that says which checkpoint is the best; None where none is named.
        best: the values of the validation that was best by it; empty where none is known.
        best_at: where that was, as `epoch 2, batch 266`.
        more_in: name of the file that has all of them; None where there is none.
    """

    final: Mapping[str, float]
    ranked_by: str | None = None
    best: Mapping[str, float] = field(default_factory=dict)
    best_at: str = ""
    more_in: str | None = None


def text(values: Values, rows: Mapping[str, str]) -> str:
    """The final values beside the best ones, and what else is known of a run.

    Args:
        values: what it has come to.
        rows: name to value, beneath the table.
    """
    beneath = _drawn(list(rows.items()), tablefmt="plain")
    return "\n\n".join(part for part in (_table(values), beneath) if part)


def _drawn(cells: list[Any], **how: Any) -> str:
    from tabulate import tabulate  # not before a run has ended, since every one imports this file when it begins

    drawn: str = tabulate(cells, disable_numparse=True, **how)
    return drawn


def _table(values: Values) -> str:
    names = sorted({**values.final, **values.best}, key=lambda name: (name != values.ranked_by, name))
    if not names:
        return 'No metric was logged. To see values here, write self.log("loss", loss) in a step.'
    heads = ["metric", "final value"]
    if values.best:
        heads.append(f"best ({values.best_at})" if values.best_at else "best")
    cells = [
        [plain(name), *(_number(found.get(name)) for found in (values.final, values.best)[: len(heads) - 1])]
        for name in names[:MOST_METRICS]
    ]
    table = _drawn(cells, headers=heads)
    left = len(names) - MOST_METRICS
    if left > 0:
        table += f"\nand {left} more" + ("" if values.more_in is None else f" in {values.more_in}")
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def places(
    ranked_by: str | None, best: pathlib.Path | None, latest: pathlib.Path | None, others: Mapping[str, pathlib.Path]
) -> dict[str, str]:
    """Rows of where everything lies.

    Args:
        ranked_by: the metric that says which checkpoint is the best; None where none is named.
        best: the best checkpoint, None where none is known.
        latest: the last checkpoint, None where none was written.
        others: what else there is to look at.
    """
    rows = {}
    if ranked_by is not None and best is not None and best == latest:
        rows["checkpoint"] = f"{shown(best)} (the best and the last)"
    else:
        if ranked_by is not None:
            unknown = f"not known: no checkpoint was validated with a finite {plain(ranked_by)}"
            rows["best checkpoint"] = unknown if best is None else shown(best)
        if latest is not None:
            rows["last checkpoint"] = shown(latest)
    return {**rows, **{name: shown(path) for name, path in others.items()}}


def shown(path: pathlib.Path) -> str:
    """A path as it can be typed here: from the working directory on, where it lies below."""
    try:
        return str(path.relative_to(pathlib.Path.cwd()))
    except (ValueError, OSError):  # it lies elsewhere, or user code has deleted the working directory
        return str(path)


def say(message: str) -> None:
    """Print; an output that is closed, or cannot show a character, is no reason for a run to fail."""
    try:
        try:
            print(message, flush=True)
        except UnicodeEncodeError:
            print(message.encode("ascii", "backslashreplace").decode("ascii"), flush=True)
    except (OSError, ValueError) as error:  # no room, nobody who reads, or closed by user code
        logger.warning("%s (said here since it could not be printed: %s)", message, error)
