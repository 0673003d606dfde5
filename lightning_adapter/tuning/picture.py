"""search.png: how did a search go on, and which hyperparameters mattered?

The pictures are Optuna's own for matplotlib. Each comes in a figure of pyplot's, so they are drawn one by one, and put together as
pixels. Two of them know complete trials only, which are few where trials are stopped: they are given all trials, each with the
best of its values, however far it came.
"""

from __future__ import annotations

import contextlib
import logging
import math
import pathlib
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import matplotlib
import numpy as np
import optuna
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial
from optuna.visualization import matplotlib as optunas

from lightning_adapter.runs import picture_file
from lightning_adapter.runs.words import counted, cut
from lightning_adapter.tuning.short_names import shortened

logger = logging.getLogger("lightning_adapter")

Pixels: TypeAlias = NDArray[Any]

_DPI = 100
_WIDTH = 15.0  # inches of the whole
_ROW = 4.6  # and of a row of it
_HEAD = 0.65
_LINE = 180  # characters of the headline's second line
_NAME = 19  # of a hyperparameter's name: Optuna cuts longer ones at their end
_CHOICE = 16  # and of one of its values
_METRIC = 28  # and of the metric's
#: Of more hyperparameters the most important ones are shown.
_MOST_BARS = 20
_MOST_AXES = 10
#: Of fewer trials nothing can be said about what mattered.
_LEAST = 4
#: Where the largest value is so many times the smallest, most trials would lie in one line.
_SPREAD = 10.0
_FEW = 40  # of a curve's points, each is marked
_MANY = 60  # lines, which are thin
_COLOURS = {TrialState.COMPLETE: "tab:blue", TrialState.PRUNED: "#8c8c8c"}
_BEST, _INTERRUPTED = "tab:red", "tab:orange"
_WORDS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "interrupted",  # nobody trains any more when the picture is drawn
    TrialState.WAITING: "not begun",
}


