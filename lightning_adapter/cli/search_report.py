"""What is said of a search that is over, and what can be typed next?"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lightning_adapter.cli import runs_text, tables
from lightning_adapter.cli.search_frame import summed, trials_table
from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.runs.summary import shown
from lightning_adapter.runs.words import counted, value
from lightning_adapter.tuning.lines import assignments, length

if TYPE_CHECKING:
    from lightning_adapter.tuning.request import SearchResult
    from lightning_adapter.tuning.view import Row


def text(result: SearchResult, width: int | None) -> str:
    """Return all there is to say.

    Args:
        result: of the search.
        width: of the terminal; None where the output is none.
    """
    found = "\n".join(runs_text.pairs(dict(_found(result)), width))
    commands = "\n".join(f"{what}:\n  {command}" for what, command in _next(result))
    parts = [*_table(result, width), found, *_failures(result, width), *_not_made(result, width), commands]
    return "\n\n".join(part for part in parts if part)


def exit_status(result: SearchResult) -> int:
    """0 where something was found, or the time was over; as a shell has it after a signal; else 1."""
    if result.signal is not None:
        return 128 + result.signal
    return 0 if result.best_run is not None or result.timed_out else 1


def _table(result: SearchResult, width: int | None) -> Iterator[str]:
    rows = result.view.rows
    if not rows:
        return
    table = trials_table(result.view, rows, width)
    yield table.text
    if table.left_out:
        yield tables.lines(f"no room for {', '.join(table.left_out)} (a file or a pipe gets the whole table)", width)


def _found(result: SearchResult) -> Iterator[tuple[str, str]]:
    view = result.view
    best = view.best
    if best is None:
        yield "best trial", "none: no trial came to its end"
    else:
        measured = f"{plain(view.metric)} {value(best.value)}"
        yield "best trial", f"{best.number}, {best.state} after {length(best)}: {measured}"
        if best.hyperparameters:
            yield "of", assignments(best.hyperparameters)
    if result.best_run is not None:
        yield "its run", shown(result.best_run)
    for name, there in (("best.yaml", best is not None), ("search.png", True)):
        if there and (result.directory / name).exists():
            yield name, shown(result.directory / name)
    yield (
        "search",
        f"{shown(result.directory)}, {summed(view.rows) or 'no trial'} of {counted(view.planned, 'trial')}",
    )


def _failures(result: SearchResult, width: int | None) -> Iterator[str]:
    """Each error once, with the trials that had it."""
    failed: dict[str, list[Row]] = {}
    for row in result.view.rows:
        if row.state in ("failed", "invalid"):
            failed.setdefault(plain(row.note) or "no reason is known", []).append(row)
    if failed:
        lines = [tables.lines(f"{_numbers(rows)}: {note}", width) for note, rows in failed.items()]
        yield "\n".join(["failed:", *lines])


def _not_made(result: SearchResult, width: int | None) -> Iterator[str]:
    """Why a search has ended with fewer trials than its `max_trials`."""
    fewer = result.view.planned - len(result.view.rows)
    if fewer > 0 and not result.interrupted:
        yield tables.lines(
            f"{counted(fewer, 'trial')} less than max_trials: as on a cluster, a trial that ends by itself, before the searcher's "
            "max_time, makes no room for another one",
            width,
        )


def _numbers(rows: Sequence[Row]) -> str:
    """`trials 3, 5`, and where to look."""
    which = f"trial{'s' if len(rows) > 1 else ''} {', '.join(str(row.number) for row in rows)}"
    place = rows[0].run_dir
    return which if place is None else f"{which} ({shown(place)})"


def _next(result: SearchResult) -> Iterator[tuple[str, str]]:
    if result.interrupted:
        yield "go on", shlex.join(["lightning-adapter", "search", "--resume-from", shown(result.directory)])
    best = result.directory / "best.yaml"
    if result.best_run is not None and best.exists():
        if result.target is not None:
            yield (
                "train it again",
                shlex.join(["lightning-adapter", "fit", result.target, "--config", shown(best), *_typed(result)]),
            )
        yield "on a cluster", shlex.join(["lightning-adapter", "submit", shown(best)])


def _typed(result: SearchResult) -> Iterator[str]:
    """The options of `fit` with which the trials were trained."""
    for name, given in result.options.items():
        yield from (f"--{name.replace('_', '-')}", str(given))
