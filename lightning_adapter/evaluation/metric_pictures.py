"""Which picture is drawn of a metric's value?

Curves and confusion matrices are torchmetrics' own, drawn by `plot()` into a figure of ours, which is made as large as the
number of classes needs. Of a value for each class torchmetrics draws a point each, with a legend as long as there are
classes: these are bars here. A single number stands in the table.
"""

from __future__ import annotations

import inspect
import math
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torchmetrics import Metric

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.evaluate import Measured
from lightning_adapter.evaluation.metric_inputs import described
from lightning_adapter.runs import picture_file

Value: TypeAlias = Any

_TEXT_CELLS = 30  # a matrix of more classes has no room for numbers
_TICKS = 150  # of more classes every name would be smaller than can be read
_BARS = 1000
_LEGEND = 20  # more colours cannot be told apart
_NAME = 28  # characters of a class's name


class NotDrawable(Exception):
    """There is no picture of such a value; the message says why."""


@dataclass(frozen=True)
class Classes:
    """Names of classes.

    Attributes:
        names: in the order of their numbers; empty where nobody gave any.
    """

    names: tuple[str, ...] = ()

    def of(self, count: int, what: str) -> list[str]:
        """Names for so many classes: the given ones, or numbers.

        Raises:
            ConfigurationError: others than these many were given.
        """
        if not self.names:
            return [str(number) for number in range(count)]
        if len(self.names) != count:
            raise ConfigurationError(
                f"--classes names {len(self.names)} classes, and {what} has {count}: {_counted(self.names)}"
            )
        return [_short(name) for name in self.names]


class Pictures:
    """The pictures of an evaluation, and of which metrics there is none.

    Args:
        classes: names of classes.
    """

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self._figures: dict[str, Figure] = {}
        self._missing: list[str] = []

    @property
    def missing(self) -> Sequence[str]:
        """For each metric without a picture, and that is no single number, why."""
        return self._missing

    def add(self, measured: Measured) -> None:
        """Draw one more; of a dict its single numbers together, and each of its other parts.

        Raises:
            ConfigurationError: there are not as many names as classes.
        """
        parts = _parts(measured)
        if parts is not None:
            single = {key: one for key, one in parts.items() if _is_single(one)}
            for key, one in parts.items():
                if key not in single and key != "classes":  # of detection metrics: which classes the values are of
                    self.add(Measured(f"{measured.name}_{key}", one, None))
            # torchmetrics takes a tuple, a value and the threshold of it, for two steps of a training
            measured = Measured(measured.name, single if isinstance(measured.value, Mapping) else {}, measured.metric)
        try:
            figure = picture(measured, self._classes)
        except NotDrawable as error:
            self._missing.append(f"{measured.name}: {error}")
            return
        if figure is not None:
            self._figures[picture_file.free_name(measured.name, self._figures)] = figure

    def save(self, directory: pathlib.Path) -> list[str]:
        """Write them; return their names."""
        for name, figure in self._figures.items():
            picture_file.save(figure, directory / name)
        return list(self._figures)


def picture(measured: Measured, classes: Classes) -> Figure | None:
    """Draw the value of one metric.

    Args:
        measured: the metric, which still has its state, and the value that it computed.
        classes: their names.

    Returns:
        The figure; None of a single number.

    Raises:
        NotDrawable: there is no picture of such a value.
        ConfigurationError: there are not as many names as classes.
    """
    with picture_file.drawing():
        return _drawn(measured, classes)


def _drawn(measured: Measured, classes: Classes) -> Figure | None:
    value, metric = measured.value, measured.metric
    if metric is not None and _draws_itself(metric):
        return _own(measured)
    plot = inspect.signature(metric.plot).parameters if metric is not None and hasattr(metric, "plot") else {}
    if "add_text" in plot and isinstance(value, torch.Tensor) and metric is not None:
        return _matrix(metric, value, measured.name, classes)
    if "curve" in plot and metric is not None and _is_curve(value):
        return _curve(metric, value, measured.name, classes)
    if isinstance(value, Mapping):
        return _of_singles(value, metric, measured.name)
    numbers = _vector(value)
    if numbers is None:
        return _own(measured)
    return _of_vector(numbers, metric, measured.name, classes) if numbers.size > 1 else None


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # and not pyplot, whose backend and open figures are the user's
    return figure


# --- confusion matrices ---


