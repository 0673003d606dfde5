"""How long will a search be, before anything is trained?"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import tabulate

from lightning_adapter.platform.experiment.faults import dotted
from lightning_adapter.platform.experiment.ranges import is_range
from lightning_adapter.tuning import grid
from lightning_adapter.tuning.brackets import Bracket, brackets
from lightning_adapter.tuning.draws import draws
from lightning_adapter.tuning.settings import SearcherSettings

#: Columns of a page.
_WIDTH = 80
#: Points of an axis that are written out.
_SHOWN = 6


@dataclass(frozen=True)
class Lengths:
    """How many trials come how far: what `det preview-search` of Determined says.

    Attributes:
        unit: `time_metric`; None where all trials have their own length.
        trials: length in that unit (None: the trial's own) -> number of trials that end there, the shortest first.
    """

    unit: str | None
    trials: dict[int | None, int]

    @property
    def total(self) -> int | None:
        """Units that all trials train together; None where the length is the trial's own."""
        if None in self.trials:
            return None
        return sum(length * count for length, count in self.trials.items() if length is not None)


def lengths(settings: SearcherSettings) -> Lengths:
    """Return the lengths that the master's own simulation gives.

    It refuses async_halving, which is one bracket of the same kind here.
    """
    if not settings.stops_trials:
        return Lengths(None, {None: settings.max_trials})
    ending: Counter[int] = Counter()
    for bracket in brackets(settings):
        for length, stopped, _ in _rungs(bracket, settings.divisor):
            ending[length] += stopped
    return Lengths(settings.time_metric, dict(sorted(ending.items())))


def _rungs(bracket: Bracket, divisor: float) -> Iterator[tuple[int, int, int]]:
    """Each rung's length, the trials that end at it, and those that come to it: `Simulate` of the master."""
    trials = bracket.max_trials
    for number, length in enumerate(bracket.rungs):
        go_on = max(int(trials / divisor), 1) if number < len(bracket.rungs) - 1 else 0
        yield length, trials - go_on, trials
        trials = go_on


def text(settings: SearcherSettings, hyperparameters: Mapping[str, Any], seed: int | None, samples: int = 3) -> str:
    """Return what `search --preview` prints: brackets and rungs, how many trials reach which, total, some first draws.

    Args:
        settings: of the search.
        hyperparameters: of the experiment, with ranges.
        seed: `reproducibility.experiment_seed`; None where the file has none, so that nobody knows the draws yet.
        samples: draws that are shown.
    """
    parts = [_headline(settings)]
    if settings.stops_trials:
        parts += _stopping(settings)
    elif settings.name == "grid":
        parts.append(_axes(hyperparameters))
    parts.append(_first_draws(settings, hyperparameters, seed, samples))
    return "\n\n".join(parts)


def _headline(settings: SearcherSettings) -> str:
    made = sum(bracket.max_trials for bracket in brackets(settings))
    direction = "smaller" if settings.smaller_is_better else "larger"
    line = f"{settings.name}: {_trials(made)}, ranked by {settings.metric} ({direction} is better)."
    if made > settings.max_trials:
        line += f" More than max_trials {settings.max_trials}, since each bracket makes one at least."
    if not settings.stops_trials:
        line += f" {'It trains' if made == 1 else 'Each trains'} to the length that the trial or the command line has."
    return _filled(line)


def _stopping(settings: SearcherSettings) -> Iterator[str]:
    """Brackets, the trials that end at each length, and what they train together."""
    unit, whole = settings.time_metric, settings.max_time or 1
    rows = [
        [number, bracket.max_trials, bracket.initial, _listed(bracket.rungs)]
        for number, bracket in enumerate(brackets(settings), 1)
    ]
    yield _table(
        rows, ["bracket", "trials", "at the start", f"judged after {unit}"], ("right", "right", "right", "left")
    )
    yield _filled(
        f"A trial goes on from a rung while it is among the best 1/{settings.divisor:g} of those that have come there so far; "
        "in that share, trials come so far:"
    )
    found = lengths(settings)
    reaching = sum(found.trials.values())
    rows = []
    for length, ending in found.trials.items():
        if ending:
            rows.append([length, reaching, ending])
        reaching -= ending
    yield _table(rows, [str(unit), "trials that reach it", "and end there"], ("right",) * 3)
    total = found.total or 0
    yield _filled(f"In all {total:,} {unit}, as much as {total / whole:.4g} trials of the whole length {whole:,}.")


def _axes(hyperparameters: Mapping[str, Any]) -> str:
    rows = []
    for axis in grid.axes(hyperparameters):
        if axis.points > 1:
            values = [_short(axis.value(index)) for index in range(min(axis.points, _SHOWN))]
            more = ", ..." if axis.points > _SHOWN else ""
            rows.append([dotted(axis.route), axis.points, _cut(", ".join(values), 45) + more])
    return _table(rows, ["hyperparameter", "points", "values"], ("left", "right", "left"))


def _first_draws(settings: SearcherSettings, hyperparameters: Mapping[str, Any], seed: int | None, samples: int) -> str:
    shown = min(samples, settings.max_trials)
    names = list(_searched(hyperparameters, ()))
    if seed is None:
        said = "The file has no reproducibility.experiment_seed, so that each search draws other values. For instance:"
    else:
        said = (
            f"The first draws of experiment_seed {seed}; a cluster draws the same:"
            if shown > 1
            else (f"The draw of experiment_seed {seed}; a cluster draws the same:")
        )
    lines = [_filled(said)]
    for number, draw in enumerate(islice(draws(settings, hyperparameters, seed or 0), shown)):
        values = [f"{dotted(path)}={_short(_value(draw.hyperparameters, path))}" for path in names]
        lines.append(_filled("  ".join([f"trial {number}:", *values, f"(seed {draw.seed})"]), "  ", 4))
    return "\n".join(lines)


def _searched(group: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, value in group.items():
        if is_range(value):
            yield (*path, name)
        elif isinstance(value, Mapping) and "type" not in value:
            yield from _searched(value, (*path, name))


def _value(values: Mapping[str, Any], path: tuple[str, ...]) -> object:
    found: Any = values
    for name in path:
        found = found[name]
    return found


def _short(value: object) -> str:
    return _cut(f"{value:.4g}" if isinstance(value, float) else str(value), 30)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _listed(rungs: tuple[int, ...]) -> str:
    return textwrap.fill(", ".join(map(str, rungs)), 40)


def _trials(number: int) -> str:
    return "1 trial" if number == 1 else f"{number:,} trials"


def _filled(line: str, indent: str = "", further: int = 0) -> str:
    return textwrap.fill(
        line, _WIDTH, initial_indent=indent, subsequent_indent=indent + " " * further, break_on_hyphens=False
    )


def _table(rows: list[list[Any]], headers: list[str], sides: tuple[str, ...]) -> str:
    return str(tabulate.tabulate(rows, headers=headers, disable_numparse=True, colalign=sides))
