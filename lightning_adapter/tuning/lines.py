"""What is said of a search where nobody looks at a table?

A line for each trial that begins, and for each that ends; of one that takes long, how far it is, every few minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.runs.summary import shown
from lightning_adapter.runs.words import counted, duration, value
from lightning_adapter.tuning.view import Row, State, View

#: Seconds between two lines about one trial.
_EVERY = 120.0
#: States in which a trial is no longer trained.
OVER: tuple[State, ...] = ("complete", "pruned", "failed", "invalid")


class EventLines:
    """Tells what has changed since it was told last; see `Watcher`.

    Args:
        say: is given a line.
        clock: seconds.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._states: dict[int, State] | None = None
        self._told: dict[
            int, tuple[float, int]
        ] = {}  # of trials that run: when they were spoken of last, and their batches then

    def changed(self, view: View) -> None:
        """Say which trials have begun, which are over, and how far those are that take long."""
        if self._states is None:
            self._begin(view)
        known = self._states or {}
        for row in view.rows:
            before = known.get(row.number, "waiting")
            if row.state != before:
                self._tell(view, row, before)
                self._told[row.number] = (self._clock(), row.batches)
            elif row.state == "running":
                self._tell_how_far(view, row)
        self._states = {row.number: row.state for row in view.rows}

    def ended(self, view: View) -> None:
        """Say what has changed last, and which trials nobody trains any more."""
        self.changed(view)
        for row in view.rows:
            if row.state == "running":
                self._interrupted(row)

    def _begin(self, view: View) -> None:
        direction = "smaller" if view.smaller_is_better else "greater"
        trials = counted(view.planned, "trial")
        self._say(
            f"search in {shown(view.directory)}: {trials}, by {plain(view.metric)}, of which {direction} is better"
        )
        over = [row for row in view.rows if row.state in OVER]
        if over:
            best = "" if view.best is None else f"; the best is {course(view.best, view.metric)}"
            self._say(f"goes on: {len(over)} of {trials} are over{best}")
        self._states = {row.number: row.state for row in over}

    def _tell(self, view: View, row: Row, before: State) -> None:
        if row.state == "running":
            how = f"goes on after {length(row)}" if row.batches else "began"
            values = assignments(row.hyperparameters)
            self._say(f"trial {row.number} {how}{': ' if values else ''}{values}")
        elif row.state in OVER:
            best = view.best is not None and view.best.number == row.number
            self._say(f"{course(row, view.metric)}{', the best so far' if best else ''} ({standing(view)})")
        elif row.state == "interrupted" and before == "running":
            self._interrupted(row)

    def _tell_how_far(self, view: View, row: Row) -> None:
        when, batches = self._told.get(row.number, (self._clock(), row.batches))
        if row.batches > batches and self._clock() - when >= _EVERY:
            self._told[row.number] = (self._clock(), row.batches)
            best = "" if row.value is None else f": {plain(view.metric)} {value(row.value)} at best"
            self._say(f"trial {row.number} has trained for {length(row)}{best}")

    def _interrupted(self, row: Row) -> None:
        self._say(f"trial {row.number} was interrupted after {length(row)}, and can go on from there")


def course(row: Row, metric: str) -> str:
    """`trial 3 pruned after 1 epoch: val_loss 0.5`; of one that has failed its note."""
    what = f"trial {row.number} {row.state} after {length(row)}"
    if row.note:
        return f"{what}: {plain(row.note)}"
    return what if row.value is None else f"{what}: {plain(metric)} {value(row.value)}"


def length(row: Row) -> str:
    """How long a trial was trained: in whole epochs, or in batches within the first one."""
    return counted(row.batches, "batch", "batches") if row.batches and not row.epochs else counted(row.epochs, "epoch")


def standing(view: View) -> str:
    """How many trials are over, and how long the others may take."""
    over = sum(row.state in OVER for row in view.rows)
    return ", ".join([f"{over} of {view.planned} over", *time_left(view)])


def time_left(view: View) -> list[str]:
    """What is said of the time that the rest may take; nothing where nobody knows, or nothing is left."""
    return [] if view.time_left_s is None or view.time_left_s < 1 else [f"about {duration(view.time_left_s)} left"]


def assignments(hyperparameters: Mapping[str, Any]) -> str:
    """`learning_rate=0.01, width=8`."""
    return ", ".join(f"{plain(name)}={plain(value(one))}" for name, one in hyperparameters.items())
