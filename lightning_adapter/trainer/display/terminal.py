"""What does a terminal show while a run trains?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from tqdm import tqdm

from lightning_adapter.runs.words import in_clock, per_second
from lightning_adapter.trainer.display.display import Display
from lightning_adapter.trainer.display.facts import Facts
from lightning_adapter.trainer.display.pace import Pace
from lightning_adapter.trainer.display.values import named, shown_of
from lightning_adapter.versions.rich_private import is_drawing
from lightning_adapter.versions.tqdm_private import forget, open_bars

#: Seconds between two drawings: where drawing is quick, and where a device, or a terminal far away, is waited for.
_EVERY = 0.1
_AT_MOST = 1.0
_PART_OF_THE_TIME = 0.005
#: Columns where nobody knows how wide the terminal is.
_COLUMNS = 80
#: Columns of the bar itself, before other parts are left out for it.
_NARROWEST = 6
#: The same, before a value, the speed and the times that are left are left out.
_NARROWEST_AT_ALL = 3


class Bars(Display):
    """One bar per epoch, beneath it one of the validation while that runs.

    An epoch's bar stays, with the values that it has ended with. The device is waited for only when a bar is drawn, at most
    ten times a second.

    Args:
        facts: of the run.
        stream: the terminal.
        clock: seconds.
    """

    follows_batches = True

    def __init__(self, facts: Facts, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._facts = facts
        self._stream = stream
        self._clock = clock
        self._pace = Pace(facts.progress, facts.fraction, clock)
        self._due = 0.0
        self._begun = 0.0
        self._best: tuple[str, object] | None = None
        self._of_validation: Mapping[str, object] = {}
        self._epoch: _Bar | None = None
        self._validation: _Bar | None = None
        self._validating: tuple[str, float] = ("", 0)
        self._validated = 0
        self._others: dict[int, float] | None = {}  # of bars of user code; None once one of them was seen to move

    # --- training -------------------------------------------------------------------------------------------------

    def epoch_starts(self) -> None:
        """Begin a bar."""
        if self._others is None:
            return
        self._others.clear()
        progress = self._facts.progress
        self._pace.epoch_starts()
        self._pace.sample()
        self._begun = self._clock()
        self._epoch = self._bar(f"Epoch {self._facts.epoch()}", progress.num_training_batches)
        self._draw_running(self._epoch)

    def batch_ends(self) -> None:
        """One batch further; asks the clock, and no more until the bar is to be drawn."""
        now = self._clock()
        if now >= self._due and self._epoch is not None:
            if self._another_one_moves():
                self._epoch.close()
                self._epoch = None
                return
            self._pace.sample()
            self._draw_running(self._epoch)
            drawn = self._clock()
            self._due = drawn + min(_AT_MOST, max(_EVERY, (drawn - now) / _PART_OF_THE_TIME))

    def epoch_ends(self) -> None:
        """Leave the bar with what the epoch has ended with."""
        self._close_validation()
        if self._epoch is not None:
            self._pace.sample()
            took = [f"in {in_clock(self._clock() - self._begun)}"]
            values = self._values()
            self._draw(self._epoch, self._trained(), [*values, *self._speed(), *took])
            self._epoch.end()
            self._epoch = None

    def _another_one_moves(self) -> bool:
        """Whether user code has a bar of its own for the batches: then it is the one. One over several runs stands still."""
        before, now = self._others or {}, {id(bar): bar.n for bar in open_bars() if not isinstance(bar, _Bar)}
        moves = is_drawing() or any(before.get(bar, count) != count for bar, count in now.items())
        self._others = None if moves else now
        return moves

    def _trained(self) -> int:
        return self._facts.progress.batch.current.completed

    def _draw_running(self, bar: _Bar) -> None:
        """A value of the training first: those of the validation stand beneath the epoch before."""
        pace, values = self._pace, self._values()
        first = [*values[:1], *self._speed()]
        if pace.epoch_left is not None:
            first.append(f"{in_clock(pace.epoch_left)} left")
        if pace.run_left is not None:
            first.append(f"run {in_clock(pace.run_left)}")
        self._draw(bar, self._trained(), [*first, *values[1:]], needed=len(first))

    def _values(self) -> list[str]:
        found = self._facts.bar_values() or self._facts.logged_values()
        ranked = {name: found[name] for name in sorted(found, key=lambda name: name in self._of_validation)}
        # where there is room for two, they are one of the training and the one that says whether the model gets better
        metric = next(iter(self._of_validation), None) if self._best is None else self._best[0]
        first = [*ranked][:1]
        order = dict.fromkeys([*first, *(name for name in ranked if name == metric), *ranked])
        shown = shown_of({name: ranked[name] for name in order})
        return [named(name, value, self._best == (name, value)) for name, value in shown.items()]

    def _speed(self) -> list[str]:
        return [] if self._pace.speed is None else [per_second(self._pace.speed)]

    # --- validation -----------------------------------------------------------------------------------------------

    def validation_starts(self, batches: float, sanity: bool) -> None:
        """Its bar comes with the first batch after which one is to be drawn; that of the epoch stands still meanwhile."""
        self._pace.stops()
        if self._epoch is not None:
            self._epoch.draw(self._trained())
        self._validating = ("Sanity check" if sanity else "Validation", batches)
        self._validated = 0

    def validation_batch_ends(self) -> None:
        """One batch further."""
        self._validated += 1
        if self._clock() >= self._due and self._others is not None:
            if self._validation is None:
                self._validation = self._bar(*self._validating)
            self._draw(self._validation, self._validated, [])

    def validation_ends(self) -> None:
        """Its bar goes."""
        self._close_validation()

    def validated(self, values: Mapping[str, object], best: str | None) -> None:
        """The best value is marked as long as it is shown."""
        self._pace.goes_on()
        self._of_validation = values
        if best is not None:
            self._best = (best, values[best])
        if self._epoch is not None:
            self._draw_running(self._epoch)

    def _close_validation(self) -> None:
        if self._validation is not None:
            self._validation.close()
            self._validation = None

    # --- both -----------------------------------------------------------------------------------------------------

    def run_ends(self) -> None:
        """Leave the bar of an epoch that something has ended in its middle; the device may not answer any more."""
        self._close_validation()
        if self._epoch is not None:
            self._epoch.n = self._facts.progress.batch.current.completed
            self._epoch.end()
            self._epoch = None

    def lost(self) -> None:
        """What user code prints from now on, and its own bars, are not to draw ours again."""
        for bar in (self._epoch, self._validation):
            if bar is not None:
                forget(bar)
        self._epoch = self._validation = None

    def _bar(self, name: str, batches: float) -> _Bar:
        total = None if batches == float("inf") else int(batches)
        return _Bar(
            desc=name,
            total=total,
            leave=False,
            file=self._stream,
            dynamic_ncols=True,
            bar_format="{desc} {whole}" if total is None else "{desc} {percentage:3.0f}%|{bar}| {whole}",
            miniters=1,  # so that no thread of tqdm's thinks that the bar has been forgotten
            mininterval=0,
        )

    def _draw(self, bar: _Bar, done: int, parts: list[str], needed: int = 0) -> None:
        bar.draw(done, parts, needed)
        self._due = self._clock() + _EVERY


class _Bar(tqdm):  # type: ignore[misc]
    """A bar of tqdm's that leaves out what has no room, the least important first."""

    monitor_interval = 0
    # tqdm draws in its constructor
    _parts: tuple[str, ...] = ()
    _needed = 0

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except Exception:
            forget(self)  # tqdm counts it among its bars already
            raise

    def end(self) -> None:
        """Go, and leave the line: above bars of user code that go on, which tqdm would leave it over."""
        line = str(self)
        self.close()
        self.write(line, file=self.fp)

    def draw(self, done: int, parts: Sequence[str] | None = None, needed: int = 0) -> None:
        """Draw it.

        Args:
            done: batches.
            parts: what stands behind it, the most important first; None: what has stood there.
            needed: for how many of them the bar itself may become as narrow as can be.
        """
        self.n = done
        if parts is not None:
            self._parts, self._needed = tuple(parts), needed
        self.refresh()

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm's format may name, and `whole`: all that stands behind the bar, as far as there is room."""
        found: dict[str, Any] = super().format_dict
        total, name = found["total"], found["prefix"] or ""
        counts = f"{found['n']}/{total}" if total is not None else f"batch {found['n']}"
        room = (found["ncols"] or _COLUMNS) - len(name) - len(counts)
        room -= len(" ") if total is None else len(" 100%|| ") + _NARROWEST
        shown = []
        for place, part in enumerate(self._parts):
            more = _NARROWEST - _NARROWEST_AT_ALL if total is not None and place < self._needed else 0
            if len(part) + 2 <= room + more:
                shown.append(part)
                room -= len(part) + 2
        return {**found, "whole": "  ".join([counts, *shown])}