def _matrix(metric: Metric, value: torch.Tensor, name: str, classes: Classes) -> Figure:
    if value.ndim == 3:
        return _matrices(metric, value, name, classes)
    count = len(value)
    labels = classes.of(count, name)
    side = min(3.0 + 0.42 * count, 11.0) if count <= _TEXT_CELLS else 11.0  # inches of the matrix
    per_cell = 72 * side / count  # points
    shown = range(count) if count <= _TICKS else range(0, count, math.ceil(count / 50))
    size = max(4.0, min(10.0, 0.75 * 72 * side / len(shown)))
    longest = max(map(len, labels)) * size * 0.62 / 72  # inches
    is_turned = longest * 72 > per_cell
    figure = _figure(
        side + longest + (1.8 if count > _TEXT_CELLS else 0.8), side + (longest if is_turned else 0.2) + 1.0
    )
    axes = figure.add_subplot()
    metric.plot(value, ax=axes, add_text=count <= _TEXT_CELLS)
    digits = max((len(text.get_text()) for text in axes.texts), default=1)
    for text in axes.texts:
        text.set_fontsize(max(4.0, min(13.0, 0.45 * per_cell, 1.5 * per_cell / max(1, digits))))
    names = [labels[number] for number in shown]
    axes.set_xticks(list(shown), names, rotation=90 if is_turned else 0, fontsize=size, parse_math=False)
    axes.set_yticks(list(shown), names, rotation=0, fontsize=size, parse_math=False)
    axes.set_xlabel("Predicted class", fontsize=11)
    axes.set_ylabel("True class", fontsize=11)
    axes.set_title(name, fontsize=12)
    if count > _TEXT_CELLS:
        figure.colorbar(axes.get_images()[0], ax=axes, shrink=0.7)
    return figure


