"""search.png: of which studies there is a picture, what it shows, and what it leaves alone."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import optuna
import pytest
from matplotlib import image, pyplot
from matplotlib.axes import Axes
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from optuna.visualization import matplotlib as optunas

from lightning_adapter.runs import picture_file
from lightning_adapter.tuning import picture
from lightning_adapter.tuning.picture import draw
from lightning_adapter.tuning.short_names import shortened

LAYERS = ["[64, 64]", "[128, 64, 32]"]
SPACE: dict[str, BaseDistribution] = {
    "model.init_args.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "layers": CategoricalDistribution(LAYERS),
    "depth": IntDistribution(1, 4),
    "$x$": CategoricalDistribution([None, 1, True, "1"]),
}


def trial(
    value: float | None = None,
    *,
    stopped: tuple[float, ...] = (),
    state: TrialState = TrialState.COMPLETE,
    space: dict[str, BaseDistribution] = SPACE,
    seed: int = 0,
) -> FrozenTrial:
    """One with hyperparameters; complete where it has a value, stopped where it has validations alone."""
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    params = drawn.ask(space).params
    curve = stopped or (() if value is None else (value + 1, value))
    return create_trial(
        state=TrialState.PRUNED if stopped else state,
        value=value,
        params=params,
        distributions=space,
        intermediate_values={100 * number: each for number, each in enumerate(curve, 1)},
    )


def study(*trials: FrozenTrial, direction: str = "minimize") -> optuna.Study:
    made = optuna.create_study(direction=direction)
    made.add_trials(trials)
    return made


def several(count: int, **given: Any) -> list[FrozenTrial]:
    drawn = random.Random(0)
    return [trial(drawn.random(), seed=seed, **given) for seed in range(count)]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Without Optuna's lines of the studies that are made here."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Axes]]:
    """Title -> the picture of that title."""
    found: dict[str, Axes] = {}
    pixels = picture._pixels

    def keep(figure: Any) -> Any:
        made = pixels(figure)
        found.update({axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")})
        return made

    monkeypatch.setattr(picture, "_pixels", keep)
    yield found


HISTORY, CURVES = "Best value of each trial", "Validations of each trial"
IMPORTANCE, PARALLEL = "Importance of hyperparameters", "Hyperparameters of each trial, and its best value"


@pytest.mark.parametrize(
    ("trials", "titles"),
    [
        (lambda: [trial(0.5)], {HISTORY, CURVES}),
        (lambda: several(3), {HISTORY, CURVES, PARALLEL}),
        (lambda: several(4), {HISTORY, CURVES, PARALLEL, IMPORTANCE}),
        (lambda: several(5, space={"lr": FloatDistribution(0, 1)}), {HISTORY, CURVES, PARALLEL}),
        (lambda: [trial(1.0, seed=seed) for seed in range(5)], {HISTORY, CURVES, PARALLEL}),
        (lambda: [trial(stopped=(2.0 - seed / 9,), seed=seed) for seed in range(5)], {IMPORTANCE, PARALLEL}),
        (
            lambda: [trial(math.inf), trial(stopped=(math.nan, math.inf)), trial(state=TrialState.FAIL), trial(-3)],
            {HISTORY, CURVES},
        ),
    ],
    ids=["one", "three", "four", "one-hyperparameter", "equal", "all-stopped", "not-finite"],
)
def test_pictures_of_a_study_are_those_that_say_something(
    trials: Callable[[], list[FrozenTrial]],
    titles: set[str],
    shown: dict[str, Axes],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert draw(study(*trials()), tmp_path / "search.png", "val_loss")
    assert shown.keys() == titles
    assert picture_file.is_ours(tmp_path / "search.png")
    assert image.imread(tmp_path / "search.png").shape[1] == 1500
    assert not caplog.records


def test_no_file_where_no_trial_has_a_value(tmp_path: Path) -> None:
    assert not draw(study(), tmp_path / "search.png", "val_loss")
    without = [
        trial(state=TrialState.FAIL),
        trial(math.inf),
        trial(stopped=(math.nan,)),
        trial(state=TrialState.WAITING),
    ]
    assert not draw(study(*without), tmp_path / "search.png", "val_loss")
    assert list(tmp_path.iterdir()) == []


def test_stopped_trials_count_with_their_best_value_and_never_as_the_best(
    shown: dict[str, Axes], tmp_path: Path
) -> None:
    trials = [
        trial(stopped=(0.3, 0.1, 0.2), seed=0),
        trial(0.5, seed=1),
        trial(0.6, seed=2),
        trial(stopped=(0.9,), seed=3),
    ]
    draw(study(*trials), tmp_path / "search.png", "val_loss", "epochs")
    history = shown[HISTORY]
    points = {each.get_label(): each.get_offsets().tolist() for each in history.collections if len(each.get_offsets())}
    assert points == {"complete": [[1, 0.5], [2, 0.6]], "stopped early, its best": [[0, 0.1], [3, 0.9]]}
    curves = shown[CURVES]
    assert [text.get_text() for text in curves.get_legend().get_texts()] == [
        "stopped early",
        "trial 1, the best",
        "complete",
    ]
    assert curves.get_xlabel() == "epochs"
    lines = shown[PARALLEL].collections[0]
    assert lines.get_array().tolist() == [0.9, 0.6, 0.5, 0.1]


def test_best_so_far_ends_with_the_last_trial_that_has_ended(shown: dict[str, Axes], tmp_path: Path) -> None:
    made = study(trial(0.5, seed=0), trial(0.3, seed=1), trial(stopped=(0.9, 0.8), seed=2))
    running = made.ask()
    for batches in (100, 200):
        running.report(0.7, batches)
    made.enqueue_trial({})
    assert draw(made, tmp_path / "search.png", "val_loss")
    (best,) = [line for line in shown[HISTORY].get_lines() if line.get_label() == "best so far"]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([0, 1, 2], [0.5, 0.3, 0.3])
    assert "interrupted" in [text.get_text() for text in shown[CURVES].get_legend().get_texts()]


def test_largest_value_is_the_best_where_a_search_maximizes(shown: dict[str, Axes], tmp_path: Path) -> None:
    trials = [trial(0.01, seed=0), trial(0.9, seed=1), trial(stopped=(0.7, 0.6), seed=2), trial(0.8, seed=3)]
    draw(study(*trials, direction="maximize"), tmp_path / "search.png", "accuracy")
    legend = shown[CURVES].get_legend()
    assert "trial 1, the best" in [text.get_text() for text in legend.get_texts()]
    assert shown[HISTORY].get_yscale() == "linear"  # logarithms would keep the good ones close together
    lines = shown[PARALLEL].collections[0]
    assert lines.get_array().tolist() == [0.01, 0.7, 0.8, 0.9]
    assert lines.get_cmap().name == "viridis_r"


def test_diverged_trial_leaves_others_readable(shown: dict[str, Axes], tmp_path: Path) -> None:
    draw(study(*several(4), trial(1e6, seed=5)), tmp_path / "search.png", "val_loss")
    assert shown[HISTORY].get_yscale() == "log"
    assert shown[CURVES].get_yscale() == "log"
    assert max(shown[PARALLEL].collections[0].get_array()) == 6.0


def test_most_important_of_many_hyperparameters_are_shown(shown: dict[str, Axes], tmp_path: Path) -> None:
    space: dict[str, BaseDistribution] = {
        f"model.init_args.a_quite_long_name_of_block_{number}.rate": FloatDistribution(0, 1) for number in range(24)
    }
    draw(study(*several(6, space=space)), tmp_path / "search.png", "val_loss")
    names = [text.get_text() for text in shown[IMPORTANCE].get_yticklabels()]
    assert len(set(names)) == 20
    title = next(title for title in shown if title.startswith("Hyperparameters"))
    assert title.endswith(", the 10 most important of 24")
    assert len({text.get_text() for text in shown[title].get_xticklabels()}) == 11


def test_one_picture_that_fails_is_told_and_leaves_the_others(
    shown: dict[str, Axes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(optunas, "plot_parallel_coordinate", lambda *given, **more: 1 / 0)
    assert draw(study(*several(4)), tmp_path / "search.png", "val_loss")
    assert len(shown) == 3
    assert caplog.messages == [
        "the picture of the search lacks its hyperparameters: ZeroDivisionError: division by zero"
    ]


def test_disk_that_takes_no_picture_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not draw(study(trial(0.5)), tmp_path / "missing" / "search.png", "val_loss")
    assert caplog.messages[0].startswith("search.png could not be drawn: FileNotFoundError: ")


def test_users_settings_and_figures_stay(tmp_path: Path) -> None:
    before = pyplot.figure()
    axes = before.add_subplot()
    settings, filters = matplotlib.rcParams.copy(), list(warnings.filters)
    verbosity, backend = optuna.logging.get_verbosity(), pyplot.get_backend()
    try:
        draw(study(*several(4)), tmp_path / "search.png", "val_loss")
        assert pyplot.get_fignums() == [before.number]
        assert pyplot.gcf() is before
        assert pyplot.gca() is axes
    finally:
        pyplot.close(before)
    assert dict(matplotlib.rcParams) == dict(settings)
    assert list(warnings.filters) == filters
    assert (optuna.logging.get_verbosity(), pyplot.get_backend()) == (verbosity, backend)


def test_backend_that_needs_a_screen_stays_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = pyplot.switch_backend

    def headless(name: str) -> None:
        if name == "tkagg":
            raise ImportError("Cannot load backend 'tkagg': no screen")
        switch(name)

    before = matplotlib.rcParams["backend"]
    monkeypatch.setattr(pyplot, "switch_backend", headless)
    try:
        matplotlib.rcParams["backend"] = "tkagg"
        assert draw(study(*several(4)), tmp_path / "search.png", "val_loss")
        assert matplotlib.rcParams["backend"] == "tkagg"
    finally:
        matplotlib.rcParams["backend"] = before


def test_nothing_is_said_of_studies_in_memory_and_of_what_optuna_calls_experimental(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    made = study(*several(4))
    optuna.logging.set_verbosity(optuna.logging.INFO)
    draw(made, tmp_path / "search.png", "val_loss")
    assert [each.message for each in recwarn] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["a.lr", "b.lr", "b.width"], ["a.lr", "b.lr", "width"]),
        (["lr", "a.lr"], ["lr", "a.lr"]),
        (["optimizer.init_args.lr"], ["lr"]),
        (["a_long_name_of_one.x", "a_long_name_of_two.x"], ["…g_name_of_one.x", "…g_name_of_two.x"]),
        (["one_and_the_same_end_of_it", "two_and_the_same_end_of_it"], ["0: …me_end_of_it", "1: …me_end_of_it"]),
    ],
)
def test_hyperparameters_are_called_by_as_few_words_as_tell_them_apart(names: list[str], short: list[str]) -> None:
    assert list(shortened(names, 16).values()) == short
