"""Which lines are left of text that goes back over itself, as bars on a terminal do?"""

from __future__ import annotations

import re

#: Lines that something may still go back to; a display that is higher is written as it goes.
_HELD = 40
#: Characters after which a line that nobody ends, as one of dots is, is given out: following it would take ever longer.
LONGEST_LINE = 10_000
_TOKEN = re.compile(
    "\r*\n|\r|\b|\x1b\\[[0-9;?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[^\\[\\]]|[^\r\n\b\x1b]+|\x1b",
)
_MOVE = re.compile("\x1b\\[(\\d*)([ABJK])")
#: A display that is drawn anew hides the cursor meanwhile.
_CURSOR = re.compile("\x1b\\[\\?25([hl])")
_GOES_BACK = re.compile("\r(?!\r*\n)|\b|\x1b\\[\\d*[AJK]|\x1b\\[\\?25l")


class ScreenText:
    """Follows what is written as a terminal does, as far as whole lines go: returns, steps up and down, erasures.

    A line is given out when nothing goes back to it: at once where nothing ever has, else when plain text follows.
    """

    def __init__(self) -> None:
        self._lines = [""]
        self._row = self._column = 0
        self._held = 1
        self._cursor = "h"  # is shown

    def write(self, text: str) -> list[str]:
        """Follow a text; returns the lines that are complete by now, without colours."""
        done: list[str] = []
        if _GOES_BACK.search(text):
            self._held = _HELD
        elif self._held > 1 and self._cursor == "h" and not self._column and text.strip():
            # a bar has ended its line, and what comes is none; what stands there is of a bar beneath it
            done, self._lines, self._row, self._held = self._lines[: self._row], [""], 0, 1
        self._cursor = [self._cursor, *_CURSOR.findall(text)][-1]
        for token in _TOKEN.findall(text):
            self._follow(token)
        if len(self._lines[self._row]) > LONGEST_LINE:
            self._down(1)
            self._column = 0
        cut = len(self._lines) - self._held
        if 0 < cut <= self._row:
            done += self._lines[:cut]
            self._lines, self._row = self._lines[cut:], self._row - cut
        return [line.rstrip() for line in done]

    def rest(self) -> list[str]:
        """What has been written, and is not given out yet."""
        lines, self._lines = self._lines[: self._row + int(self._column > 0)], [""]
        self._row, self._column, self._held = 0, 0, 1
        return [line.rstrip() for line in lines]

    def _follow(self, token: str) -> None:
        if token.endswith("\n"):
            self._down(1)
            self._column = 0
        elif token == "\r":
            self._column = 0
        elif token == "\b":
            self._column = max(0, self._column - 1)
        elif move := _MOVE.fullmatch(token):
            self._move(move[1], move[2])
        elif not token.startswith("\x1b"):  # colours and the like leave no trace
            # a terminal would leave the end of a longer line
            self._lines[self._row] = self._lines[self._row][: self._column] + token
            self._column = len(self._lines[self._row])

    def _move(self, number: str, kind: str) -> None:
        # programs that look for the end of a screen go down by thousands
        rows = min(_HELD, int(number[:4] or 1))
        if kind == "A":
            self._row = max(0, self._row - rows)
        elif kind == "B":
            self._down(rows)
        else:  # what stands behind the cursor is erased, or all of the line
            self._lines[self._row] = self._lines[self._row][: 0 if number else self._column]
            if kind == "J":
                del self._lines[self._row + 1 :]

    def _down(self, rows: int) -> None:
        self._row += rows
        while len(self._lines) <= self._row:
            self._lines.append("")
