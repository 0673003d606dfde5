"""How does the table of a search stay in its place on a terminal, until the search is over?"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.text import Text

from lightning_adapter.cli.search_frame import Line, frame
from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.tuning.view import View

#: Of an error; all of it is told at the end.
_NOTE_LINES = 2
_STYLES = {
    "head": "bold",
    "best": "bold green",
    "running": "cyan",
    "pruned": "dim",
    "interrupted": "dim",
    "waiting": "dim",
    "failed": "red",
    "invalid": "red",
}


class LiveTable:
    """Draws a search, in the thread that calls it; see `Watcher`.

    Its place is the end of what was printed: nothing above it is touched, and what is printed or warned meanwhile goes above it.
    At the end of the block it goes away; where an exception ends it, the table stays.

    Args:
        console: of the terminal.
        clock: seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begun = clock()
        # no thread of its own: whoever trains in other processes may fork
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._lines: list[Line] = []
        self._notes: set[str] = set()

    def __enter__(self) -> LiveTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._live.is_started:
            self._draw([], self._console.size.width)  # the whole table follows
        self._live.stop()  # what it shows stays, and the cursor is shown

    def changed(self, view: View) -> None:
        """Draw it as it is now."""
        self._tell_failures(view)
        width, height = self._console.size
        self._draw(frame(view, width, height, self._clock() - self._begun), width)

    def ended(self, view: View) -> None:
        """Draw it as it is now."""
        self.changed(view)

    def _draw(self, lines: list[Line], width: int) -> None:
        if self._live.is_started and lines == self._lines:
            return
        if any(len(line.text) > width for line in self._lines):
            # the terminal is narrower than it was, and has broken lines: nobody knows where they begin
            self._console.control(Control.clear(), Control.home())
        self._lines = lines
        texts = [Text(line.text, _STYLES.get(line.kind, ""), no_wrap=True, overflow="crop") for line in lines]
        self._live.start()
        self._live.update(Group(*texts), refresh=True)

    def _tell_failures(self, view: View) -> None:
        """Say above the table what has failed, each error once."""
        for row in view.rows:
            if row.note and row.note not in self._notes:
                self._notes.add(row.note)
                text = f"trial {row.number} {row.state}: {plain(row.note)}"
                room = _NOTE_LINES * self._console.size.width
                cut = text if len(text) <= room else f"{text[: room - 1]}…"
                self._console.print(Text(cut, _STYLES[row.state]))