def _matrices(metric: Metric, value: torch.Tensor, name: str, classes: Classes) -> Figure:
    """Several labels: a matrix of two classes for each, which torchmetrics does not draw into given axes together."""
    labels = classes.of(len(value), name)
    if len(value) > 100:
        raise NotDrawable(f"{len(value)} matrices are too many for a picture")
    columns = math.ceil(math.sqrt(len(value)))
    rows = math.ceil(len(value) / columns)
    figure = _figure(max(2.1 * columns, 4.0), 2.2 * rows + 0.5)
    for number, (matrix, label) in enumerate(zip(value, labels, strict=True)):
        axes = figure.add_subplot(rows, columns, number + 1)
        metric.plot(matrix, ax=axes)
        longest = max((len(text.get_text()) for text in axes.texts), default=1)
        for text in axes.texts:
            text.set_fontsize(min(11.0, 55 / longest))
        axes.set_title(label, fontsize=9)
        axes.set_xticks([0, 1], ["no", "yes"], rotation=0, fontsize=8)
        axes.set_yticks([0, 1], ["no", "yes"], rotation=0, fontsize=8)
        axes.set_xlabel("predicted" if number // columns == rows - 1 else "", fontsize=8)
        axes.set_ylabel("true" if number % columns == 0 else "", fontsize=8)
    figure.suptitle(name, fontsize=12)
    return figure


# --- curves ---


def _is_curve(value: Value) -> bool:
    """Three tensors, or three lists with a tensor for each class: x, y and thresholds."""
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        return False
    return all(isinstance(one, list) or (isinstance(one, torch.Tensor) and one.ndim > 0) for one in value)


def _curve(metric: Metric, value: Value, name: str, classes: Classes) -> Figure:
    is_several = isinstance(value[0], list) or value[0].ndim > 1
    count = len(value[0]) if is_several else 1
    labels = classes.of(count, name) if is_several else []
    figure = _figure(6.4 if count == 1 else 8.6, 5.2)
    axes = figure.add_subplot()
    if is_several:
        colours = "tab10" if count <= 10 else "tab20" if count <= _LEGEND else "viridis"
        palette = matplotlib.colormaps[colours]
        axes.set_prop_cycle(color=[palette(i if count <= _LEGEND else i / (count - 1)) for i in range(count)])
    takes_score = "score" in inspect.signature(metric.plot).parameters
    metric.plot(ax=axes, **({"score": True} if takes_score else {}))
    if type(metric).__name__ == "RetrievalPrecisionRecallCurve":  # torchmetrics calls its axes as those of a ROC
        axes.set_xlabel("Precision")
        axes.set_ylabel("Recall")
    legend = axes.get_legend()
    if legend is not None:
        legend.remove()
    for line, label in zip(axes.get_lines(), labels, strict=False):
        _, found, score = str(line.get_label()).partition(" AUC=")
        line.set_label(label if score == "nan" else f"{label}{found}{score}")  # of a curve with a gap
        line.set_linewidth(1.6 if count <= _LEGEND else 0.7)
    axes.set_title(name, fontsize=12)
    if count > _LEGEND:
        bar = figure.colorbar(ScalarMappable(Normalize(0, count - 1), "viridis"), ax=axes)
        ticks = sorted({round(one) for one in np.linspace(0, count - 1, 11)})
        bar.set_ticks(ticks, labels=[labels[tick] for tick in ticks], fontsize=8)
    elif is_several:
        figure.legend(loc="outside right upper", fontsize=8)
    elif takes_score and not str(axes.get_lines()[0].get_label()).endswith("nan"):
        axes.legend()
    return figure


# --- bars ---


def _of_singles(value: Mapping[str, Value], metric: Metric | None, name: str) -> Figure | None:
    single = {str(key): float(numbers[0]) for key, one in value.items() if (numbers := _vector(one)) is not None}
    if len(single) < 2:
        return None
    return _bars(list(single), np.array(list(single.values())), name, metric)


def _of_vector(numbers: np.ndarray[Any, Any], metric: Metric | None, name: str, classes: Classes) -> Figure:
    if numbers.size > _BARS:
        raise NotDrawable(f"{numbers.size} values are too many for a picture")
    of_classes = getattr(metric, "plot_legend_name", None) is not None
    if of_classes or len(classes.names) == numbers.size:
        labels = classes.of(numbers.size, name)
    else:
        labels = [str(number) for number in range(numbers.size)]
    return _bars(labels, numbers, name, metric)


def _bars(labels: Sequence[str], numbers: np.ndarray[Any, Any], name: str, metric: Metric | None) -> Figure:
    count = len(labels)
    step = max(0.13, min(0.32, 24 / count))  # inches of one bar
    height = min(count, 200) * step
    figure = _figure(7.2, height + 1.2)
    axes = figure.add_subplot()
    finite = np.where(np.isfinite(numbers), numbers, 0.0)
    bars = axes.barh(range(count), finite, height=0.75, color="#4c78a8")
    mean = float(np.mean(numbers[np.isfinite(numbers)])) if np.isfinite(numbers).any() else math.nan
    if metric is not None and getattr(metric, "plot_legend_name", None) and math.isfinite(mean):
        axes.axvline(mean, color="#e45756", linewidth=1, linestyle="--", label=f"mean {mean:.4g}")
        figure.legend(loc="outside upper right", fontsize=8)
    size = max(5.0, min(9.0, 72 * step * 0.62))
    if count <= 200:
        axes.set_yticks(range(count), [_short(label) for label in labels], fontsize=size)
        axes.bar_label(bars, [f"{one:.4g}" for one in numbers], padding=3, fontsize=size)
    axes.set_ylim(count - 0.4, -0.6)
    low, high = (getattr(metric, f"plot_{side}_bound", None) for side in ("lower", "upper"))
    least, most = min(0.0, finite.min()), max(0.0, finite.max())
    left = float(low) if low is not None and low <= least else least
    right = float(high) if high is not None and high >= most else most
    room = 0.14 * ((right - left) or 1.0)  # for the numbers behind the bars
    axes.set_xlim(left - room if least < 0 else left, right + room)
    axes.set_title(name, fontsize=12)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return figure


def _vector(value: Value) -> np.ndarray[Any, Any] | None:
    """A number or a row of numbers as an array of one dimension; None of anything else."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().squeeze().numpy() if not value.is_complex() else None
    elif isinstance(value, (list, tuple)) and not all(isinstance(one, (bool, int, float)) for one in value):
        value = None
    if value is None:
        return None
    array = np.asarray(value)
    return array.astype(np.float64).reshape(-1) if array.ndim <= 1 and array.dtype.kind in "biuf" else None


# --- what a metric draws itself ---


def _parts(measured: Measured) -> Mapping[str, Value] | None:
    """The parts of a dict, or of a tuple that is no curve, whose pictures are drawn by themselves; None of anything else."""
    value = measured.value
    if measured.metric is not None and _draws_itself(measured.metric):
        return None
    if isinstance(value, Mapping):
        return {str(key): one for key, one in value.items()}
    if isinstance(value, tuple) and not _is_curve(value):
        return {str(number): one for number, one in enumerate(value)}
    return None


def _is_single(value: Value) -> bool:
    numbers = _vector(value)
    return numbers is not None and numbers.size == 1


def _draws_itself(metric: Metric) -> bool:
    """Whether the class of a metric outside of torchmetrics has a `plot()` of its own."""
    owner = next((cls for cls in type(metric).__mro__ if "plot" in vars(cls)), Metric)
    return owner.__module__.partition(".")[0] != Metric.__module__.partition(".")[0]


def _own(measured: Measured) -> Figure:
    """Have the metric draw its value into a figure of ours."""
    metric = measured.metric
    if metric is None or not hasattr(metric, "plot"):
        raise NotDrawable("its value is neither a number, nor a row of numbers, nor a dict of numbers")
    if "ax" not in inspect.signature(metric.plot).parameters and _draws_itself(metric):
        raise NotDrawable("its plot() takes no `ax`, the axes of the picture")
    figure = _figure(6.4, 5.2)
    axes: Axes = figure.add_subplot()
    try:
        metric.plot(measured.value, ax=axes)
    except Exception as error:  # torchmetrics and classes of the user's own draw what they can, and fail in any way
        if isinstance(error, NotImplementedError):
            raise NotDrawable("its class has no plot()") from error
        first = str(error).splitlines()[0] if str(error) else "no message"
        raise NotDrawable(
            f"its plot() draws nothing of {described(measured.value)} ({type(error).__name__}: {first})"
        ) from error
    axes.set_title(measured.name, fontsize=12)
    return figure


def _short(name: str) -> str:
    """A name that leaves room for the picture."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 11]}…{name[-10:]}"


def _counted(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
