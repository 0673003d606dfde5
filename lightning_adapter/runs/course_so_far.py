"""What does a picture show of a run: its metrics and its epochs, however long it is?"""

from __future__ import annotations

import itertools
import math
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

from lightning_adapter.runs.metrics_table import Points, column_of, read_blocks
from lightning_adapter.runs.table_epochs import Epochs
from lightning_adapter.runs.thinning import ThinnedLine


class Best(NamedTuple):
    """The best validation.

    Attributes:
        column: of the metric that ranks.
        batch: after which it was.
        epoch: in which, counted from 1.
        value: of the metric.
    """

    column: str
    batch: int
    epoch: int
    value: float


class CourseSoFar:
    """The rows of a table in bounded memory, fed one after the other.

    Attributes:
        epochs: where they end.
    """

    def __init__(self) -> None:
        self.epochs = Epochs()
        self._lines: dict[tuple[str, str], ThinnedLine] = {}  # by column
        self._named: dict[tuple[str, str], ThinnedLine] = {}  # the same, by the metric that is told

    @classmethod
    def read(cls, path: pathlib.Path) -> CourseSoFar:
        """That of a table; an empty one where there is no file.

        Raises:
            ConfigurationError: it is not a table of this package.
        """
        made = cls()
        for kinds, batches, epochs, columns in read_blocks(path):
            for batch, epoch in zip(batches, epochs, strict=True):
                if epoch.isdigit():
                    made.epochs.add(batch, int(epoch))
            for name, texts in columns.items():
                lines = {kind: made._line(kind, name).add for kind in dict.fromkeys(itertools.compress(kinds, texts))}
                for kind, batch, text in zip(kinds, batches, texts, strict=True):
                    if text:
                        lines[kind](batch, float(text))
        return made

    def add(self, kind: str, batch: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take a row, as it is given to the table."""
        self.epochs.add(batch, epoch)
        for name, value in metrics.items():
            line = self._named.get((kind, name))
            if line is None:
                line = self._named[kind, name] = self._line(kind, column_of(name))
            line.add(batch, value)

    def _line(self, kind: str, column: str) -> ThinnedLine:
        line = self._lines.get((kind, column))
        if line is None:
            line = self._lines[kind, column] = ThinnedLine()
        return line

    def points(self) -> Points:
        """What is kept of its metrics, as the table has them by column."""
        return {key: line.points() for key, line in self._lines.items()}


def best_of(points: Points, epochs: Epochs, ranked_by: tuple[str | None, bool]) -> Best | None:
    """Look for the best validation; None where none has a finite value of the metric.

    Args:
        points: of a run.
        epochs: of it.
        ranked_by: the metric that ranks, and whether a smaller value is better.
    """
    metric, smaller_is_better = ranked_by
    if metric is None:
        return None
    column = column_of(metric)
    batches, values = points.get(("validation", column), ([], []))
    finite = [(value, batch) for batch, value in zip(batches, values, strict=True) if math.isfinite(value)]
    if not finite:
        return None
    sign = 1.0 if smaller_is_better else -1.0
    value, batch = min(finite, key=lambda found: sign * found[0])  # the first of equals
    return Best(column, batch, max(1, math.ceil(epochs.before([batch])[0])), value)