def draw(study: optuna.Study, path: pathlib.Path, metric: str, unit: str = "batches") -> bool:
    """Draw history, curves, importance and parallel coordinates, by Optuna's own pictures for matplotlib, into one PNG.

    What cannot be drawn is told in a line, and ends nothing. Settings and figures of pyplot are the user's, and left alone.

    Args:
        study: the search.
        path: of the picture; it appears whole.
        metric: what the values are called.
        unit: what the steps of validations count.

    Returns:
        Whether there is a picture now.
    """
    try:
        with _apart():
            pixels = _Page(study, metric, unit).pixels()
            if pixels is not None:
                picture_file.save_pixels(pixels, path)
    except Exception as error:  # plotting libraries and a disk fail in any way
        logger.warning("%s could not be drawn: %s: %s", path.name, type(error).__name__, error)
        return False
    return pixels is not None


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Until the block ends pyplot draws into memory, with settings of its own, and Optuna says nothing of that."""
    backend = matplotlib.rcParams.copy()[
        "backend"
    ]  # of a copy: asked for itself it would be chosen, where nobody has yet
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    figures = set(pyplot.get_fignums())
    try:
        with picture_file.drawing(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pyplot.switch_backend("agg")
            yield
    finally:
        for figure in set(pyplot.get_fignums()) - figures:
            pyplot.close(figure)
        optuna.logging.set_verbosity(verbosity)
        try:
            pyplot.switch_backend(backend)
        except ImportError:  # windows, on a machine without a screen: whoever opens one is told
            matplotlib.rcParams["backend"] = backend


class _Page:
    """The pictures of one search.

    Args:
        study: the search.
        metric: what its values are called.
        unit: what the steps of validations count.
    """

    def __init__(self, study: optuna.Study, metric: str, unit: str) -> None:
        self._study = study
        self._metric = cut(metric, _METRIC)
        self._unit = unit
        self._sign = 1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1.0
        self._trials = study.get_trials(deepcopy=False)
        self._values = {trial.number: value for trial in self._trials if (value := self._value(trial)) is not None}
        self._is_log = self._sign > 0 and _is_wide(self._values.values())
        self._short = shortened(sorted({name for trial in self._trials for name in trial.params}), _NAME)
        complete = [trial for trial in self._of(TrialState.COMPLETE) if trial.number in self._values]
        self._best = min(complete, key=lambda trial: self._sign * self._values[trial.number], default=None)

    def pixels(self) -> Pixels | None:
        """All of them; None where no trial has a value."""
        if not self._values:
            return None
        comparable = self._comparable()
        ranked = self._ranked(comparable)
        rows = [
            ({"values": self._history, "validations": self._curves}, (0.5, 0.5)),
            (
                {
                    "importance": lambda: self._importance(comparable, ranked),
                    "hyperparameters": lambda: self._parallel(comparable, ranked),
                },
                (0.36, 0.64),
            ),
        ]
        drawn = [(_drawn(pictures), shares) for pictures, shares in rows]
        return np.concatenate(
            [self._headline(ranked), *(_row(figures, shares) for figures, shares in drawn if figures)]
        )

    def _of(self, state: TrialState) -> list[FrozenTrial]:
        return [trial for trial in self._trials if trial.state == state]

    def _value(self, trial: FrozenTrial) -> float | None:
        """The best finite value of a trial that has ended; None where it has none."""
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return None
        found = [trial.value] if trial.state == TrialState.COMPLETE else list(trial.intermediate_values.values())
        finite = [value for value in found if value is not None and math.isfinite(value)]
        return min(finite, key=lambda value: self._sign * value, default=None)

    def _comparable(self) -> optuna.Study:
        """All trials with a value, complete ones there, under short names; the best is the last one, drawn over the others."""
        return self._in_memory(
            create_trial(
                value=math.log10(value) if self._is_log else value,
                params={self._short[name]: each for name, each in self._trials[number].params.items()},
                distributions={self._short[name]: each for name, each in self._trials[number].distributions.items()},
            )
            for number, value in sorted(self._values.items(), key=lambda item: -self._sign * item[1])
        )

    def _in_memory(self, trials: Iterable[FrozenTrial]) -> optuna.Study:
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction=self._study.direction)
        study.add_trials(trials)
        return study

    def _ranked(self, comparable: optuna.Study) -> list[str]:
        """Hyperparameters that differ between trials, the most important first where that can be said."""
        trials = comparable.get_trials(deepcopy=False)
        names = [name for name in self._short.values() if len({repr(trial.params.get(name)) for trial in trials}) > 1]
        if not names or not self._is_telling:
            return names
        return list(get_param_importances(comparable, evaluator=PedAnovaImportanceEvaluator(), params=names))

    @property
    def _is_telling(self) -> bool:
        return len(self._values) >= _LEAST and len(set(self._values.values())) > 1

    def _headline(self, ranked: Sequence[str]) -> Pixels:
        counts = Counter(trial.state for trial in self._trials)
        states = ", ".join(f"{counts[state]} {word}" for state, word in _WORDS.items() if counts[state])
        figure = Figure(figsize=(_WIDTH, _HEAD), dpi=_DPI)
        FigureCanvasAgg(figure)
        best = f"; best is trial {self._best.number}, {self._metric} {self._best.value:.6g}" if self._best else ""
        figure.text(0.015, 0.66, f"{counted(len(self._trials), 'trial')}: {states}{best}", fontsize=13, va="center")
        if self._best is not None:
            values = {self._short[name]: value for name, value in self._best.params.items()}
            said = ", ".join(f"{name} {_shown(values[name])}" for name in sorted(values, key=[*ranked, *values].index))
            figure.text(0.015, 0.18, cut(said, _LINE), fontsize=10, va="center", color="#555555")
        return _pixels(figure)

    def _history(self) -> Figure | None:
        if self._best is None:
            return None
        axes = optunas.plot_optimization_history(
            self._in_memory(
                create_trial(state=TrialState.COMPLETE, value=self._values[trial.number])
                if trial.state == TrialState.COMPLETE and trial.number in self._values
                else create_trial(state=TrialState.FAIL)
                for trial in self._trials
            ),
            target_name=self._metric,
        )
        axes.collections[0].set_label("complete")
        best = axes.get_lines()[0]
        best.set(label="best so far", drawstyle="steps-post")
        # of trials that have not ended nothing is known, and they may come last
        ended = 1 + max(trial.number for trial in self._trials if trial.state.is_finished())
        best.set_data(np.asarray(best.get_xdata())[:ended], np.asarray(best.get_ydata())[:ended])
        stopped = [trial.number for trial in self._of(TrialState.PRUNED) if trial.number in self._values]
        if stopped:
            values = [self._values[number] for number in stopped]
            colour = _COLOURS[TrialState.PRUNED]
            axes.scatter(stopped, values, s=24, color=colour, label="stopped early, its best", zorder=1.5)
        axes.legend(fontsize=9)
        axes.set_xlim(-0.7, len(self._trials) - 0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        self._dress(axes, "Best value of each trial", "trial")
        return _figure_of(axes)

    def _curves(self) -> Figure | None:
        if all(len(trial.intermediate_values) < 2 for trial in self._trials):
            return None
        axes = optunas.plot_intermediate_values(self._study)
        legend: dict[str, Any] = {}
        for line in axes.get_lines():
            trial = self._trials[int(str(line.get_label()).removeprefix("Trial"))]
            is_best = self._best is not None and trial.number == self._best.number
            name = f"trial {trial.number}, the best" if is_best else _WORDS[trial.state]
            colour = _BEST if is_best else _COLOURS.get(trial.state, _INTERRUPTED)
            line.set(color=colour, alpha=0.9, linewidth=2.0 if is_best else 1.0, zorder=4 if is_best else 3)
            if trial.state == TrialState.PRUNED:
                line.set_zorder(2)
            if len(trial.intermediate_values) > _FEW:
                line.set_marker("")
            legend.setdefault(name, line)
        axes.legend(legend.values(), legend.keys(), fontsize=9)
        self._dress(axes, "Validations of each trial", self._unit)
        return _figure_of(axes)

    def _importance(self, comparable: optuna.Study, ranked: Sequence[str]) -> Figure | None:
        if len(ranked) < 2 or not self._is_telling:
            return None
        axes = optunas.plot_param_importances(
            comparable, evaluator=PedAnovaImportanceEvaluator(), params=list(ranked[:_MOST_BARS])
        )
        legend = axes.get_legend()
        if legend is not None:
            legend.remove()
        _dress(axes, "Importance of hyperparameters", f"relative, for {self._metric} (by PED-ANOVA)", "")
        return _figure_of(axes)

    def _parallel(self, comparable: optuna.Study, ranked: Sequence[str]) -> Figure | None:
        shown = list(ranked[:_MOST_AXES])
        if not shown:
            return None
        label = f"log10 of {self._metric}" if self._is_log else self._metric
        axes = optunas.plot_parallel_coordinate(comparable, params=shown, target_name=label)
        figure = _figure_of(axes)
        lines = next(each for each in axes.collections if isinstance(each, LineCollection))
        # Optuna's palest lines are as pale as the ground
        lines.set(
            cmap="viridis" if self._sign > 0 else "viridis_r",
            linewidth=1.4 if len(self._values) < _MANY else 0.7,
            alpha=0.85,
            clip_on=False,
        )
        left_out = f", the {len(shown)} most important of {len(ranked)}" if len(shown) < len(ranked) else ""
        _dress(axes, f"Hyperparameters of each trial, and its best value{left_out}", "", "")
        for text in axes.get_xticklabels():
            text.set(rotation=18, ha="right", fontsize=9)
        for each in axes.get_shared_x_axes().get_siblings(axes):
            _dress_scale(each)
        return figure

    def _dress(self, axes: Axes, title: str, x_label: str) -> None:
        _dress(axes, title, x_label, self._metric)
        if self._is_log:
            axes.set_yscale("log")
            _say_powers(axes)


def _drawn(pictures: Mapping[str, Callable[[], Figure | None]]) -> list[Figure]:
    """The pictures that there are; one that fails leaves the others as they are."""
    found = []
    for what, make in pictures.items():
        try:
            figure = make()
        except Exception as error:  # Optuna draws what it can, and fails in any way
            logger.warning("the picture of the search lacks its %s: %s: %s", what, type(error).__name__, error)
        else:
            found += [] if figure is None else [figure]
    return found


def _is_wide(values: Collection[float]) -> bool:
    """Whether values lie so far apart that they are drawn by their logarithms."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > _SPREAD


