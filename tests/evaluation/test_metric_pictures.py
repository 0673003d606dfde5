"""Of what is more than a number there is a picture, with the classes' names, however many and long these are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure
from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryPrecisionRecallCurve,
    BinaryROC,
    BinarySensitivityAtSpecificity,
    MulticlassConfusionMatrix,
    MulticlassPrecisionAtFixedRecall,
    MulticlassPrecisionRecallCurve,
    MulticlassRecall,
    MulticlassROC,
    MultilabelConfusionMatrix,
)
from torchmetrics.retrieval import RetrievalPrecisionRecallCurve

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.evaluate import Measured
from lightning_adapter.evaluation.metric_pictures import Classes, NotDrawable, Pictures, picture

LONG = "a name that nobody would give to a class of things"


def measured(metric: Metric, classes: int = 4) -> Measured:
    generator = torch.Generator().manual_seed(0)
    shape = (200, classes) if not type(metric).__name__.startswith("Binary") else (200,)
    is_labels = type(metric).__name__.startswith("Multilabel")
    target = torch.randint(
        2 if len(shape) == 1 or is_labels else classes, shape if is_labels else (200,), generator=generator
    )
    metric.update(torch.rand(shape, generator=generator), target)
    return Measured("name", metric.compute(), metric)


def drawn(one: Measured, *names: str) -> Figure:
    figure = picture(one, Classes(names))
    assert figure is not None
    return figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]


@pytest.mark.parametrize("classes", [2, 30, 31, 160])
def test_confusion_matrix_has_numbers_where_there_is_room(classes: int) -> None:
    figure = drawn(measured(MulticlassConfusionMatrix(classes), classes))
    (axes, *bar) = figure.axes
    assert len(axes.texts) == (classes**2 if classes <= 30 else 0)
    assert len(bar) == (classes > 30)
    assert len(axes.get_xticklabels()) == (classes if classes <= 150 else 40)
    assert max(figure.get_size_inches()) < 16


def test_confusion_matrix_has_the_names_of_classes() -> None:
    figure = drawn(measured(MulticlassConfusionMatrix(3), 3), "cat", "$x_1$", LONG)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["cat", "$x_1$", f"{LONG[:17]}…{LONG[-10:]}"]
    ticks = (figure.axes[0].get_xticklabels()[1], figure.axes[0].get_yticklabels()[1])
    assert not any(label.get_parse_math() for label in ticks)
    assert figure.axes[0].get_xticklabels()[2].get_rotation() == 90


def test_label_sets_have_a_matrix_each() -> None:
    figure = drawn(measured(MultilabelConfusionMatrix(5), 5), *"abcde")
    assert [axes.get_title() for axes in figure.axes] == list("abcde")
    with pytest.raises(NotDrawable, match="101 matrices are too many for a picture"):
        drawn(measured(MultilabelConfusionMatrix(101), 101))


@pytest.mark.parametrize("make", [MulticlassROC, MulticlassPrecisionRecallCurve])
@pytest.mark.parametrize("thresholds", [None, 7])
def test_curves_have_the_names_of_classes(make: Any, thresholds: int | None) -> None:
    figure = drawn(measured(make(3, thresholds=thresholds), 3), "cat", "dog", "cow")
    assert len(figure.axes[0].get_lines()) == 3
    (legend,) = figure.legends
    found = [text.get_text() for text in legend.get_texts()]
    assert [text.split()[0] for text in found] == ["cat", "dog", "cow"]
    assert not any("nan" in text for text in found)


def test_area_under_a_curve_is_that_of_torchmetrics() -> None:
    metric = BinaryROC()
    figure = drawn(measured(metric))
    rate, hits, _ = metric.compute()
    (text,) = figure.axes[0].get_legend().get_texts()
    assert text.get_text() == f"AUC={torch.trapezoid(hits, rate).item():.3f}"
    assert "name" in texts(drawn(measured(BinaryPrecisionRecallCurve())))


def test_many_curves_are_told_apart_by_a_scale() -> None:
    figure = drawn(measured(MulticlassROC(25, thresholds=5), 25), *(f"class {number}" for number in range(25)))
    assert figure.legends == []
    assert {"class 0", "class 24"} <= {label.get_text() for label in figure.axes[1].get_yticklabels()}
    assert len({line.get_color() for line in figure.axes[0].get_lines()}) == 25


@pytest.mark.parametrize("classes", [2, 100])
def test_value_for_each_class_is_a_bar(classes: int) -> None:
    one = measured(MulticlassRecall(classes, average=None), classes)
    figure = drawn(one, *(f"{LONG} {number}" for number in range(classes)))
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx(one.value.tolist())
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [label.split()[-1] for label in labels] == [str(number) for number in range(classes)]
    assert any(text.startswith("mean ") for text in texts(figure))


def test_value_that_is_not_finite_is_named_beside_its_bar() -> None:
    figure = drawn(Measured("f", torch.tensor([1.0, float("nan"), -float("inf")]), None))
    assert {"1", "nan", "-inf"} <= set(texts(figure))


def test_single_number_is_in_the_table_alone() -> None:
    assert picture(measured(BinaryAccuracy()), Classes()) is None
    assert picture(Measured("f", 3.0, None), Classes()) is None


def test_dict_has_a_picture_of_its_numbers_and_of_each_other_part(tmp_path: Path) -> None:
    pictures = Pictures(Classes())
    pictures.add(Measured("f", {"a": 1.0, "b": torch.tensor(2.0), "c": torch.rand(3), "d": torch.rand(2, 2)}, None))
    assert pictures.save(tmp_path) == ["f_c.png", "f.png"]
    assert [why.partition(":")[0] for why in pictures.missing] == ["f_d"]


def test_tuple_of_values_is_no_course_of_a_training(tmp_path: Path) -> None:
    pictures = Pictures(Classes())
    pictures.add(measured(BinarySensitivityAtSpecificity(0.5)))
    assert (pictures.save(tmp_path), pictures.missing) == ([], [])
    pictures.add(measured(MulticlassPrecisionAtFixedRecall(4, 0.5)))
    assert (pictures.save(tmp_path), pictures.missing) == (["name_0.png", "name_1.png"], [])


def test_curve_of_a_retrieval_is_named_as_what_it_is() -> None:
    metric = RetrievalPrecisionRecallCurve()
    metric.update(torch.rand(40), torch.arange(40) % 2, indexes=torch.arange(40) // 8)
    (axes,) = drawn(Measured("name", metric.compute(), metric)).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Precision", "Recall")
    assert axes.get_lines()[0].get_xdata().tolist() == metric.compute()[0].tolist()


def test_wrong_number_of_names_is_refused() -> None:
    for metric in (MulticlassConfusionMatrix(4), MulticlassROC(4), MulticlassRecall(4, average=None)):
        with pytest.raises(ConfigurationError, match="--classes names 2 classes, and name has 4: a, b"):
            drawn(measured(metric), "a", "b")
    drawn(Measured("f", torch.rand(3), None), "a", "b")  # a function's numbers need not be classes


class Draws(MulticlassRecall):
    def plot(self, val: Any = None, ax: Any = None) -> Any:  # type: ignore[override]
        ax.plot([1, 2], label="own")


class DrawsElsewhere(MulticlassRecall):
    def plot(self) -> Any:  # type: ignore[override]
        raise AssertionError


def test_metric_with_a_plot_of_its_own_draws_itself() -> None:
    assert [line.get_label() for line in drawn(measured(Draws(4))).axes[0].get_lines()] == ["own"]
    with pytest.raises(NotDrawable, match=r"its plot\(\) takes no `ax`"):
        drawn(measured(DrawsElsewhere(4)))


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (
            Measured("m", torch.rand(2, 3), MulticlassRecall(3)),
            r"m: its plot\(\) draws nothing of float32 \[2, 3\], from .* \(ValueError: x and y",
        ),
        (Measured("f", torch.rand(2, 2), None), "f: its value is neither a number, nor a row of numbers"),
        (Measured("f", torch.rand(2000), None), "f: 2000 values are too many for a picture"),
    ],
)
def test_metric_without_a_picture_is_named(one: Measured, why: str, tmp_path: Path) -> None:
    pictures = Pictures(Classes())
    pictures.add(one)
    (found,) = pictures.missing
    assert re.search(why, found), found
    assert pictures.save(tmp_path) == []


def test_names_of_pictures_are_names_of_files(tmp_path: Path) -> None:
    pictures = Pictures(Classes())
    for name in ("val/f1", "val f1", "../x", "VAL-F1", "é/dataloader_idx_0"):
        pictures.add(Measured(name, torch.rand(3), None))
    assert pictures.save(tmp_path) == ["val-f1.png", "val-f1-2.png", "x.png", "VAL-F1-3.png", "é-dataloader_idx_0.png"]
    assert len(list(tmp_path.iterdir())) == 5


def test_settings_of_the_user_stay_as_they_are(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    pictures = Pictures(Classes())
    pictures.add(measured(MulticlassROC(3), 3))
    pictures.save(tmp_path)
    assert dict(matplotlib.rcParams) == before
