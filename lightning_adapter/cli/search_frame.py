"""Which lines does a search's table have that fits a terminal, whatever the number of its trials?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lightning_adapter.cli.tables import Column, Table, fitted
from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.runs.summary import shown
from lightning_adapter.runs.words import NOTHING, cut, duration, value, values
from lightning_adapter.tuning.lines import OVER, assignments, time_left
from lightning_adapter.tuning.view import Row, State, View

#: Of the best trials so many are always shown, beside those that are running.
_BEST = 3
_LEAST_ROWS = 1
#: Characters of a hyperparameter's name, or of a text, that tell it from others.
_NAME = 10
_ORDER: tuple[State, ...] = ("complete", "pruned", "failed", "invalid", "running", "interrupted", "waiting")


class Line(NamedTuple):
    """One line.

    Attributes:
        text: of it.
        kind: the state of the trial whose row it is, "best" for that of the best one, "head", or "" for anything else.
    """

    text: str
    kind: str = ""


def frame(view: View, width: int, height: int, elapsed_s: float) -> list[Line]:
    """Return the lines to show while a search goes on; fewer than `height`, each shorter than `width`.

    Args:
        view: the search.
        width: columns of the terminal.
        height: lines of the terminal.
        elapsed_s: seconds since the command began.
    """
    above = [Line(_directory(view, width), "head")]
    below = [Line(_best(view), "best")] if view.best is not None else []
    below.append(Line(_standing(view, elapsed_s)))
    # of a small terminal the last lines say the most
    room = height - 1
    while room < len(above) + len(below) + 2 + _LEAST_ROWS and (above or len(below) > 1):
        (above or below).pop(0)
    rows = room - len(above) - len(below) - 2
    lines = [*above, *_table(view, width, rows), *below] if rows >= _LEAST_ROWS else below
    # behind the last one the cursor stands, where a terminal shows that Ctrl-C was typed
    rooms = [width - 1] * (len(lines) - 1) + [width - 1 - len("^C")]
    return [Line(cut(line.text, room), line.kind) for line, room in zip(lines, rooms, strict=True)]


def trials_table(view: View, rows: Sequence[Row], width: int | None) -> Table:
    """Return a table of some of the trials.

    Args:
        view: the search.
        rows: the trials.
        width: of the terminal, None for as wide as it is; hyperparameters that have no room are left out, the last ones first.
    """
    names = dict.fromkeys(name for row in view.rows for name in row.hyperparameters)
    in_batches = any(row.batches and not row.epochs for row in view.rows)
    numbers = [
        f"{row.number}*" if view.best is not None and row.number == view.best.number else str(row.number)
        for row in rows
    ]
    columns = [
        Column("trial", numbers, least=5),
        Column("state", [row.state for row in rows], least=8),
        Column("epochs", [str(row.epochs) for row in rows], right=True, least=6),
        *([Column("batches", [str(row.batches) for row in rows], right=True, least=7)] if in_batches else []),
        _numbers(view.metric, values([row.value for row in rows])),
        *(_hyperparameter(name, rows) for name in names),
    ]
    return fitted(columns, width)


def chosen(view: View, room: int) -> list[Row]:
    """Return the rows that are shown where there is room for so many: the running and the best ones before all others."""
    if len(view.rows) <= room:
        return list(view.rows)
    ranked = sorted(
        (row for row in view.rows if row.state in ("complete", "pruned") and row.value is not None),
        # of equal ones a complete trial comes first: it alone can be the best of the search
        key=lambda row: (_rank(view, row), row.state != "complete", row.number),
    )
    best = ([view.best] if view.best is not None else []) + [
        row for row in ranked if view.best is None or row.number != view.best.number
    ]
    few = min(_BEST, -(-room // 3))
    failed = [row for row in reversed(view.rows) if row.state in ("failed", "invalid")]
    wanted = [*best[:few], *_of(view, "running"), *failed[:_BEST], *best[few:]]
    wanted += [*_of(view, "interrupted"), *_of(view, "waiting"), *failed]
    found = {row.number: row for row in wanted}
    return sorted(list(found.values())[:room], key=lambda row: row.number)


def summed(rows: Iterable[Row]) -> str:
    """`3 complete, 12 pruned`."""
    counts = Counter(row.state for row in rows)
    return ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])


def _table(view: View, width: int, room: int) -> list[Line]:
    rows = chosen(view, room)
    table = trials_table(view, rows, width - 1)
    more = len(view.rows) > len(rows)
    notes = 1 if more or table.left_out else 0
    if len(rows) + notes > room:
        rows = chosen(view, max(_LEAST_ROWS, room - notes))
        table = trials_table(view, rows, width - 1)
    head, rule, *texts = table.text.split("\n")
    best = None if view.best is None else view.best.number
    lines = [Line(head, "head"), Line(rule, "head")]
    lines += [Line(text, "best" if row.number == best else row.state) for text, row in zip(texts, rows, strict=True)]
    return [*lines, Line(_not_shown(view, rows, table.left_out))] if notes and len(rows) < room else lines


def _not_shown(view: View, rows: Sequence[Row], left_out: Sequence[str]) -> str:
    there = {row.number for row in rows}
    others = [row for row in view.rows if row.number not in there]
    parts = [f"not shown: {summed(others)}"] if others else []
    return "; ".join([*parts, *([f"no room for {', '.join(left_out)}"] if left_out else [])])


def _hyperparameter(name: str, rows: Sequence[Row]) -> Column:
    there = [row.hyperparameters[name] for row in rows if name in row.hyperparameters]
    texts = iter(values(there))
    cells = [next(texts) if name in row.hyperparameters else NOTHING for row in rows]
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in there)
    return _numbers(name, cells)._replace(can_go=True) if numbers else Column(name, cells, can_go=True, least=_NAME)


def _numbers(name: str, cells: Sequence[str]) -> Column:
    """A column of numbers, which is narrower than its name before a number is cut."""
    return Column(name, cells, right=True, least=max([min(_NAME, len(plain(name))), *map(len, cells)]))


def _of(view: View, state: str) -> list[Row]:
    return [row for row in view.rows if row.state == state]


def _rank(view: View, row: Row) -> float:
    assert row.value is not None
    return row.value if view.smaller_is_better else -row.value


def _directory(view: View, width: int) -> str:
    text = plain(shown(view.directory))
    room = width - 1 - len("search ")
    return f"search {text if len(text) <= room else f'…{text[1 - room :]}'}"


def _best(view: View) -> str:
    assert view.best is not None
    what = f"best so far: trial {view.best.number}, {plain(view.metric)} {value(view.best.value)}"
    return ", ".join(filter(None, [what, assignments(view.best.hyperparameters)]))


def _standing(view: View, elapsed_s: float) -> str:
    """The time first: of a narrow terminal's line the end is cut off."""
    over = [row for row in view.rows if row.state in OVER]
    time = ", ".join([*time_left(view), f"{duration(elapsed_s)} so far"])
    running = len(_of(view, "running"))
    told = f" ({summed(over)})" if over else ""
    return f"{time}; {len(over)} of {view.planned} trials over{told}, {running} running"
