"""How does a table fit the terminal: which values are shortened, and which columns are left out?

Into a file or a pipe it goes whole.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import tabulate

from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.runs.words import cut

_GAP = 2  # columns of blanks between two columns, as tabulate has them


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        header: its name.
        cells: one for each row.
        can_go: whether it may be left out where there is no room; the last ones go first.
        is_path: whether a text that is too long keeps its last name.
        right: whether numbers stand one below the other.
        least: characters down to which it is made narrower, the widest first; paths only where that does not do.
    """

    header: str
    cells: Sequence[str]
    can_go: bool = False
    is_path: bool = False
    right: bool = False
    least: int = 10


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


def lines(text: str, width: int | None) -> str:
    """A sentence in lines that fit."""
    return text if width is None else textwrap.fill(text, max(width, 20))


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
        widths = _narrowed(widths, shown, width, [column.least for column in shown])
        while _total(widths) > width and any(column.can_go for column in shown):
            last = max(index for index, column in enumerate(shown) if column.can_go)
            left_out.insert(0, shown.pop(last).header)
            widths = _narrowed(_widths(shown), shown, width, [column.least for column in shown])
        widths = _narrowed(widths, shown, width, [1] * len(shown))
    # as rows: tabulate makes a column wider than a header that is one
    heads = [
        [_cut_middle(column.header, room) for column, room in zip(shown, widths, strict=True)],
        ["-" * room for room in widths],
    ]
    cells = [
        [_cut(cell, room, column.is_path) for cell in column.cells] for column, room in zip(shown, widths, strict=True)
    ]
    text = tabulate.tabulate(
        [*heads, *zip(*cells, strict=True)],
        tablefmt="plain",
        disable_numparse=True,
        colalign=["right" if column.right else "left" for column in shown],
    )
    return Table("\n".join(line.rstrip() for line in str(text).split("\n")), left_out)


def _widths(columns: Sequence[Column]) -> list[int]:
    return [max(map(len, [column.header, *column.cells])) for column in columns]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _narrowed(widths: Sequence[int], columns: Sequence[Column], width: int, least: Sequence[int]) -> list[int]:
    """Take from the widest column until all have room, or none can give more."""
    found = list(widths)
    everything = range(len(columns))
    for indices in ([index for index in everything if not columns[index].is_path], everything):
        while _total(found) > width:
            giving = [index for index in indices if found[index] > least[index]]
            if not giving:
                break
            found[max(giving, key=lambda index: found[index])] -= 1
    return found


def _cut(text: str, room: int, is_path: bool) -> str:
    if len(text) <= room:
        return text
    last = f"…/{text.rpartition('/')[2]}"
    if is_path and "/" in text and len(last) <= room:
        return text[: room - len(last)] + last
    if is_path and room > 3:
        return f"…{text[1 - room :]}"
    return cut(text, room)


def _cut_middle(text: str, room: int) -> str:
    """Names often begin alike: `model.encoder.width` and `model.encoder.depth`."""
    end = (room - 1) // 2
    return text if len(text) <= room else f"{text[: room - 1 - end]}…{text[len(text) - end :]}"
