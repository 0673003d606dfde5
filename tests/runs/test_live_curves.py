"""curves.png is drawn anew while a run trains: seldom, from memory, and whatever fails."""

from __future__ import annotations

import csv
import itertools
import logging
import math
import random
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.runs import curves
from lightning_adapter.runs.course_so_far import Best, CourseSoFar, best_of
from lightning_adapter.runs.live_curves import LiveCurves
from lightning_adapter.runs.metrics_table import MetricsTable, read_points
from lightning_adapter.runs.table_epochs import Epochs


class Drawings:
    """Stands for the drawing, which takes so many seconds of a clock that stands otherwise."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.at: list[float] = []
        self.points: Any = None
        self.best: Best | None = None
        self.error: Exception | None = None

    def draw(self, points: Any, path: Path, table: str, x_label: str, epochs: Epochs, best: Best | None) -> bool:
        self.at.append(self.now)
        self.points, self.best = points, best
        self.now += self.seconds
        if self.error is not None:
            raise self.error
        return True


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> Drawings:
    made = Drawings()
    monkeypatch.setattr(curves, "draw", made.draw)
    return made


def live(tmp_path: Path, drawings: Drawings, metric: str | None = "val_loss") -> LiveCurves:
    return LiveCurves(tmp_path / "curves.png", tmp_path / "metrics.csv", (metric, True), lambda: drawings.now)


def train(watched: LiveCurves, drawings: Drawings, seconds: int) -> None:
    """A row a second."""
    end = drawings.now + seconds
    batch = 0
    while drawings.now < end:
        drawings.now += 1.0
        batch += 1
        watched.row("train", batch, 0, {"loss": 1.0})


def test_picture_is_drawn_at_most_every_thirty_seconds(tmp_path: Path, drawings: Drawings) -> None:
    watched = live(tmp_path, drawings)
    watched.begin()
    train(watched, drawings, 29)
    assert drawings.at == []
    train(watched, drawings, 71)
    assert drawings.at == [30.0, 60.0, 90.0]


def test_picture_that_takes_long_is_drawn_seldom(tmp_path: Path, drawings: Drawings) -> None:
    drawings.seconds = 2.0
    watched = live(tmp_path, drawings)
    watched.begin()
    train(watched, drawings, 3000)
    assert drawings.at[:3] == [30.0, 232.0, 434.0]
    assert len(drawings.at) * drawings.seconds <= 0.01 * 3000 + drawings.seconds


def test_nothing_is_drawn_of_a_table_that_is_filled_without_training(tmp_path: Path, drawings: Drawings) -> None:
    train(live(tmp_path, drawings), drawings, 100)
    assert drawings.at == []


def test_what_fails_is_said_once_and_tried_again(
    tmp_path: Path, drawings: Drawings, caplog: pytest.LogCaptureFixture
) -> None:
    watched = live(tmp_path, drawings)
    watched.begin()
    drawings.error = OSError(28, "No space left on device")
    train(watched, drawings, 100)
    watched.end()
    assert len(drawings.at) == 4
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "curves.png could not be written: OSError: [Errno 28] No space left on device"
    ]


def test_run_that_goes_on_reads_its_table_once(tmp_path: Path, drawings: Drawings) -> None:
    table = MetricsTable(tmp_path / "metrics.csv")
    table.record("train", 10, 0, {"loss": 3.0})
    table.record("validation", 10, 0, {"val_loss": 2.0})
    watched = live(tmp_path, drawings)
    watched.begin()
    table.close()
    table.path.unlink()  # not read any more
    drawings.now = 40.0
    watched.row("validation", 20, 1, {"val_loss": 1.0})
    assert drawings.points == {("train", "loss"): ([10], [3.0]), ("validation", "val_loss"): ([10, 20], [2.0, 1.0])}
    assert drawings.best == Best("val_loss", 20, 2, 1.0)


def test_table_that_cannot_be_read_ends_no_run(
    tmp_path: Path, drawings: Drawings, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics.csv").write_text("a,b\n1,2\n")
    watched = live(tmp_path, drawings)
    watched.begin()
    train(watched, drawings, 40)
    watched.end()
    assert drawings.at == [] and caplog.text.count("is not a table of this package") == 1


def test_rows_in_memory_are_those_of_the_table(tmp_path: Path) -> None:
    table, course = MetricsTable(tmp_path / "metrics.csv"), CourseSoFar()
    for batch in range(1, 40):
        row = ("train", batch, batch // 10, {"loss": 1 / batch, "epoch": 1.0, "nan": math.nan})
        course.add(*row)
        table.record(*row)  # type: ignore[arg-type]
    table.record("validation", 40, 3, {"val\nloss": 1.0})
    course.add("validation", 40, 3, {"val\nloss": 1.0})
    table.close()
    of_table = CourseSoFar.read(table.path)
    assert repr(course.points()) == repr(of_table.points()) == repr(read_points(table.path))
    assert course.epochs.line() == of_table.epochs.line() == Epochs(table.path).line()


@pytest.mark.parametrize(
    ("ranked_by", "expected"),
    [
        (("val_loss", True), Best("val_loss", 20, 2, 0.5)),
        (("val_loss", False), Best("val_loss", 10, 1, 2.0)),
        (("epoch", True), Best("logged/epoch", 10, 1, 7.0)),
        (("absent", True), None),
        ((None, True), None),
    ],
)
def test_best_validation(tmp_path: Path, ranked_by: tuple[str | None, bool], expected: Best | None) -> None:
    table, course = MetricsTable(tmp_path / "metrics.csv"), CourseSoFar(ranked_by)
    for epoch, value in enumerate([2.0, 0.5, math.nan, 0.5, -math.inf]):
        for kind, batch, metrics in (
            ("train", 5, {"val_loss": -9.0}),
            ("validation", 10, {"val_loss": value, "epoch": 7.0}),
        ):
            course.add(kind, 10 * epoch + batch, epoch, metrics)
            table.record(kind, 10 * epoch + batch, epoch, metrics)  # type: ignore[arg-type]
    table.close()
    assert best_of(course.points(), course.epochs, ranked_by) == expected
    assert course.best == CourseSoFar.read(table.path, ranked_by).best == expected


def test_many_epochs_take_no_more_room_than_a_few(tmp_path: Path) -> None:
    epochs = Epochs()
    for epoch in range(100_000):
        epochs.add(7 * epoch + 7, epoch)
    assert len(epochs.line()[0]) == 3
    assert epochs.before([7, 70_000, 70_003]) == [1.0, 10_000.0, pytest.approx(10_000 + 3 / 7)]


def test_picture_is_never_half_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "metrics.csv")
    now = [0.0]
    watched = LiveCurves(tmp_path / "curves.png", table.path, ("val_loss", True), lambda: now[0])
    watched.begin()
    for batch in (10, 20, 30):
        now[0] += 31.0
        table.record("train", batch, 0, {"loss": 1 / batch})
        watched.row("train", batch, 0, {"loss": 1 / batch})
        assert (tmp_path / "curves.png").read_bytes().endswith(b"IEND\xaeB`\x82")
    table.close()
    assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "metrics.csv"}
    assert len(list(csv.reader(table.path.open()))) == 4


def test_epochs_of_any_lengths_take_bounded_room_while_a_run_trains() -> None:
    draw, course, batch = random.Random(1), CourseSoFar(("val_loss", True)), 0
    ends = []
    for epoch in range(40_000):
        batch += draw.randint(1, 20)
        ends.append(batch)
        course.add("validation", batch, epoch, {"val_loss": 1.0 if epoch == 12_345 else 2.0})
    places, numbers = course.epochs.line()
    assert len(places) < 2100 and places == sorted(set(places)) and numbers == sorted(set(numbers))
    assert max(after - before for before, after in itertools.pairwise(numbers)) <= 64
    found = course.epochs.before(ends)
    assert max(abs(epochs - index) for index, epochs in enumerate(found, start=1)) < 10
    # the picture names the epoch of its row, not one between two that are kept
    assert course.best == Best("val_loss", ends[12_345], 12_346, 1.0)


def test_table_is_read_into_the_same_course_as_its_rows_were_told(tmp_path: Path) -> None:
    table, course, draw = MetricsTable(tmp_path / "metrics.csv"), CourseSoFar(("val_loss", True)), random.Random(2)
    for batch in range(1, 12_000):
        value = math.nan if 7000 < batch < 7100 or batch % 997 == 0 else draw.gauss(0, 1)
        rows = [("train", {"loss": value, "both": value})]
        if batch % 3 == 0:
            rows.append(("validation", {"val_loss": draw.random(), "both": -value}))
        for kind, metrics in rows:
            course.add(kind, batch, batch // 7, metrics)
            table.record(kind, batch, batch // 7, metrics)  # type: ignore[arg-type]
    table.close()
    of_table = CourseSoFar.read(table.path, ("val_loss", True))
    assert repr(sorted(of_table.points().items())) == repr(sorted(course.points().items()))
    assert (of_table.best, of_table.epochs.line()) == (course.best, course.epochs.line())


def test_row_that_names_no_epoch_is_drawn_and_is_not_the_best(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    table.write_text("kind,batches,epoch,val_loss\nvalidation,10,0,0.5\nvalidation,20,,0.25\n")
    course = CourseSoFar.read(table, ("val_loss", True))
    assert course.points() == {("validation", "val_loss"): ([10, 20], [0.5, 0.25])}
    assert course.best == Best("val_loss", 10, 1, 0.5)
