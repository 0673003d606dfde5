"""How do the metrics of a run look over its batches: which share a panel, and how are the panels drawn?"""

from __future__ import annotations

import math
import pathlib
import re
import warnings
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_adapter.runs.atomic import replacing
from lightning_adapter.runs.metrics_table import Points

_MAX_PANELS = 60  # a picture of more panels is neither readable nor quick to draw
_COLUMNS = 3
_MAX_POINTS = 2000  # more than the pixels of a panel's width; of a longer line the extremes are drawn
#: A metric's name is text, whatever the user's settings make of a `$`.
_PLAIN_TEXT: dict[Any, bool] = {"text.usetex": False, "text.parse_math": False}
_SPLIT = re.compile(r"(train|training|val|valid|validation)[_/.-]", re.IGNORECASE)

#: The lines of one panel: label -> batches and values.
Series: TypeAlias = dict[str, tuple[list[int], list[float]]]


def draw(points: Points, path: pathlib.Path, table: str) -> bool:
    """Draw one small panel per metric, training and validation of one metric together.

    Args:
        points: a run's metrics.
        path: the picture, a PNG file.
        table: the name of the table, which the picture refers to where not all metrics have room.

    Returns:
        Whether there was anything to draw; otherwise there is no file.
    """
    panels = group_series(points)
    if not panels:
        return False
    with matplotlib.rc_context(_PLAIN_TEXT), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a character that the font lacks is a box in the picture
        figure = _picture(panels, table)
        with replacing(path) as aside:
            figure.savefig(aside, format="png")
    return True


def _picture(panels: dict[str, Series], table: str) -> Figure:
    shown = dict(list(panels.items())[:_MAX_PANELS])
    columns = min(_COLUMNS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = _figure(columns, lines)
    for index, (title, series) in enumerate(shown.items()):
        _draw_panel(figure.add_subplot(lines, columns, index + 1), title, series)
    if len(shown) < len(panels):
        figure.suptitle(f"{len(shown)} of {len(panels)} metrics; all are in {table}", fontsize=10, y=1 - 0.03 / lines)
    return figure


def _figure(columns: int, lines: int) -> Figure:
    figure = Figure(figsize=(4.2 * columns, 3.0 * lines), dpi=100)
    FigureCanvasAgg(figure)  # and not pyplot, whose backend and open figures are the user's
    # room for titles and labels as parts of a panel: a layout that measures them takes a second for a dozen panels
    figure.subplots_adjust(
        left=0.16 / columns,
        right=1 - 0.05 / columns,
        bottom=0.17 / lines,
        top=1 - 0.17 / lines,
        wspace=0.27,
        hspace=0.52,
    )
    return figure


def _draw_panel(axes: Axes, title: str, series: Series) -> None:
    drawn = []
    for batches, values in series.values():
        marker = "o" if len(values) <= 25 else ""
        drawn += axes.plot(*thinned(batches, values), linewidth=1.2, marker=marker, markersize=3)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("batches", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))  # keeps labels short
    axes.yaxis.offsetText.set_fontsize(7)
    axes.grid(alpha=0.3)
    axes.legend(drawn, list(series), fontsize=7)


def thinned(batches: list[int], values: list[float]) -> tuple[list[int], list[float]]:
    """Leave the smallest and the largest value of each stretch of a line that has more points than a panel can show."""
    if len(values) <= _MAX_POINTS:
        return batches, values
    heights = np.asarray(values)
    kept: set[int] = {0, len(values) - 1}
    for stretch in np.array_split(np.arange(len(values)), _MAX_POINTS // 2):
        part = heights[stretch]
        kept.add(int(stretch[np.argmin(np.where(np.isnan(part), np.inf, part))]))
        kept.add(int(stretch[np.argmax(np.where(np.isnan(part), -np.inf, part))]))
    return [batches[index] for index in sorted(kept)], [values[index] for index in sorted(kept)]


def group_series(points: Points) -> dict[str, Series]:
    """Sort recorded values into panels: title -> label -> points.

    `train_loss`, `train_loss_epoch` and `val_loss` are one quantity: they share the panel "loss". Losses come first.
    """
    panels: dict[str, Series] = {}
    for (kind, name), line in points.items():
        label = name if _SPLIT.match(name) else f"{name} ({kind})"
        panels.setdefault(_title(name), {})[label] = line
    return dict(sorted(panels.items(), key=lambda item: ("loss" not in item[0].lower(), item[0])))


def _title(name: str) -> str:
    """Return the quantity that a metric measures: its name without split, epoch mark and loader number."""
    quantity = _SPLIT.sub("", name, count=1) if _SPLIT.match(name) else name
    quantity = re.sub(r"/dataloader_idx_\d+$", "", quantity)
    return re.sub(r"_(step|epoch)$", "", quantity) or name
