"""How does a run's progress look in a notebook, and in a console that shows no HTML?"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tabulate

from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.trainer.display.values import number

#: Counts end at the same digit, values begin at it: what marks the best one stands behind them.
_COUNT, _VALUE = (f"text-align:{side};padding:0.1em 1em 0.1em 0;white-space:nowrap" for side in ("right", "left"))
#: Bars beneath each other begin at the same place.
_LABEL = "display:inline-block;min-width:6em"
_BAR = "width:16em;vertical-align:middle"


@dataclass(frozen=True)
class Row:
    """One validation.

    Attributes:
        number: of the validations, from 1.
        cells: epoch, batches and time, in words.
        values: name to value.
    """

    number: int
    cells: tuple[str, ...]
    values: Mapping[str, object]


@dataclass(frozen=True)
class Bar:
    """What goes on now.

    Attributes:
        before: what stands before it, as `epoch 3/5`.
        after: what stands behind it, part by part.
        done: how many.
        of: how many there are; infinite where nobody knows.
    """

    before: str
    after: Sequence[str]
    done: int
    of: float


@dataclass(frozen=True)
class Page:
    """What is shown.

    Attributes:
        heads: over `Row.cells`.
        names: over `Row.values`.
        rows: in their order; not necessarily all.
        best: number of the best row, and the metric that says so; None where nobody knows.
        left_out: says what is not in the table, and where it is.
        bars: one beneath the other.
        end: how the run has ended; empty while it goes on.
    """

    heads: Sequence[str]
    names: Sequence[str]
    rows: Sequence[Row]
    best: tuple[int, str] | None
    left_out: Sequence[str]
    bars: Sequence[Bar]
    end: str

    def in_html(self) -> str:
        """HTML without any script or style sheet, as notebooks show and keep it."""
        parts = []
        if self.rows:
            head = _html_row("th", "", self.heads, self.names)
            rows = "".join(
                _html_row("td", ";font-weight:bold" if self._is_best(row) else "", row.cells, self._cells(row))
                for row in self.rows
            )
            parts.append(f'<table style="border-collapse:collapse;margin:0">{head}{rows}</table>')
        parts += [f"<div>{_escaped(line)}</div>" for line in self.left_out]
        parts += [f"<div>{_html_bar(bar)}</div>" for bar in self.bars]
        if self.end:
            parts.append(f"<div><b>{_escaped(self.end)}</b></div>")
        return f'<div style="overflow-x:auto">{"".join(parts)}</div>'

    def in_text(self) -> str:
        """The same for a console."""
        parts = []
        if self.rows:
            cells = [[*row.cells, *self._cells(row)] for row in self.rows]
            heads = (*self.heads, *map(plain, self.names))
            sides = ["right"] * len(self.heads) + ["left"] * len(self.names)
            parts.append(tabulate.tabulate(cells, heads, colalign=sides, disable_numparse=True))
        parts += self.left_out
        parts += ["  ".join([bar.before, *bar.after]) for bar in self.bars]
        if self.end:
            parts.append(self.end)
        return "\n".join(parts)

    def _is_best(self, row: Row) -> bool:
        return self.best is not None and self.best[0] == row.number

    def _cells(self, row: Row) -> list[str]:
        return [self._cell(row, name) for name in self.names]

    def _cell(self, row: Row, name: str) -> str:
        if name not in row.values:
            return ""
        return number(row.values[name], self.best == (row.number, name))


def _html_row(tag: str, style: str, counts: Sequence[str], values: Sequence[str]) -> str:
    cells = [(_COUNT, count) for count in counts] + [(_VALUE, value) for value in values]
    return "<tr>" + "".join(f'<{tag} style="{side}{style}">{_escaped(text)}</{tag}>' for side, text in cells) + "</tr>"


def _html_bar(bar: Bar) -> str:
    # without a value a browser shows that something goes on
    state = "" if bar.of == float("inf") else f' value="{bar.done}" max="{max(1, int(bar.of))}"'
    after = " &nbsp;".join(_escaped(part) for part in bar.after)
    label = f'<span style="{_LABEL}">{_escaped(bar.before)}</span>'
    return f'{label} <progress{state} style="{_BAR}"></progress> {after}'


def _escaped(text: str) -> str:
    return html.escape(plain(text))
