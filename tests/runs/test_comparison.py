"""Runs are compared: what differs in a table, and their curves over each other in a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import overlay, picture_file
from lightning_adapter.runs.comparison import differences, letters, lines_of
from lightning_adapter.runs.listing import runs_below
from lightning_adapter.runs.overlay import RunLines
from lightning_adapter.runs.table_epochs import Epochs
from runs.made_runs import make_older_run, make_run, write_table


def test_differences_are_told_by_section_and_what_is_equal_is_left_out(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"seed": 1, "versions": {"torch": "2.12", "python": "3.11"}, "test": {"test_acc": 0.5}},
        {"seed": 2, "git": {"commit": "b", "clean": False}, "versions": {"torch": "2.13", "python": "3.11"}},
    ]
    for number, change in enumerate(changes):
        hyperparameters = {"lr": 0.1 * number, "same": 1, "optimizer": {"name": "adam"}}
        directory = make_run(tmp_path, number, best=0.5 + number, hyperparameters=hyperparameters, **change)
        (directory / "experiment.yaml").write_text(
            f"name: x\nresources: {{slots: {number}}}\nhyperparameters: {{a: {number}}}\n"
        )
    found = {title: {row.name: row.values for row in rows} for title, rows in differences(runs_below(tmp_path)).items()}
    assert found["hyperparameters"] == {"lr": [0.0, 0.1]}
    assert found["made with"] == {"seed": [1, 2], "commit": ["a" * 40, "b"], "all committed": [True, False]}
    assert found["versions"] == {"torch": ["2.12", "2.13"]}
    assert found["configuration"] == {"resources.slots": [0, 1]}
    assert found["results"]["best val_loss"] == [0.5, 1.5]
    assert found["results"]["final val_loss"] == [1.5, 2.5]
    assert found["results"]["test: test_acc"] == [0.5, None]


def test_of_the_command_lines_the_words_that_differ_are_told(tmp_path: Path) -> None:
    for number, end in enumerate(("--seed 2 --hparam a=1", "--seed 3 --hparam a=1 --test")):
        make_run(tmp_path, number, command=f"lightning-adapter fit m.py:T --config 'a b.yaml' {end}")
    made = {row.name: row.values for row in differences(runs_below(tmp_path))["made with"]}
    assert made["typed"] == ["--seed 2", "--seed 3 --test"]


def test_runs_that_differ_in_nothing_have_results_alone(tmp_path: Path) -> None:
    for number in range(2):
        make_run(tmp_path, number)
    assert list(differences(runs_below(tmp_path))) == ["results"]


def test_run_of_an_earlier_version_can_be_compared(tmp_path: Path) -> None:
    make_run(tmp_path, 0, best=0.25)
    make_older_run(tmp_path, 1, best=0.5)
    found = differences(runs_below(tmp_path))
    assert [row.values for row in found["results"] if row.name == "best val_loss"] == [[0.25, 0.5]]


def test_letters_go_on_after_z() -> None:
    assert [letters(28)[index] for index in (0, 25, 26, 27)] == ["A", "Z", "AA", "AB"]


# Curves


def test_lines_have_the_names_of_runs_and_the_hyperparameters_in_which_they_differ(tmp_path: Path) -> None:
    make_run(tmp_path, 0, hyperparameters={"lr": 0.1, "width": 8})
    make_run(tmp_path, 1, hyperparameters={"lr": 0.2, "width": 8})
    (make_run(tmp_path, 2, hyperparameters={}) / "metrics.csv").unlink()
    lines = lines_of(runs_below(tmp_path), over_epochs=False)
    assert [one.label for one in lines] == [
        "A  MNISTTrial/2026-11-01_12-00-00  lr=0.1",
        "B  MNISTTrial/2026-11-01_12-01-00  lr=0.2",
        "C  MNISTTrial/2026-11-01_12-02-00  (no metrics)",
    ]
    assert lines[0].lines == {
        ("train", "train_loss"): ([50.0], [1.0]),
        ("validation", "val_loss"): ([50.0, 100.0], [0.5, 0.25]),
    }
    assert lines_of(runs_below(tmp_path), over_epochs=True)[0].lines["validation", "val_loss"][0] == [1.0, 2.0]


def test_row_that_a_run_is_writing_is_left_out_and_its_table_stays_as_it_is(tmp_path: Path) -> None:
    directory = make_run(tmp_path, 0)
    with (directory / "metrics.csv").open("a") as file:
        file.write("train,999,1,0.")
    before = (directory / "metrics.csv").read_bytes()
    (line,) = lines_of(runs_below(tmp_path), over_epochs=False)
    assert line.lines["train", "train_loss"] == ([50.0], [1.0])
    assert (directory / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize("text", ["a,b,c\n1,2,3\n", "kind,batches,epoch,a\ntrain,x,0,1\n"])
def test_table_that_is_damaged_is_named(tmp_path: Path, text: str) -> None:
    (make_run(tmp_path) / "metrics.csv").write_text(text)
    with pytest.raises(ConfigurationError, match=r"metrics\.csv"):
        lines_of(runs_below(tmp_path), over_epochs=False)


@pytest.mark.parametrize(
    ("rows", "batches", "expected"),
    [
        (["train,5,0,1,", "validation,10,0,,1", "validation,30,1,,1"], [0, 5, 10, 20, 30, 40], [0, 0.5, 1, 1.5, 2, 2]),
        (["validation,10,0,,1", "validation,20,1,,1", "train,25,2,1,"], [20, 25], [2, 2.5]),  # the last one is not over
        (["validation,10,3,,1", "validation,20,4,,1"], [20], [5]),  # a run that has gone on
        ([], [3], [math.nan]),
    ],
)
def test_epochs_before_a_batch(tmp_path: Path, rows: list[str], batches: list[int], expected: list[float]) -> None:
    write_table(tmp_path, rows)
    assert Epochs(tmp_path / "metrics.csv").before(batches) == pytest.approx(expected, nan_ok=True)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    found: list[Figure] = []
    usual = picture_file.save
    monkeypatch.setattr(overlay.picture_file, "save", lambda figure, path: (found.append(figure), usual(figure, path)))
    return found


def test_picture_has_a_panel_for_each_metric_and_a_line_for_each_run(tmp_path: Path, figures: list[Figure]) -> None:
    runs = [
        RunLines(
            "A", {("train", "loss"): ([1, 2], [1, 2]), ("validation", "loss"): ([2], [3]), ("train", "b"): ([1], [1])}
        ),
        RunLines("B", {("validation", "loss"): ([2, 3], [3, 2])}),
    ]
    assert overlay.draw(runs, tmp_path / "x.png", "epochs")
    (figure,) = figures
    assert [axes.get_title() for axes in figure.axes] == ["loss (validation)", "loss (train)", "b"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B"]
    colors = {handle.get_color() for handle in figure.legends[0].get_lines()}  # type: ignore[attr-defined]
    assert colors == {line.get_color() for line in figure.axes[0].lines} and len(colors) == 2
    assert {axes.get_xlabel() for axes in figure.axes} == {"epochs"}


def test_line_that_becomes_nan_is_marked_where_it_does(tmp_path: Path, figures: list[Figure]) -> None:
    values = [1.0, 0.5, math.nan, math.nan]
    overlay.draw([RunLines("A", {("train", "loss"): ([1, 2, 3, 4], values)})], tmp_path / "x.png", "batches")
    marks = [line for line in figures[0].axes[0].lines if line.get_marker() == "x"]
    assert [(list(mark.get_xdata()), list(mark.get_ydata())) for mark in marks] == [([2], [0.5])]
    assert "NaN" in figures[0].axes[0].texts[0].get_text()


def test_best_validation_of_each_run_has_a_ring(tmp_path: Path, figures: list[Figure]) -> None:
    make_run(tmp_path, 0)
    make_run(tmp_path, 1)
    for over_epochs, place in ((False, 100), (True, 2)):
        overlay.draw(lines_of(runs_below(tmp_path), over_epochs), tmp_path / "x.png", "x")
        axes = {each.get_title(): each for each in figures.pop().axes}
        rings = [line for line in axes["val_loss"].lines if line.get_markerfacecolor() == "none"]
        assert [(list(ring.get_xdata()), list(ring.get_ydata())) for ring in rings] == [([place], [0.25])] * 2
        assert len({ring.get_color() for ring in rings}) == 2
        assert not [line for line in axes["train_loss"].lines if line.get_markerfacecolor() == "none"]


def test_learning_rates_are_drawn_where_one_changes(tmp_path: Path, figures: list[Figure]) -> None:
    rate = ("train", "lr-SGD")
    same, changing = RunLines("A", {rate: ([1, 2], [0.1, 0.1])}), RunLines("B", {rate: ([1, 2], [0.1, 0.2])})
    assert not overlay.draw([same, same], tmp_path / "x.png", "batches")
    assert overlay.draw([same, changing], tmp_path / "x.png", "batches")
    assert [(axes.get_title(), len(axes.lines)) for axes in figures[0].axes] == [("lr-SGD", 2)]


def test_many_runs_differ_in_colour_or_dashes(tmp_path: Path, figures: list[Figure]) -> None:
    runs = [RunLines(name, {("train", "loss"): ([1, 2], [1, 2])}) for name in letters(25)]
    overlay.draw(runs, tmp_path / "x.png", "batches")
    styles = {(line.get_color(), line.get_linestyle()) for line in figures[0].axes[0].lines}
    assert len(styles) == 25


def test_of_too_many_metrics_those_are_drawn_that_most_runs_have(
    tmp_path: Path, figures: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "MAX_PANELS", 3)
    point: tuple[list[float], list[float]] = ([1], [1])
    first = RunLines("A", {("train", f"m{number}"): point for number in range(6)})
    overlay.draw([first, RunLines("B", {("train", "m5"): point})], tmp_path / "x.png", "batches")
    assert [axes.get_title() for axes in figures[0].axes] == ["m0", "m1", "m5"]
    assert figures[0].legends[0].get_title().get_text() == "3 of 6 metrics"


def test_names_that_mean_something_to_matplotlib_are_drawn(tmp_path: Path) -> None:
    label = "A  runs/$x_{/2026" + " _lr=0.1" * 40
    assert overlay.draw([RunLines(label, {("train", "$loss^{"): ([1], [1])})] * 2, tmp_path / "x.png", "batches")
    with Image.open(tmp_path / "x.png") as image:
        assert image.width < 2000


def test_without_metrics_there_is_no_picture(tmp_path: Path) -> None:
    assert not overlay.draw([RunLines("A", {})], tmp_path / "x.png", "batches")
    assert list(tmp_path.iterdir()) == []


def test_picture_of_ours_is_replaced_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    for _ in range(2):
        picture_file.check_replaceable(path)
        picture_file.save(Figure(), path)
    Figure().savefig(tmp_path / "mine.png")
    (tmp_path / "text.png").write_text("mine")
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "folder.png").mkdir()
    for name in ("mine.png", "text.png", "gone.png", "folder.png"):
        with pytest.raises(ConfigurationError, match="nothing is written over"):
            picture_file.check_replaceable(tmp_path / name)
