"""How are runs shown to people: ages, numbers, the table of them, all that is known of one?"""

from __future__ import annotations

import datetime
import pathlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning_adapter.cli.tables import Column, Table, fitted
from lightning_adapter.runs import room
from lightning_adapter.runs.listing import Run, comparable, differing
from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.runs.words import NOTHING, duration, value, values


def age(run: Run, now: datetime.datetime) -> str:
    """How long ago a run began."""
    return NOTHING if run.start is None else duration((now - run.start).total_seconds())


def size(octets: float) -> str:
    """`1.23 GB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if octets < 1000 or unit == "TB":
            return f"{octets:.3g} {unit}" if unit != "B" else f"{octets:.0f} B"
        octets /= 1000
    raise AssertionError


def listing(runs: Sequence[Run], width: int | None, now: datetime.datetime) -> Table:
    """The table of runs.

    Args:
        runs: in the order in which they are shown.
        width: of the terminal, None for as wide as it is.
        now: ages are counted to it.
    """
    metrics = {run.metric for run in runs if run.best is not None}
    header = f"best {metrics.copy().pop()}" if len(metrics) == 1 else "best"
    best = [_best(run, named=len(metrics) > 1) for run in runs]
    columns = [
        Column("run", [run.label for run in runs], is_path=True, least=21),
        Column("status", [run.status for run in runs], least=11),
        Column("age", [age(run, now) for run in runs], right=True),
        Column("epochs", [value(run.epochs) for run in runs], right=True),
        Column(header, best, right=len(metrics) == 1, least=min(len(header), 16)),
    ]
    if any(run.record and run.name not in pathlib.PurePath(run.label).parts for run in runs):
        columns.insert(1, Column("name", [run.name if run.record else NOTHING for run in runs]))
    columns += [
        Column(
            name, values([run.hyperparameters.get(name) for run in runs]), can_go=True, right=_are_numbers(runs, name)
        )
        for name in comparable(differing(sorted(runs, key=lambda run: (run.start is not None, str(run.start)))))
    ]
    return fitted(columns, width)


def _best(run: Run, named: bool) -> str:
    if run.best is None:
        return NOTHING
    return f"{run.metric} {run.best:.4g}" if named else f"{run.best:.4g}"


def _are_numbers(runs: Iterable[Run], name: str) -> bool:
    found = [run.hyperparameters.get(name) for run in runs]
    return all(one is None or (isinstance(one, (int, float)) and not isinstance(one, bool)) for one in found)


def prunable(runs: Sequence[Run], width: int | None, now: datetime.datetime) -> str:
    """The table of runs that may be deleted, with the room that each takes."""
    columns = [
        Column("run", [run.label for run in runs], is_path=True, least=21),
        Column("status", [run.status for run in runs], least=11),
        Column("age", [age(run, now) for run in runs], right=True),
        Column("best", [_best(run, named=True) for run in runs]),
        Column("room", [size(room.freed_without([run.path])) for run in runs], right=True),
    ]
    return fitted(columns, width).text


def as_json(run: Run) -> dict[str, Any]:
    """All that is known of a run, its status as it is shown."""
    more = {"path": str(run.path), "run": run.label, "status": run.status}
    return {**more, **run.record, **more, **({} if run.problem is None else {"problem": run.problem})}


def pairs(rows: Mapping[str, Any], width: int | None) -> list[str]:
    """Lines of names and values, the values one below the other; those that are absent are left out.

    Args:
        rows: by name.
        width: of the terminal, at which values go on in a further line; None for one line each.
    """
    there = {plain(str(name)): plain(value(one)) for name, one in rows.items() if one is not None}
    room = max(map(len, there), default=0)
    found = []
    for name, text in there.items():
        # no word is broken: a path is there to be copied
        parts = (
            [text]
            if width is None
            else textwrap.wrap(text, max(width - room - 4, 20), break_long_words=False, break_on_hyphens=False)
        )
        first, *others = parts or [""]
        found.append(f"  {name:<{room}}  {first}".rstrip())
        found += [f"  {'':<{room}}  {part}" for part in others]
    return found
