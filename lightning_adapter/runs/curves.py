"""How do the metrics of a run look over its batches: which share a panel, and how are the panels drawn?"""

from __future__ import annotations

import io
import math
import pathlib
import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_adapter.runs import picture_file
from lightning_adapter.runs.metrics_table import Points

MAX_PANELS = 60  # a picture of more panels is neither readable nor quick to draw
COLUMNS = 3
_SMALL_PANELS = 6  # of the picture in a notebook
_SMALL_DPI = 70
_MAX_POINTS = 2000  # more than the pixels of a panel's width; of a longer line the extremes are drawn
_SPLIT = re.compile(r"(train|training|val|valid|validation)[_/.-]", re.IGNORECASE)

#: The lines of one panel: label -> batches and values.
Series: TypeAlias = dict[str, tuple[list[int], list[float]]]


def draw(points: Points, path: pathlib.Path, table: str, x_label: str = "batches") -> bool:
    """Draw one small panel per metric, training and validation of one metric together.

    Args:
        points: a run's metrics.
        path: the picture, a PNG file.
        table: the name of the table, which the picture refers to where not all metrics have room.
        x_label: what the values lie over.

    Returns:
        Whether there was anything to draw; otherwise there is no file.
    """
    panels = group_series(points)
    if not panels:
        return False
    with picture_file.drawing():
        picture_file.save(_picture(panels, table, x_label), path)
    return True


def small(points: Points, table: str) -> bytes | None:
    """The first panels in a picture that a notebook keeps, a PNG file's content; None where there is nothing to draw."""
    panels = group_series(points)
    if not panels:
        return None
    content = io.BytesIO()
    with picture_file.drawing():
        _picture(panels, table, "batches", _SMALL_PANELS).savefig(content, format="png", dpi=_SMALL_DPI)
    return content.getvalue()


def _picture(panels: dict[str, Series], table: str, x_label: str, most: int = MAX_PANELS) -> Figure:
    shown = dict(list(panels.items())[:most])
    columns = min(COLUMNS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = panels_of(columns, lines)
    for index, (title, series) in enumerate(shown.items()):
        _draw_panel(figure.add_subplot(lines, columns, index + 1), title, series, x_label)
    if len(shown) < len(panels):
        figure.suptitle(f"{len(shown)} of {len(panels)} metrics; all are in {table}", fontsize=10, y=1 - 0.03 / lines)
    return figure


def panels_of(columns: int, lines: int, above: float = 0.0) -> Figure:
    """Make an empty picture with room for panels.

    Args:
        columns: beside each other.
        lines: below each other.
        above: inches of room that are left free over them.
    """
    height = 3.0 * lines + above
    figure = Figure(figsize=(4.2 * columns, height), dpi=100)
    FigureCanvasAgg(figure)  # and not pyplot, whose backend and open figures are the user's
    # room for titles and labels as parts of a panel: a layout that measures them takes a second for a dozen panels
    figure.subplots_adjust(
        left=0.16 / columns,
        right=1 - 0.05 / columns,
        bottom=0.17 * 3.0 / height,
        top=1 - (0.17 * 3.0 + above) / height,
        wspace=0.27,
        hspace=0.52,
    )
    return figure


def dress(axes: Axes, title: str, x_label: str) -> None:
    """Give a panel its title, labels and grid."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x_label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))  # keeps labels short
    axes.yaxis.offsetText.set_fontsize(7)
    axes.grid(alpha=0.3)


def marker_of(values: list[float]) -> str:
    """Points are marked where they are few: a line of one alone would not be seen."""
    return "o" if len(values) <= 25 else ""


def _draw_panel(axes: Axes, title: str, series: Series, x_label: str) -> None:
    drawn = []
    for batches, values in series.values():
        drawn += axes.plot(*thinned(batches, values), linewidth=1.2, marker=marker_of(values), markersize=3)
    dress(axes, title, x_label)
    axes.legend(drawn, list(series), fontsize=7)


def thinned(batches: Sequence[float], values: list[float]) -> tuple[Sequence[float], list[float]]:
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

    A kind that is none of the table's says where a value comes from; without one a name stands for itself.
    `train_loss`, `train_loss_epoch` and `val_loss` are one quantity: they share the panel "loss". Losses come first.
    """
    panels: dict[str, Series] = {}
    for (kind, name), line in points.items():
        plain = not kind or (kind in ("train", "validation") and _SPLIT.match(name))
        label = name if plain else f"{name} ({kind})"
        panels.setdefault(_title(name), {})[label] = line
    return dict(sorted(panels.items(), key=lambda item: ("loss" not in item[0].lower(), item[0])))


def _title(name: str) -> str:
    """Return the quantity that a metric measures: its name without split, epoch mark and loader number."""
    quantity = _SPLIT.sub("", name, count=1) if _SPLIT.match(name) else name
    quantity = re.sub(r"/dataloader_idx_\d+$", "", quantity)
    return re.sub(r"_(step|epoch)$", "", quantity) or name
