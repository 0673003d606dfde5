"""How do the curves of several runs look over each other: a panel for each metric, a line for each run?"""

from __future__ import annotations

import math
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_adapter.runs import picture_file
from lightning_adapter.runs.curves import COLUMNS, MAX_PANELS, dress, is_rate, is_wide, mark_loss, marker_of, panels_of
from lightning_adapter.runs.thinning import thinned

#: A column of the legend is at least so many characters wide; an inch has some sixteen of them.
_CHARACTERS_PER_INCH = 16.0
_LINE_HEIGHT = 0.16  # inches of a line in the legend
_STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
#: Those that can be told from each other, whatever the user's settings cycle through.
_COLORS = ("blue", "orange", "green", "red", "purple", "brown", "pink", "gray", "olive", "cyan")


class RunLines(NamedTuple):
    """The curves of one run.

    Attributes:
        label: which run it is.
        lines: (kind, metric) -> places on the x axis, and values.
        best: which of them its best validation has, at which place, and the value; None where none is known.
    """

    label: str
    lines: dict[tuple[str, str], tuple[list[float], list[float]]]
    best: tuple[tuple[str, str], float, float] | None = None


def draw(runs: Sequence[RunLines], path: pathlib.Path, x_label: str) -> bool:
    """Draw a picture.

    Args:
        runs: in the order of the legend.
        path: the picture, a PNG file.
        x_label: what the values lie over.

    Returns:
        Whether there was anything to draw; otherwise there is no file.
    """
    panels = _panels(runs)
    if not panels:
        return False
    with picture_file.drawing():
        picture_file.save(_picture(runs, panels, x_label), path)
    return True


def _panels(runs: Sequence[RunLines]) -> dict[tuple[str, str], str]:
    """Each metric with its title: what was validated first, and of this the losses."""
    found = dict.fromkeys(key for run in runs for key in run.lines if not is_rate(*key) or _changes(key, runs))
    names = [name for _, name in found]
    titled = {key: f"{key[1]} ({key[0]})" if names.count(key[1]) > 1 else key[1] for key in found}
    return dict(
        sorted(titled.items(), key=lambda item: (item[0][0] == "train", "loss" not in item[1].lower(), item[1]))
    )


def _picture(runs: Sequence[RunLines], panels: dict[tuple[str, str], str], x_label: str) -> Figure:
    # where not all have room, those that most runs have, which can be compared
    first = sorted(panels, key=lambda key: -sum(key in run.lines for run in runs))[:MAX_PANELS]
    shown = [(key, title) for key, title in panels.items() if key in first]
    columns = min(COLUMNS, max(2, len(shown)))  # one panel alone would leave the legend no room
    lines = math.ceil(len(shown) / columns)
    labels, across = _legend([run.label for run in runs], 4.2 * columns)
    rows = math.ceil(len(labels) / across)
    some = f"{len(shown)} of {len(panels)} metrics" if len(shown) < len(panels) else None
    above = 0.15 + _LINE_HEIGHT * (rows * max(label.count("\n") + 1 for label in labels) + (some is not None))
    figure = panels_of(columns, lines, above)
    if len(shown) == 1:
        figure.subplots_adjust(left=0.08)
    for index, (key, title) in enumerate(shown):
        place = (1, 1, 1) if len(shown) == 1 else (lines, columns, index + 1)
        axes = figure.add_subplot(*place)
        _draw_panel(axes, title, [run.lines.get(key) for run in runs], x_label)
        _mark_best(axes, key, runs)
    handles = [Line2D([], [], color=_color(index), linestyle=_style(index)) for index in range(len(runs))]
    figure.legend(
        handles, labels, loc="upper center", ncol=across, title=some, fontsize=8, title_fontsize=8, frameon=False
    )
    return figure


def _legend(labels: Sequence[str], inches: float) -> tuple[list[str], int]:
    """The labels in lines that fit, and how many of them stand beside each other."""
    room = int(inches * _CHARACTERS_PER_INCH) - 8
    across = min(len(labels), max(1, room // (max(map(len, labels)) + 8)))
    return [textwrap.fill(label, room, subsequent_indent="    ") for label in labels], across


def _draw_panel(axes: Axes, title: str, lines: Sequence[tuple[list[float], list[float]] | None], x_label: str) -> None:
    for index, line in enumerate(lines):
        if line is None:
            continue
        marker = marker_of(line[1])
        axes.plot(
            *thinned(*line), color=_color(index), linestyle=_style(index), linewidth=1.2, marker=marker, markersize=3
        )
        mark_loss(axes, *line, _color(index))
    dress(axes, title, x_label, is_wide(line[1] for line in lines if line is not None))


def _mark_best(axes: Axes, key: tuple[str, str], runs: Sequence[RunLines]) -> None:
    """A ring around the best validation of each run, where this metric ranks its checkpoints."""
    best = [(index, run.best) for index, run in enumerate(runs) if run.best is not None and run.best[0] == key]
    for index, (_, place, value) in best:
        axes.plot([place], [value], color=_color(index), marker="o", markersize=8, markerfacecolor="none")
    if best:
        axes.text(0.01, 0.02, "ring: best validation", transform=axes.transAxes, fontsize=7)


def _changes(key: tuple[str, str], runs: Sequence[RunLines]) -> bool:
    return any(len(set(run.lines[key][1])) > 1 for run in runs if key in run.lines)


def _color(index: int) -> str:
    return f"tab:{_COLORS[index % len(_COLORS)]}"


def _style(index: int) -> Literal["-", "--", ":", "-."]:
    return _STYLES[index // len(_COLORS) % len(_STYLES)]
