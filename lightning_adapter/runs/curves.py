"""How do the metrics of a run look over its batches: which share a panel, and how are the panels drawn?"""

from __future__ import annotations

import io
import math
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lightning_adapter.runs import picture_file
from lightning_adapter.runs.course_so_far import Best
from lightning_adapter.runs.metrics_table import Points
from lightning_adapter.runs.table_epochs import Epochs
from lightning_adapter.runs.thinning import last_finite, thinned

MAX_PANELS = 60  # a picture of more panels is neither readable nor quick to draw
COLUMNS = 3
_SMALL_PANELS = 6  # of the picture in a notebook
_SMALL_DPI = 70
_RATES = "learning rate"
_RATE = re.compile(r"(^|[^a-z])(lr|learning[ _-]?rate)($|[^a-z])", re.IGNORECASE)
_MOST_NAMED = 8  # lines in a legend
_MOST_EPOCHS = 6  # ticks of epochs over a panel
_GREY = "#777777"
_SPLIT = re.compile(r"(train|training|val|valid|validation)[_/.-]", re.IGNORECASE)

#: The lines of one panel: label -> batches and values.
Series: TypeAlias = dict[str, tuple[list[int], list[float]]]


class _Over(NamedTuple):
    """What the panels of one picture lie over.

    Attributes:
        x_label: of the axis below.
        places: the first and the last, of which all panels of a run have room.
        epochs: of the run; None where nobody knows.
        best: its best validation; None where none is known.
    """

    x_label: str
    places: tuple[float, float]
    epochs: Epochs | None
    best: Best | None


def _over(x_label: str, points: Points, epochs: Epochs | None, best: Best | None) -> _Over:
    ends = [end for batches, _ in points.values() for end in (batches[0], batches[-1])]
    return _Over(x_label, (min(ends), max(ends)), epochs, best)


def draw(
    points: Points,
    path: pathlib.Path,
    table: str,
    x_label: str = "batches",
    epochs: Epochs | None = None,
    best: Best | None = None,
) -> bool:
    """Draw one small panel per metric, training and validation of one metric together, and learning rates that change.

    Args:
        points: a run's metrics.
        path: the picture, a PNG file.
        table: the name of the table, which the picture refers to where not all metrics have room.
        x_label: what the values lie over.
        epochs: where they end, if that is known.
        best: the best validation, if one is known.

    Returns:
        Whether there was anything to draw; otherwise there is no file.
    """
    panels = group_series(points)
    if not panels:
        return False
    with picture_file.drawing():
        picture = _picture(panels, table, _over(x_label, points, epochs, best))
        picture_file.save(picture, path)
    picture_file.forget(picture)
    return True


def small(points: Points, table: str, epochs: Epochs | None = None, best: Best | None = None) -> bytes | None:
    """The first panels in a picture that a notebook keeps, a PNG file's content; None where there is nothing to draw."""
    panels = group_series(points)
    if not panels:
        return None
    content = io.BytesIO()
    with picture_file.drawing():
        picture = _picture(panels, table, _over("batches", points, epochs, best), _SMALL_PANELS)
        picture.savefig(content, format="png", dpi=_SMALL_DPI)
    picture_file.forget(picture)
    return content.getvalue()


