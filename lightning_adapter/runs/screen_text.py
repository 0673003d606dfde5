"""Which lines are left of text that goes back over itself, as bars on a terminal do?"""

from __future__ import annotations

import re

#: Lines that something may still go back to; a display that is higher is written as it goes.
_HELD = 40
_TOKEN = re.compile(
    "\r*\n|\r|\b|\x1b\\[[0-9;?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[^\\[\\]]|[^\r\n\b\x1b]+|\x1b",
)
_MOVE = re.compile("\x1b\\[(\\d*)([ABJK])")
_GOES_BACK = re.compile("\r(?!\r*\n)|\b|\x1b\\[\\d*[AJK]")


class ScreenText:
    """Follows what is written as a terminal does, as far as whole lines go: returns, steps up and down, erasures.

    A line is given out when nothing goes back to it: at once where nothing ever has, else when plain text follows.
    """

    def __init__(self) -> None:
        self._lines = [""]
        self._row = self._column = 0
        self._held = 1

    def write(self, text: str) -> list[str]:
        """Follow a text; returns the lines that are complete by now, without colours."""
        done: list[str] = []
        if _GOES_BACK.search(text):
            self._held = _HELD
        elif self._held > 1 and self._at_new_line and text.strip():
            # a bar has ended its line, and what comes is none
            done, self._lines, self._row, self._held = self._lines[:-1], [""], 0, 1
        for token in _TOKEN.findall(text):
            self._follow(token)
        cut = len(self._lines) - self._held
        if 0 < cut <= self._row:
            done += self._lines[:cut]
            self._lines, self._row = self._lines[cut:], self._row - cut
        return [line.rstrip() for line in done]

    def rest(self) -> list[str]:
        """What has been written, and is not given out yet."""
        lines, self._lines = self._lines if self._lines[-1] else self._lines[:-1], [""]
        self._row, self._column, self._held = 0, 0, 1
        return [line.rstrip() for line in lines]

    @property
    def _at_new_line(self) -> bool:
        return self._row == len(self._lines) - 1 and not self._lines[-1]

    def _follow(self, token: str) -> None:
        if token.endswith("\n"):
            self._down(1)
            self._column = 0
        elif token == "\r":
            self._column = 0
        elif token == "\b":
            self._column = max(0, self._column - 1)
        elif move := _MOVE.fullmatch(token):
            self._move(int(move[1] or 1), move[2])
        elif not token.startswith("\x1b"):  # colours and the like leave no trace
            line, end = self._lines[self._row].ljust(self._column), self._column + len(token)
            self._lines[self._row] = line[: self._column] + token + line[end:]
            self._column = end

    def _move(self, number: int, kind: str) -> None:
        if kind == "A":
            self._row = max(0, self._row - number)
        elif kind == "B":
            self._down(number)
        else:  # most bars erase the whole line, or all behind its beginning
            self._lines[self._row] = ""
            if kind == "J":
                del self._lines[self._row + 1 :]

    def _down(self, rows: int) -> None:
        self._row += rows
        while len(self._lines) <= self._row:
            self._lines.append("")
