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
from lightning_adapter.tuning import grid
from lightning_adapter.tuning.brackets import Bracket, brackets
from lightning_adapter.tuning.draws import drawn_in_any_order, draws
from lightning_adapter.tuning.settings import SearcherSettings, searched

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
        for length, stopped in _ends(bracket, settings.divisor):
            ending[length] += stopped
    return Lengths(settings.time_metric, dict(sorted(ending.items())))


def _ends(bracket: Bracket, divisor: float) -> Iterator[tuple[int, int]]:
    """Each rung's length, and the trials that end at it: `Simulate` of the master."""
    trials = bracket.max_trials
    for number, length in enumerate(bracket.rungs):
        go_on = max(int(trials / divisor), 1) if number < len(bracket.rungs) - 1 else 0
        yield length, trials - go_on
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
        parts += _axes(hyperparameters)
    parts.append(_first_draws(settings, hyperparameters, seed, samples))
    return "\n\n".join(parts)


def _headline(settings: SearcherSettings) -> str:
    made = sum(bracket.max_trials for bracket in brackets(settings))
    direction = "smaller" if settings.smaller_is_better else "greater"
    line = f"{settings.name}: {_trials(made)}, ranked by {settings.metric} ({direction} is better)."
    if made > settings.max_trials:
        line += f" That is more than max_trials {settings.max_trials}, since each bracket makes one at least."
    if not settings.stops_trials:
        line += f" {'It' if made == 1 else 'Each'} trains to its own end, max_epochs or max_steps."
    return _filled(line)


def _stopping(settings: SearcherSettings) -> Iterator[str]:
    """Brackets, the trials that end at each length, and what they train together."""
    unit, whole = settings.time_metric, settings.max_time or 1
    yield _table(
        ["bracket", "trials", "begun at once", f"judged after {unit}"],
        [
            [number, bracket.max_trials, bracket.initial, textwrap.fill(", ".join(map(str, bracket.rungs)), 45)]
            for number, bracket in enumerate(brackets(settings), 1)
        ],
        "right right right left",
    )
    yield _filled(
        "Trials are compared within their bracket alone. One goes on where it is among the best "
        f"1/{settings.divisor:g} of those judged at that length so far; at the last length it is complete. If just that share goes "
        "on, as Determined's own preview reckons:"
    )
    found = lengths(settings)
    rows, coming = [], sum(found.trials.values())
    for length, ending in found.trials.items():
        if ending:
            rows.append([length, coming, ending])
        coming -= ending
    yield _table([str(unit), "trials that come to it", "that end there"], rows, "right right right")
    total = found.total or 0
    yield _filled(f"Together {total:,} {unit}, as much as {total / whole:.3g} trials of the whole length of {whole:,}.")


def _axes(hyperparameters: Mapping[str, Any]) -> Iterator[str]:
    """The points of a grid, by hyperparameter."""
    rows = []
    for axis in grid.axes(hyperparameters):
        if axis.points > 1:
            values = [_short(axis.value(index)) for index in range(min(axis.points, _SHOWN))]
            more = ", ..." if axis.points > _SHOWN else ""
            rows.append([_cut(dotted(axis.route), 26), axis.points, _cut(", ".join(values), 36) + more])
    if rows:
        yield _table(["hyperparameter", "points", "values"], rows, "left right left")


def _first_draws(settings: SearcherSettings, hyperparameters: Mapping[str, Any], seed: int | None, samples: int) -> str:
    number = min(samples, settings.max_trials)
    lines = [_filled(_whose(settings, hyperparameters, seed, "The first draws" if number > 1 else "The draw"))]
    for count, draw in enumerate(islice(draws(settings, hyperparameters, seed or 0), number)):
        values = [
            f"{dotted(route)}={_short(_value(draw.hyperparameters, route))}" for route, _ in searched(hyperparameters)
        ]
        lines.append(_filled("  ".join([f"trial {count} (seed {draw.seed}):", *values]), "  ", 4))
    return "\n".join(lines)


def _whose(settings: SearcherSettings, hyperparameters: Mapping[str, Any], seed: int | None, which: str) -> str:
    """Where else the same is drawn."""
    if seed is None:
        drawn = "gives its trials other seeds" if settings.name == "grid" else "draws other values"
        return f"Without reproducibility.experiment_seed each search {drawn}, such as:"
    group = None if settings.name == "grid" else drawn_in_any_order(hyperparameters)
    if group is None:
        return f"{which} of experiment_seed {seed}; a cluster draws the same:"
    return (
        f"{which} of experiment_seed {seed}. A cluster may draw others: the group {dotted(group)} has several ranges, and a master "
        "takes those of a group in any order."
    )


def _value(values: Mapping[str, Any], path: tuple[str, ...]) -> object:
    found: Any = values
    for name in path:
        found = found[name]
    return found


def _short(value: object) -> str:
    return _cut(f"{value:.4g}" if isinstance(value, float) else str(value), 30)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _trials(number: int) -> str:
    return "1 trial" if number == 1 else f"{number:,} trials"


def _filled(line: str, indent: str = "", further: int = 0) -> str:
    return textwrap.fill(
        line, _WIDTH, initial_indent=indent, subsequent_indent=indent + " " * further, break_on_hyphens=False
    )


def _table(headers: list[str], rows: list[list[Any]], sides: str) -> str:
    return str(tabulate.tabulate(rows, headers=headers, disable_numparse=True, colalign=sides.split()))
