"""Which metrics share a panel, and what is marked in it?"""

from __future__ import annotations

import gc
import math
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure

from lightning_adapter.runs import curves, picture_file
from lightning_adapter.runs.course_so_far import Best
from lightning_adapter.runs.curves import group_series, is_wide
from lightning_adapter.runs.metrics_table import Points
from lightning_adapter.runs.table_epochs import Epochs


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    found: list[Figure] = []
    usual = picture_file.save
    monkeypatch.setattr(curves.picture_file, "save", lambda figure, path: (found.append(figure), usual(figure, path)))
    monkeypatch.setattr(curves.picture_file, "forget", lambda figure: None)  # as they are looked at later
    return found


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(): axes for axes in figure.axes}


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def ticks_above(axes: Axes) -> dict[str, float]:
    return {text.get_text(): text.get_position()[0] for text in axes.texts}


def test_training_and_validation_of_one_quantity_share_a_panel() -> None:
    points: Points = {
        ("train", "acc"): ([1], [0.1]),
        ("train", "train_loss_step"): ([1], [3.0]),
        ("train", "lr-SGD/body"): ([1, 2], [0.1, 0.1]),
        ("train", "lr-SGD/head"): ([1, 2], [0.1, 0.2]),
        ("train", "train_loss_epoch"): ([2], [2.0]),
        ("validation", "val/loss/dataloader_idx_0"): ([2], [1.0]),
        ("validation", "acc"): ([2], [0.2]),
    }
    found = group_series(points)
    assert {title: set(series) for title, series in found.items()} == {
        "loss": {"train_loss_step", "train_loss_epoch", "val/loss/dataloader_idx_0"},
        "acc": {"acc (train)", "acc (validation)"},
        "learning rate": {"lr-SGD/body", "lr-SGD/head"},
    }
    assert list(found) == ["loss", "acc", "learning rate"]
    assert found["acc"]["acc (validation)"] == ([2], [0.2])


@pytest.mark.parametrize(
    ("name", "is_rate"),
    [
        *(
            (name, True)
            for name in ("lr-Adam", "lr-SGD/pg1", "lr", "train/lr", "learning_rate", "optimizer.lr_0", "LR")
        ),
        *((name, False) for name in ("lrap", "clr_loss", "train_loss", "color")),
    ],
)
def test_learning_rates_that_change_have_a_panel(name: str, is_rate: bool) -> None:
    changing = group_series({("train", name): ([1, 2], [0.1, 0.2])})
    assert (list(changing) == ["learning rate"]) == is_rate
    assert (group_series({("train", name): ([1, 2], [0.1, 0.1])}) == {}) == is_rate


def test_rates_that_are_the_same_are_one_line() -> None:
    points: Points = {("train", f"lr-SGD/pg{number}"): ([1, 2], [0.2, 0.1]) for number in (1, 2, 3)}
    points["train", "lr-SGD/pg4"] = ([1, 2], [0.4, 0.2])
    assert list(group_series(points)["learning rate"]) == ["lr-SGD/pg1 and 2 more", "lr-SGD/pg4"]


@pytest.mark.parametrize(
    ("values", "beside_zero", "expected"),
    [
        ([1.0, 0.1, 0.01, 0.001], False, True),
        ([1e5] + [1.0] * 99, False, True),  # a spike
        ([0.1 * (1 + math.cos(math.pi * step / 100)) for step in range(101)], True, False),  # ends at zero
        ([0.1 * 0.9**step for step in range(101)] + [0.0], True, True),
        ([0.1 * 0.9**step for step in range(101)] + [0.0], False, False),
        ([1.0, 0.1, 0.01, -0.001], True, False),
        ([2.3, 1.0, 0.5], False, False),
        ([1.0, 0.001, 0.001, math.nan, math.inf], False, True),
        ([], False, False),
        ([0.0, 0.0], True, False),
        ([math.nan], False, False),
    ],
)
def test_values_of_several_decades_are_drawn_by_their_logarithms(
    values: list[float], beside_zero: bool, expected: bool
) -> None:
    assert is_wide([values], beside_zero) == expected


def test_best_validation_and_epochs_are_marked(tmp_path: Path, figures: list[Figure]) -> None:
    epochs = Epochs()
    for epoch in range(5):
        epochs.add(10 * epoch + 10, epoch)
    batches = [10, 20, 30, 40, 50]
    points: Points = {
        ("train", "train_loss"): (batches, [5.0, 4.0, 3.0, 2.0, 1.0]),
        ("validation", "val_loss"): (batches, [3.0, 2.0, 1.0, 2.0, 3.0]),
        ("validation", "val_acc"): (batches, [0.1, 0.2, 0.3, 0.4, 0.5]),
    }
    assert curves.draw(points, tmp_path / "x.png", "t", "batches", epochs, Best("val_loss", 30, 3, 1.0))
    found = panels(figures[0])
    assert legend(found["loss"]) == ["train_loss", "val_loss", "best 1, epoch 3"]
    assert [list(line.get_xdata()) for line in found["loss"].lines if line.get_marker() == "o"][-1] == [30]
    assert legend(found["acc"]) == ["val_acc"] and [30, 30] in [
        list(line.get_xdata()) for line in found["acc"].lines if line.get_linestyle() == ":"
    ]
    assert ticks_above(found["loss"]) == {"epoch 1": 10, "2": 20, "3": 30, "4": 40, "5": 50}


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, []),
        (2, ["epoch 1", "2"]),
        (7, ["epoch 2", "4", "6"]),
        (500, [f"{'epoch ' * (n == 1)}{n}00" for n in (1, 2, 3, 4, 5)]),
    ],
)
def test_epochs_are_few_ticks(count: int, expected: list[str], tmp_path: Path, figures: list[Figure]) -> None:
    epochs = Epochs()
    for epoch in range(count):
        epochs.add(3 * epoch + 3, epoch)
    points: Points = {("train", "loss"): (list(range(1, 3 * count + 1)), [1.0] * 3 * count)}
    curves.draw(points, tmp_path / "x.png", "t", "batches", epochs)
    (axes,) = figures[0].axes
    assert list(ticks_above(axes)) == expected


def test_line_that_becomes_nan_is_marked(tmp_path: Path, figures: list[Figure]) -> None:
    curves.draw({("train", "loss"): ([1, 2, 3], [1.0, 0.5, math.nan])}, tmp_path / "x.png", "t")
    (axes,) = figures[0].axes
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "x"] == [[2]]
    assert [text.get_text() for text in axes.texts] == ["x: NaN or infinite after it"]


def test_legend_of_many_lines_names_a_few(tmp_path: Path, figures: list[Figure]) -> None:
    points: Points = {("train", f"lr-Adam/pg{number}"): ([1, 2], [number, 1.0]) for number in range(1, 41)}
    curves.draw(points, tmp_path / "x.png", "t")
    (axes,) = figures[0].axes
    assert len(axes.lines) == 40 and len(legend(axes)) == 8
    found = axes.get_legend()
    assert found is not None and found.get_title().get_text() == "and 32 more"


def test_pixels_of_a_picture_do_not_wait_for_the_collector(tmp_path: Path) -> None:
    points: Points = {("train", "loss"): ([1, 2], [0.5, 0.25])}
    gc.collect()
    before = [id(each) for each in gc.get_objects() if isinstance(each, RendererAgg)]
    gc.disable()
    try:
        curves.draw(points, tmp_path / "curves.png", "metrics.csv")
        curves.small(points, "metrics.csv")
        left = [each for each in gc.get_objects() if isinstance(each, RendererAgg) and id(each) not in before]
    finally:
        gc.enable()
    assert left == []
