"""In which epoch is a run, and in which was a batch? Its table tells, also where the record of its checkpoints is behind."""

from __future__ import annotations

import bisect
import math
import os
import pathlib
from collections.abc import Sequence

#: Bytes from the end; a row of a hundred metrics has some two thousand.
_BLOCK = 65536


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
    """How many epochs, with their fractions, lie before a batch; read from a metrics.csv.

    An epoch ends with the last batch that a row of it names: the one that its validation follows, as a rule.

    Args:
        path: the table; where it cannot be read no batch has a place.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._ends: dict[int, int] = {}
        try:
            with path.open("rb") as file:
                for batch, epoch in map(_place, file):
                    if epoch >= 0:
                        self._ends[epoch] = max(batch, self._ends.get(epoch, 0))
        except OSError:
            return
        self._batches = [0, *(self._ends[epoch] for epoch in sorted(self._ends))]
        self._epochs = [0.0, *(epoch + 1.0 for epoch in sorted(self._ends))]
        if len(self._batches) > 2:
            # the last epoch may not be over: it is taken for as long as the one before
            length = self._batches[-2] - self._batches[-3]
            step = self._batches[-1] - self._batches[-2]
            if 0 < step < length:
                self._epochs[-1] = self._epochs[-2] + step / length

    def before(self, batches: Sequence[int]) -> list[float]:
        """Epochs before each of some numbers of batches.

        Args:
            batches: trained, as the table has them.
        """
        if not self._ends:
            return [math.nan] * len(batches)
        return [self._before(batch) for batch in batches]

    def _before(self, batch: int) -> float:
        at = bisect.bisect_left(self._batches, batch)
        if at == 0:
            return 0.0
        if at == len(self._batches):
            return self._epochs[-1]
        (low, high), (first, second) = self._batches[at - 1 : at + 1], self._epochs[at - 1 : at + 1]
        return first + (second - first) * (batch - low) / (high - low)


def _place(line: bytes) -> tuple[int, int]:
    """The batch and the epoch of a row; -1 of what is none."""
    cells = line.split(b",", 3)
    if len(cells) > 2 and cells[0] in (b"train", b"validation") and cells[1].isdigit() and cells[2].strip().isdigit():
        return int(cells[1]), int(cells[2])
    return -1, -1
