"""How is an experiment shown while it runs: one bar below lines on a terminal, lines alone in a file?"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
#: In a file each so many percent make a line.
_STEP = 10


class Screen:
    """Where lines go, and the bar below them.

    Args:
        file: standard output when None.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = sys.stdout if file is None else file
        self._bar: tqdm[None] | None = None
        self._told_percent = 0

    def line(self, text: str) -> None:
        """Write a line; it stays."""
        self.plain(text if self._file.isatty() else f"{time.strftime('%H:%M:%S')} {text}")

    def plain(self, text: str) -> None:
        """Write a line of somebody else's as it is."""
        if self._bar is not None:
            self._bar.write(text, file=self._file)
        else:
            print(text, file=self._file, flush=True)

    def show(self, what: str, progress: float, values: str) -> None:
        """Show where an experiment stands.

        Args:
            what: its number and state.
            progress: from 0 to 1.
            values: the latest ones.
        """
        percent = 100 * min(1.0, max(0.0, progress))
        if self._file.isatty():
            self._draw(what, percent, values)
            return
        step = int(percent) // _STEP * _STEP
        if step > self._told_percent:
            self._told_percent = step
            self.line(f"{what}, {step}%")

    def close(self) -> None:
        """Take the bar away; the lines stay."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, what: str, percent: float, values: str) -> None:
        if self._bar is None:
            from tqdm import tqdm  # `--help` of each command that has a screen does without

            self._bar = tqdm(
                total=100, desc=what, file=self._file, bar_format=_BAR, dynamic_ncols=True, leave=False, mininterval=0
            )
        self._bar.set_description_str(what, refresh=False)
        self._bar.set_postfix_str(values, refresh=False)
        self._bar.update(percent - self._bar.n)
        self._bar.refresh()