def _picture(panels: dict[str, Series], table: str, over: _Over, most: int = MAX_PANELS) -> Figure:
    shown = dict(list(panels.items())[:most])
    columns = min(COLUMNS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = panels_of(columns, lines)
    for index, (title, series) in enumerate(shown.items()):
        _draw_panel(figure.add_subplot(lines, columns, index + 1), title, series, over)
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


def dress(axes: Axes, title: str, x_label: str, is_log: bool = False) -> None:
    """Give a panel its title, labels, grid and scale."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x_label, fontsize=8)
    axes.tick_params(labelsize=8)
    if is_log:
        axes.set_yscale("log")
        say_powers(axes, (1.0,))
    else:
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))  # keeps labels short
        axes.yaxis.offsetText.set_fontsize(7)
    axes.grid(alpha=0.3)


def say_powers(axes: Axes, steps: Sequence[float]) -> None:
    """Write numbers out at a scale of logarithms: a text is no formula here."""
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def is_wide(lines: Iterable[Sequence[float]], beside_zero: bool = False) -> bool:
    """Whether values are drawn by their logarithms: a quarter of them lie two decades and more beneath the largest.

    So does a loss that falls from 1000 to 1, or a spike over it, but no rate that comes down to almost nothing at its end.

    Args:
        lines: values of each.
        beside_zero: whether some may be zero, which have no logarithm.
    """
    values = np.concatenate([np.asarray(line, float) for line in lines] or [np.empty(0)])
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    if len(positive) == 0 or (values.min() < 0 if beside_zero else len(positive) < len(values)):
        return False
    return bool(np.mean(positive <= positive.max() / 100) >= 0.25)


def marker_of(values: list[float]) -> str:
    """Points are marked where they are few: a line of one alone would not be seen."""
    return "o" if len(values) <= 25 else ""


def _draw_panel(axes: Axes, title: str, series: Series, over: _Over) -> None:
    drawn: dict[str, Artist] = {}
    for label, (batches, values) in series.items():
        (line,) = axes.plot(*thinned(batches, values), linewidth=1.2, marker=marker_of(values), markersize=3)
        drawn[label] = line
        mark_loss(axes, batches, values, line.get_color())
    dress(axes, title, over.x_label, is_wide((values for _, values in series.values()), title == _RATES))
    named = dict(list(drawn.items())[:_MOST_NAMED])
    if over.best is not None:
        named |= _mark_best(axes, series, over.best)
    if over.epochs is not None:
        low, high = over.places
        if low < high:
            axes.set_xlim(low - 0.04 * (high - low), high + 0.04 * (high - low))
        _mark_epochs(axes, over.epochs)
    more = f"and {len(drawn) - _MOST_NAMED} more" if len(drawn) > _MOST_NAMED else None
    axes.legend(named.values(), named.keys(), fontsize=7, title=more, title_fontsize=7)


def mark_loss(axes: Axes, places: Sequence[float], values: Sequence[float], color: Any) -> None:
    """Mark where a line has its last finite value before the first that is none, and say what the mark is."""
    lost = last_finite(places, values)
    if lost is not None:
        axes.plot([lost[0]], [lost[1]], color=color, marker="x", markersize=7, linestyle="")
    if not all(map(math.isfinite, values)) and not axes.texts:
        said = "x: NaN or infinite after it" if lost is not None else "NaN or infinite from the beginning"
        axes.text(0.99, 0.97, said, transform=axes.transAxes, fontsize=7, ha="right", va="top")


def _mark_best(axes: Axes, series: Series, best: Best) -> dict[str, Artist]:
    """A thin line at the best validation, with a mark where the metric that ranks is; returns what the legend says of it."""
    axes.axvline(best.batch, color=_GREY, linewidth=0.7, linestyle=":", zorder=1.5)
    is_ranked = any(label in (best.column, f"{best.column} (validation)") for label in series)
    if not is_ranked:
        return {}
    (mark,) = axes.plot(
        [best.batch], [best.value], linestyle="", marker="o", markersize=7, markerfacecolor="none", color="black"
    )
    return {f"best {best.value:.4g}, epoch {best.epoch}": mark}


def _mark_epochs(axes: Axes, epochs: Epochs) -> None:
    """Say above a panel where epochs end; where none has, nobody knows how long one is."""
    ends, numbers = epochs.line()
    if len(ends) < 3:
        return
    first, last = np.interp(axes.get_xlim(), ends, numbers)
    step = _round_step((last - first) / _MOST_EPOCHS)
    shown = np.arange(math.ceil(max(first, 1e-9) / step) * step, last + 1e-9, step)
    # by hand, since a second axis takes as long to draw as all else
    place = axes.get_xaxis_transform()
    axes.set_title(axes.get_title(), fontsize=10, pad=13)
    for index, (number, end) in enumerate(zip(shown, np.interp(shown, numbers, ends), strict=True)):
        axes.plot([end, end], [1, 1.015], transform=place, color=_GREY, linewidth=0.7, clip_on=False)
        word = "epoch " if index == 0 else ""
        axes.text(end, 1.025, f"{word}{number:g}", transform=place, fontsize=6, ha="center", color=_GREY)


def _round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 ... that is no smaller."""
    power = 10 ** max(0, math.floor(math.log10(max(least, 1.0))))
    return int(next(step * power for step in (1, 2, 5, 10) if step * power >= least))


def group_series(points: Points) -> dict[str, Series]:
    """Sort recorded values into panels: title -> label -> points.

    A kind that is none of the table's says where a value comes from; without one a name stands for itself.
    `train_loss`, `train_loss_epoch` and `val_loss` are one quantity: they share the panel "loss". Losses come first, and
    last all learning rates together, where one of them changes.
    """
    panels: dict[str, Series] = {}
    rates: Series = {}
    for (kind, name), line in points.items():
        if is_rate(kind, name):
            rates[name] = line
            continue
        plain = not kind or (kind in ("train", "validation") and _SPLIT.match(name))
        label = name if plain else f"{name} ({kind})"
        panels.setdefault(_title(name), {})[label] = line
    ordered = dict(sorted(panels.items(), key=lambda item: ("loss" not in item[0].lower(), item[0])))
    if any(len(set(values)) > 1 for _, values in rates.values()):
        ordered[_RATES] = _distinct(rates)
    return ordered


def is_rate(kind: str, name: str) -> bool:
    """Whether a column has a learning rate: it is of interest where it changes."""
    return kind == "train" and _RATE.search(name) is not None


def _distinct(rates: Series) -> Series:
    """Lines that lie on each other are one."""
    found: dict[tuple[tuple[int, ...], tuple[float, ...]], list[str]] = {}
    for name, (batches, values) in rates.items():
        found.setdefault((tuple(batches), tuple(values)), []).append(name)
    return {
        f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]: rates[names[0]]
        for names in found.values()
    }


def _title(name: str) -> str:
    """Return the quantity that a metric measures: its name without split, epoch mark and loader number."""
    quantity = _SPLIT.sub("", name, count=1) if _SPLIT.match(name) else name
    quantity = re.sub(r"/dataloader_idx_\d+$", "", quantity)
    return re.sub(r"_(step|epoch)$", "", quantity) or name
