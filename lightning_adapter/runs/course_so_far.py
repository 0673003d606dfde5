"""What does a picture show of a run: its metrics and its epochs, however long it is?"""

from __future__ import annotations

import itertools
import math
import operator
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

    Args:
        ranked_by: the metric that ranks, and whether a smaller value is better.

    Attributes:
        epochs: where they end.
        best: the best validation, its epoch as its own row has it; None where none has a finite value of the metric.
    """

    def __init__(self, ranked_by: tuple[str | None, bool] = (None, True)) -> None:
        self.epochs = Epochs()
        self.best: Best | None = None
        self._lines: dict[tuple[str, str], ThinnedLine] = {}  # by column
        self._named: dict[tuple[str, str], ThinnedLine] = {}  # the same, by the metric that is told
        metric, smaller_is_better = ranked_by
        self._ranks = ("validation", "" if metric is None else column_of(metric))
        self._sign = 1.0 if smaller_is_better else -1.0

    @classmethod
    def read(cls, path: pathlib.Path, ranked_by: tuple[str | None, bool] = (None, True)) -> CourseSoFar:
        """That of a table; an empty one where there is no file.

        Raises:
            ConfigurationError: it is not a table of this package.
        """
        made = cls(ranked_by)
        for block in read_blocks(path):
            batches, epochs = block.batches, block.epochs
            # an epoch ends with the last batch that a row of it names
            ends = [*map(operator.ne, epochs, epochs[1:]), True]
            for batch, epoch in zip(itertools.compress(batches, ends), itertools.compress(epochs, ends), strict=True):
                if epoch.isdigit():
                    made.epochs.add(batch, int(epoch))
            for name in block.columns:
                for kind, texts in block.by_kind(name):
                    places = list(itertools.compress(batches, texts))
                    values = list(map(float, itertools.compress(texts, texts)))
                    made._line(kind, name).extend(places, values)
                    if (kind, name) == made._ranks:
                        for at, epoch, value in zip(places, itertools.compress(epochs, texts), values, strict=True):
                            if epoch.isdigit():
                                made._validated(at, int(epoch), value)
        return made

    def add(self, kind: str, batch: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take a row, as it is given to the table."""
        self.epochs.add(batch, epoch)
        for name, value in metrics.items():
            line = self._named.get((kind, name))
            if line is None:
                line = self._named[kind, name] = self._line(kind, column_of(name))
            line.add(batch, value)
            if kind == "validation" and column_of(name) == self._ranks[1]:
                self._validated(batch, epoch, value)

    def _validated(self, batch: int, epoch: int, value: float) -> None:
        """A validation has this value of the metric that ranks; of equal ones the first is the best."""
        best = self.best
        is_better = best is None or self._sign * value < self._sign * best.value
        if is_better and math.isfinite(value):
            self.best = Best(self._ranks[1], batch, epoch + 1, value)

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
