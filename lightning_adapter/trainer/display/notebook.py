"""What does a notebook show while a run trains, and what stays in it?"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from lightning_adapter.runs.words import counted, in_clock, out_of, per_second, position
from lightning_adapter.trainer.display.display import Display
from lightning_adapter.trainer.display.facts import Facts
from lightning_adapter.trainer.display.pace import Pace
from lightning_adapter.trainer.display.page import Bar, Page, Row
from lightning_adapter.trainer.display.values import named, shown_of

#: Seconds between two updates; each is a message that the browser draws anew.
_EVERY = 0.5
#: Validations that are shown, beside the best one.
_ROWS = 15
#: Values of a validation that are shown; a table that is wider is read elsewhere.
_COLUMNS = 10


class Handle(Protocol):
    """An output that is there, as `IPython.display.DisplayHandle`."""

    def update(self, obj: Mapping[str, str], **kwargs: bool) -> None:
        """Show something else in its place."""


#: Makes an output: `_output_of_cell`, or a test's own.
Output = Callable[[Mapping[str, str]], Handle]


def _output_of_cell(bundle: Mapping[str, str]) -> Handle:
    """Show something beneath the cell that runs; no widget is needed to replace it later, in any front end."""
    from IPython.display import display  # there where this is a notebook, and only there

    handle: Handle = display(bundle, raw=True, display_id=True)
    return handle


class Cell(Display):
    """One output beneath the cell, updated in place: a table of the validations, and what goes on now.

    The notebook keeps the last state, which is HTML and needs no kernel. The device is waited for only when something is
    shown, at most twice a second.

    Args:
        facts: of the run.
        output: shows something for the first time.
        clock: seconds.
    """

    follows_batches = True

    def __init__(
        self, facts: Facts, output: Output = _output_of_cell, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._facts = facts
        self._output = output
        self._handle: Handle | None = None
        self._clock = clock
        self._pace = Pace(facts.progress, facts.fraction, clock)
        self._due = clock() + _EVERY  # a sanity check that is over by then leaves no trace
        self._rows: deque[Row] = deque(maxlen=_ROWS)
        self._validations = 0
        self._best: tuple[Row, str] | None = None
        self._logged: Mapping[str, object] = {}
        self._validation: _Validation | None = None
        self._end = ""  # how the run has ended

    # --- what is told -------------------------------------------------------------------------------------------------

    def epoch_starts(self) -> None:
        """Show where training begins; from then on what has changed, where that is due."""
        self._pace.epoch_starts()
        if self._handle is None or self._clock() >= self._due:
            self._show()

    def batch_ends(self) -> None:
        """See `Display`; asks the clock, and no more until something is to be shown."""
        if self._clock() >= self._due:
            self._show()

    def reporting_step(self) -> None:
        """Keep what was logged, where it is to be shown."""
        if self._clock() >= self._due:
            self._logged = self._facts.logged_values()

    def epoch_ends(self) -> None:
        """See `Display`."""
        self._show_where_due()

    def validation_starts(self, batches: float, sanity: bool) -> None:
        """A bar of its own, beneath that of the epoch."""
        self._pace.stops()
        self._validation = _Validation("sanity check" if sanity else "validation", batches)
        self._show_where_due()

    def validation_batch_ends(self) -> None:
        """See `Display`."""
        if self._validation is not None:
            self._validation.done += 1
        self._show_where_due()

    def validation_ends(self) -> None:
        """The bar goes; where there are values, a row of the table comes."""
        self._validation = None

    def validated(self, values: Mapping[str, object], best: str | None) -> None:
        """A row of the table."""
        self._pace.goes_on()
        self._validations += 1
        progress = self._facts.progress
        cells = (self._facts.epoch(), str(progress.total_batches), in_clock(self._pace.elapsed))
        row = Row(self._validations, cells, dict(values))
        self._rows.append(row)
        if best is not None:
            self._best = (row, best)
        self._show_where_due()

    def run_ends(self) -> None:
        """Leave the last state, and how it came to it."""
        if not self._end:
            self._end = self._in_words()
            self._show()

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _show_where_due(self) -> None:
        if self._clock() >= self._due:
            self._show()

    def _show(self) -> None:
        page = self._page()
        bundle = {"text/html": page.in_html(), "text/plain": page.in_text()}
        if self._handle is None:
            self._handle = self._output(bundle)
        else:
            self._handle.update(bundle, raw=True)
        self._due = self._clock() + _EVERY

    def _page(self) -> Page:
        rows = list(self._rows)
        if self._best is not None and self._best[0] not in rows:
            rows.insert(0, self._best[0])
        # what ranks the checkpoints has its column however many values there are
        first = [] if self._best is None else [self._best[1]]
        names = list(dict.fromkeys(name for row in rows for name in row.values))
        others = [name for name in names if name not in first][: _COLUMNS - len(first)]
        return Page(
            heads=("epoch", "batches", "time"),
            names=[name for name in names if name in (*first, *others)],
            rows=rows,
            best=None if self._best is None else (self._best[0].number, self._best[1]),
            left_out=self._left_out(self._validations - len(rows), len(names) - len(first) - len(others)),
            bars=[] if self._end and self._facts.progress.is_finished else self._bars(),
            end=self._end,
        )

    def _left_out(self, rows: int, columns: int) -> list[str]:
        found = [counted(rows, "earlier validation")] if rows else []
        found += [counted(columns, "other value")] if columns else []
        where = "not shown" if self._facts.table is None else f"in {self._facts.table}"
        return [f"{' and '.join(found)}: {where}"] if found else []

    def _bars(self) -> list[Bar]:
        progress, pace = self._facts.progress, self._pace
        pace.sample()
        done, length = progress.batch.current.completed, progress.num_training_batches
        parts = [f"batch {out_of(done, length)}"]
        shown = {name for row in self._rows for name in row.values}
        values = {name: value for name, value in self._values().items() if name not in shown}
        parts += [named(name, value) for name, value in shown_of(values).items()]
        if pace.speed is not None:
            parts.append(per_second(pace.speed))
        if not self._end:
            if pace.epoch_left:
                parts.append(f"{in_clock(pace.epoch_left)} left of the epoch")
            if pace.run_left is not None:
                parts.append(f"{in_clock(pace.run_left)} of the run")
        bars = [Bar(f"epoch {self._facts.epoch()}", parts, done, length)]
        if self._validation is not None:
            bars.append(self._validation.bar())
        return bars

    def _values(self) -> Mapping[str, object]:
        """What was logged last; a run that an error ends now may have no device any more that could be asked."""
        if not self._end or sys.exc_info()[1] is None:
            self._logged = {**self._logged, **self._facts.bar_values()}
        return self._logged

    def _in_words(self) -> str:
        progress, took = self._facts.progress, in_clock(self._pace.elapsed)
        far = position(self._facts.epoch(), progress.total_batches)
        error = sys.exc_info()[0]
        if progress.is_finished:
            return f"trained in {took}: {far}"
        if error is None:  # by whoever asked for it, or by Determined, whose own Trainer has a length of its own
            return f"stopped after {took}: {far}"
        return (
            f"ended by {error.__name__} after {took}" if issubclass(error, Exception) else f"interrupted after {took}"
        )


class _Validation:
    """One that is running."""

    def __init__(self, name: str, batches: float) -> None:
        self._name = name
        self._batches = batches
        self.done = 0

    def bar(self) -> Bar:
        """As far as it is."""
        return Bar(self._name, [f"batch {out_of(self.done, self._batches)}"], self.done, self._batches)
