"""In which epoch is a run, and in which was a batch? Its table tells, also where the record of its checkpoints is behind."""

from __future__ import annotations

import bisect
import math
import os
import pathlib
import sys
from collections.abc import Sequence

#: Bytes from the end; a row of a hundred metrics has some two thousand.
_BLOCK = 65536
#: Ends of epochs that a run keeps at most while it trains; a picture has no more pixels.
_MOST_KNOTS = 2048


def complete_epochs(path: pathlib.Path) -> int | None:
    """Epochs that are complete by the last whole row of a metrics.csv; None where it has none.

    A row has the running epoch, counted from 0, and that of the validation after an epoch's last batch the number of this
    epoch: whether it is complete, nobody can tell from there, so it is not counted.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _BLOCK))
            lines = file.read().split(b"\n")[:-1]  # what follows the last line's end is a row that is being written
    except OSError:
        return None
    return next((epoch for _, epoch in map(_place, reversed(lines)) if epoch >= 0), None)


class Epochs:
    """How many epochs, with their fractions, lie before a batch, by the rows of a metrics.csv.

    An epoch ends with the last batch that a row of it names: the one that its validation follows, as a rule. Epochs that
    are equally long are kept together, so that many take no more room than a few. Of a table that is read all others are
    kept too; of rows that a run tells while it trains only so many: those of a long run are taken together, as if they
    were equally long.

    Args:
        path: the table; where it cannot be read no batch has a place. None for one whose rows are told by `add`.
    """

    def __init__(self, path: pathlib.Path | None = None) -> None:
        self._knots: list[tuple[int, int]] = [(0, 0)]  # batches, and epochs that are complete with them
        self._running: tuple[int, int] | None = None  # the same, of the last row's epoch, when it is over
        self._stretch = 1  # epochs between two knots, at least; the last one may be nearer
        self._most = _MOST_KNOTS if path is None else sys.maxsize
        if path is None:
            return
        try:
            with path.open("rb") as file:
                for batch, epoch in map(_place, file):
                    if epoch >= 0:
                        self.add(batch, epoch)
        except OSError:
            return

    def add(self, batch: int, epoch: int) -> None:
        """Take a row.

        Args:
            batch: trained.
            epoch: the running one, counted from 0.
        """
        running = self._running
        if running is None or epoch + 1 == running[1]:
            self._running = (batch if running is None else max(batch, running[0]), epoch + 1)
        elif epoch + 1 > running[1]:
            self._add_knot(*running)
            self._running = (batch, epoch + 1)

    def _add_knot(self, batch: int, epochs: int) -> None:
        if len(self._knots) > 1:
            (first, before), (second, between) = self._knots[-2:]
            on_the_line = (batch - second) * (between - before) == (second - first) * (epochs - between)
            if on_the_line or between - before < self._stretch:
                self._knots.pop()
        self._knots.append((batch, epochs))
        while len(self._knots) > self._most:
            self._stretch *= 2
            kept, (*inner, last) = self._knots[:1], self._knots[1:]
            for knot in inner:
                if knot[1] - kept[-1][1] >= self._stretch:
                    kept.append(knot)
            self._knots = [*kept, last]

    def before(self, batches: Sequence[int]) -> list[float]:
        """Epochs before each of some numbers of batches.

        Args:
            batches: trained, as the table has them.
        """
        if self._running is None:
            return [math.nan] * len(batches)
        ends, epochs = self.line()
        return [_between(ends, epochs, batch) for batch in batches]

    def line(self) -> tuple[list[int], list[float]]:
        """Batches, and epochs before them, between which epochs are equally long; of a table without rows the beginning."""
        ends, epochs = [batch for batch, _ in self._knots], [float(epoch) for _, epoch in self._knots]
        if self._running is None:
            return ends, epochs
        batch, epoch = self._running
        whole = float(epoch)
        if len(ends) > 1:
            # the last epoch may not be over: it is taken for as long as the one before
            length = (ends[-1] - ends[-2]) / (epochs[-1] - epochs[-2])
            step = batch - ends[-1]
            if 0 < step < length:
                whole = epochs[-1] + step / length
        return [*ends, batch], [*epochs, whole]


def _between(ends: list[int], epochs: list[float], batch: int) -> float:
    at = bisect.bisect_left(ends, batch)
    if at == 0:
        return 0.0
    if at == len(ends):
        return epochs[-1]
    (low, high), (first, second) = ends[at - 1 : at + 1], epochs[at - 1 : at + 1]
    return first + (second - first) * (batch - low) / (high - low)


def _place(line: bytes) -> tuple[int, int]:
    """The batch and the epoch of a row; -1 of what is none."""
    cells = line.split(b",", 3)
    if len(cells) > 2 and cells[0] in (b"train", b"validation") and cells[1].isdigit() and cells[2].strip().isdigit():
        return int(cells[1]), int(cells[2])
    return -1, -1