def _dress(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title("")  # Optuna's, in the middle
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_xlabel(x_label, fontsize=10)
    axes.set_ylabel(y_label, fontsize=10)
    axes.tick_params(labelsize=9)


def _dress_scale(axes: Axes) -> None:
    """Let the scale of one hyperparameter be read over the lines of the trials."""
    axes.grid(False)
    for side in ("left", "right"):
        axes.spines[side].set_color("#555555")
    if axes.get_yscale() == "log":
        _say_powers(axes)
    elif isinstance(axes.yaxis.get_major_locator(), FixedLocator):  # values that are names
        axes.set_yticks(axes.get_yticks(), [cut(text.get_text(), _CHOICE) for text in axes.get_yticklabels()])
    axes.tick_params(axis="y", labelsize=8)
    for text in axes.get_yticklabels():
        text.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8})


def _say_powers(axes: Axes) -> None:
    """Write numbers out at a scale of logarithms: a text is no formula here."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _figure_of(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None  # pyplot has just made it
    return figure


def _row(figures: Sequence[Figure], shares: Sequence[float]) -> Pixels:
    """Pictures beside each other; one alone has the place of both."""
    parts = []
    for figure, share in zip(figures, shares if len(figures) > 1 else [1.0], strict=True):
        figure.set_dpi(_DPI)
        figure.set_size_inches(round(_WIDTH * share, 2), _ROW)
        figure.tight_layout(pad=1.5)
        parts.append(_pixels(figure))
    return np.concatenate(parts, axis=1)


def _pixels(figure: Figure) -> Pixels:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else cut(str(value), _CHOICE * 2)
