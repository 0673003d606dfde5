"""How does a table fit the terminal: which values are shortened, and which columns are left out?

Into a file or a pipe it goes whole.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import NamedTuple

import tabulate

from lightning_adapter.runs.metrics_table import plain

_GAP = 2  # columns of blanks between two columns, as tabulate has them
#: A column is made narrower down to this, the widest first.
_NARROW = 10


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        header: its name.
        cells: one for each row.
        can_go: whether it may be left out where there is no room; the last ones go first.
        keeps_end: whether a text that is too long loses its middle, and not its end.
        right: whether numbers stand one below the other.
    """

    header: str
    cells: Sequence[str]
    can_go: bool = False
    keeps_end: bool = False
    right: bool = False


class Table(NamedTuple):
    """A table that fits.

    Attributes:
        text: what is printed.
        left_out: headers of the columns that had no room.
    """

    text: str
    left_out: list[str]


def terminal_width() -> int | None:
    """Columns of the terminal; None where the output is none, and nothing needs to be shortened."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitted(columns: Sequence[Column], width: int | None) -> Table:
    """Make a table that is at most so wide.

    Args:
        columns: at least one.
        width: of the terminal; None for as wide as it is.
    """
    shown = [
        column._replace(header=plain(column.header), cells=[plain(cell) for cell in column.cells]) for column in columns
    ]
    left_out: list[str] = []
    widths = _widths(shown)
    if width is not None:
        widths = _narrowed(widths, shown, width, _NARROW)
        while _total(widths) > width and any(column.can_go for column in shown):
            last = max(index for index, column in enumerate(shown) if column.can_go)
            left_out.insert(0, shown.pop(last).header)
            widths = _narrowed(_widths(shown), shown, width, _NARROW)
        if _total(widths) > width:
            widths = _narrowed(widths, shown, width, 1)
    # as rows: tabulate makes a column wider than a header that is one
    heads = [[column.header for column in shown], ["-" * room for room in widths]]
    rows = [*heads, *zip(*(column.cells for column in shown), strict=True)]
    text = tabulate.tabulate(
        [
            [_cut(cell, room, column.keeps_end) for cell, room, column in zip(row, widths, shown, strict=True)]
            for row in rows
        ],
        tablefmt="plain",
        disable_numparse=True,
        colalign=["right" if column.right else "left" for column in shown],
    )
    return Table("\n".join(line.rstrip() for line in str(text).split("\n")), left_out)


def _widths(columns: Sequence[Column]) -> list[int]:
    return [max(map(len, [column.header, *column.cells])) for column in columns]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _narrowed(widths: Sequence[int], columns: Sequence[Column], width: int, least: int) -> list[int]:
    """Take from the widest column until all have room, or none can give more."""
    found = list(widths)
    # what tells one run from another is the last to be made narrower
    order = [[i for i, column in enumerate(columns) if not column.keeps_end], list(range(len(columns)))]
    for indices in order:
        while _total(found) > width and indices:
            widest = max(indices, key=lambda i: found[i])
            if found[widest] <= least:
                break
            found[widest] -= 1
    return found


def _cut(text: str, room: int, keeps_end: bool) -> str:
    if len(text) <= room:
        return text
    if not keeps_end or room < 4:
        return text[: room - 1] + "…"
    end = min(room - 2, 19)  # of a run's name the date and time
    return f"{text[: room - 1 - end]}…{text[-end:]}"
