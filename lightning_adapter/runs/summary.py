"""What is printed when a run has ended?"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping

import tabulate

from lightning_adapter.runs.metrics_table import plain

logger = logging.getLogger("lightning_adapter")


def text(metrics: Mapping[str, float], ranked_by: str | None, places: Mapping[str, pathlib.Path | None]) -> str:
    """The final values, and where everything lies.

    Args:
        metrics: the final values.
        ranked_by: the metric that says which checkpoint is the best; None where none is named.
        places: what there is to look at, the best checkpoint first.
    """
    values = [(plain(name), f"{value:.6g}") for name, value in sorted(metrics.items())]
    (best, path), *others = places.items()
    rows = []
    if ranked_by is not None:
        unknown = f"not known: no validation has given a finite {plain(ranked_by)}"
        rows.append((best, unknown if path is None else shown(path)))
    rows += [(name, shown(path)) for name, path in others if path is not None]
    parts = [tabulate.tabulate(values, headers=("metric", "final value"), disable_numparse=True)] if values else []
    return "\n\n".join([*parts, tabulate.tabulate(rows, tablefmt="plain", disable_numparse=True)])


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
    except OSError as error:
        logger.warning("%s (said here since it could not be printed: %s)", message, error)
