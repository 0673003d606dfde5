"""What was logged to TensorBoard becomes pictures: all scalars, and of images as many as somebody looks at."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import event_files, tensorboard_pictures
from lightning_adapter.runs.listing import Run, runs_below
from runs.made_runs import make_run


@pytest.fixture
def writer(tmp_path: Path) -> Callable[[str], SummaryWriter]:
    """A writer into a folder of the run's `tensorboard/`."""
    directory = make_run(tmp_path / "runs")
    return lambda folder: SummaryWriter(str(directory / "tensorboard" / folder))


def the_run(tmp_path: Path) -> Run:
    return runs_below(tmp_path / "runs")[0]


def pixels(value: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((3, height, width), value, dtype=np.uint8)


def test_scalars_and_images_are_those_that_tensorboard_reads(
    writer: Callable[[str], SummaryWriter], tmp_path: Path
) -> None:
    with writer("") as log:
        for step in range(12):
            log.add_scalar("train_loss", 1 / (step + 1), step * 50)
            log.add_scalar("new", step, step, new_style=True)
            log.add_image("digits", pixels(step), step)
        log.add_histogram("weights", np.arange(5), 1)
        log.add_text("note", "hello", 1)
    folder = the_run(tmp_path).path / "tensorboard"
    theirs = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    theirs.Reload()
    ours = event_files.read(folder)
    assert list(zip(*ours.scalars["train_loss"], strict=True)) == [
        (event.step, event.value) for event in theirs.Scalars("train_loss")
    ]
    assert ours.scalars["new"].values == list(range(12))
    assert [step for step, _ in ours.images["digits"].chosen()] == [event.step for event in theirs.Images("digits")]
    assert [int(image[0, 0, 0]) for _, image in ours.images["digits"].chosen()] == list(range(12))
    assert set(ours.scalars) == {"train_loss", "new"} and set(ours.images) == {"digits"}


@pytest.mark.parametrize("count", [1, 16, 17, 31, 33, 60, 500])
def test_of_many_images_some_are_kept_from_the_first_to_the_last_evenly_spread(count: int) -> None:
    images = event_files.Images()
    one = encoded(1)
    for step in range(count):
        images.add(step, one)
    steps = [step for step, _ in images.chosen()]
    assert len(steps) <= event_files.KEPT and len(steps) >= min(count, event_files.KEPT // 2)
    assert steps[0] == 0 and steps[-1] == count - 1
    gaps = np.diff(steps[:-1])
    assert len(set(gaps.tolist())) <= 1
    assert images.count == count


def encoded(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_large_images_are_made_small_when_they_are_read(writer: Callable[[str], SummaryWriter], tmp_path: Path) -> None:
    with writer("") as log:
        log.add_image("large", pixels(3, 900, 1800), 1)
    ((_, image),) = event_files.read(the_run(tmp_path).path / "tensorboard").images["large"].chosen()
    assert image.shape == (event_files.SIDE // 2, event_files.SIDE, 3)


def test_record_that_is_being_written_is_left_out(writer: Callable[[str], SummaryWriter], tmp_path: Path) -> None:
    with writer("") as log:
        for step in range(3):
            log.add_scalar("loss", step, step)
    (file,) = (the_run(tmp_path).path / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    logged = event_files.read(file.parent)
    assert logged.scalars["loss"].steps == [0, 1] and logged.damaged == []


@pytest.mark.parametrize("garbage", [struct.pack("<QI", 1 << 60, 0), struct.pack("<QI", 4, 0) + b"\xff" * 8])
def test_file_that_is_damaged_is_read_up_to_there_and_named(
    writer: Callable[[str], SummaryWriter], tmp_path: Path, garbage: bytes
) -> None:
    with writer("") as log:
        log.add_scalar("loss", 1, 1)
    (file,) = (the_run(tmp_path).path / "tensorboard").iterdir()
    with file.open("ab") as end:
        end.write(garbage)
    drawn = tensorboard_pictures.draw(the_run(tmp_path))
    assert [path.name for path in drawn.paths] == ["scalars.png"]
    assert len(drawn.remarks) == 1 and str(file) in drawn.remarks[0]


def test_pictures_are_drawn_into_the_run_with_names_that_a_file_can_have(
    writer: Callable[[str], SummaryWriter], tmp_path: Path
) -> None:
    with writer("") as log:
        log.add_scalar("loss", 1, 1)
        for tag in ("a/b c", "A-b-c", "scalars", "../../etc", "x" * 300):
            log.add_image(tag, pixels(1), 1)
    drawn = tensorboard_pictures.draw(the_run(tmp_path))
    folder = the_run(tmp_path).path / "pictures"
    names = ["scalars.png", "a-b-c.png", "A-b-c-2.png", "scalars-2.png", "etc.png", f"{'x' * 100}.png"]
    assert [path.name for path in drawn.paths] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert tensorboard_pictures.draw(the_run(tmp_path)).paths == drawn.paths  # once more, over its own


def test_picture_of_somebody_else_is_not_replaced(writer: Callable[[str], SummaryWriter], tmp_path: Path) -> None:
    with writer("") as log:
        log.add_scalar("loss", 1, 1)
    mine = the_run(tmp_path).path / "pictures" / "scalars.png"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(ConfigurationError, match="nothing is written over"):
        tensorboard_pictures.draw(the_run(tmp_path))
    assert mine.read_text() == "mine"


def test_same_tag_of_several_folders_shares_a_panel(
    writer: Callable[[str], SummaryWriter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, value in (("", 1), ("version_1", 2)):
        with writer(folder) as log:
            log.add_scalar("train_loss", value, 1)
            log.add_scalar("epoch", 0, 1)
            log.add_scalar("hp_metric", -1, 0)  # Lightning's, where there is none
    figures: list[Figure] = []
    monkeypatch.setattr(tensorboard_pictures.picture_file, "save", lambda figure, path: figures.append(figure))
    monkeypatch.setattr(tensorboard_pictures.picture_file, "forget", lambda figure: None)  # as they are looked at later
    tensorboard_pictures.draw(the_run(tmp_path))
    ((axes,),) = [figure.axes for figure in figures]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["train_loss", "train_loss (version_1)"]


def test_files_of_a_logger_elsewhere_are_drawn(tmp_path: Path) -> None:
    logger = {"class": "pytorch_lightning.loggers.tensorboard.TensorBoardLogger", "name": "mine", "version": 3}
    make_run(tmp_path / "runs", loggers=[{**logger, "save_dir": "logs"}])
    with SummaryWriter(str(tmp_path / "logs" / "mine" / "version_3")) as log:
        log.add_scalar("loss", 1, 1)
    assert [path.name for path in tensorboard_pictures.draw(the_run(tmp_path)).paths] == ["scalars.png"]


def test_run_without_event_files_has_no_pictures(tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    assert tensorboard_pictures.draw(the_run(tmp_path)) == ([], [])
    assert not (the_run(tmp_path).path / "pictures").exists()
